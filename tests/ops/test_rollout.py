"""Rollouts over simulated hosts: what each host ends as, and what it was made to do."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.faults import Fault, FaultSpec
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.policy import HealthCheck
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.domain.rollout import HostPhase, Operation, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.domain.rollout_policy import Budgets, RolloutPolicy, WaveRule
from bootcfleet.domain.rollout_replay import record_of, replay
from bootcfleet.drivers import simbootc, simstatus
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.drivers.simhost import SimHost
from bootcfleet.errors import HostError, HostFault, RolloutHaltedError
from bootcfleet.ops.rollout_run import raise_if_halted, resume_rollout
from tests.simfleet import (
    BAD,
    NEW,
    OLD,
    OTHER,
    QUICK,
    REFERENCE,
    TRIES,
    SimFleet,
    pulled,
)

ALL_AT_ONCE = RolloutPolicy(
    canary=None, batch=Limit(100, percent=True), timeouts=QUICK, retries=TRIES
)


def forgiving(failures: int, policy: RolloutPolicy = ALL_AT_ONCE) -> RolloutPolicy:
    return replace(policy, budgets=Budgets(max_failures=Limit(failures)))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    yield opened
    opened.close()


def booted(fleet: SimFleet, name: str) -> str:
    return str(fleet.sims[name].booted.image.digest)


def test_an_upgrade_stages_reboots_once_and_verifies(ledger: Ledger) -> None:
    fleet = SimFleet(ledger)
    end = fleet.upgrade(ALL_AT_ONCE)
    assert end.outcome == "done"
    assert set(fleet.phases(end).values()) == {HostPhase.UPDATED}
    for name, sim in fleet.sims.items():
        assert booted(fleet, name) == NEW
        assert sim.reboots == 1
        assert "/var/lib/bootcfleet/lock.json" not in sim.files
    actions = [(e.action, e.subject, e.outcome) for e in ledger.entries()]
    assert actions[0] == ("fleet.upgrade", "r1", "started")
    assert actions[-1] == ("fleet.upgrade", "r1", "done")
    assert sorted(actions[1:-1]) == [("fleet.upgrade.host", n, "updated") for n in "abc"]
    assert ledger.verify() is None


def test_a_host_that_runs_it_already_is_not_touched(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a", "b"))
    fleet.sims["a"].booted = replace(fleet.sims["a"].booted, image=pulled(NEW))
    plan = fleet.plan()
    assert plan.moving == ("b",)
    end = fleet.run(plan)
    assert fleet.phases(end) == {"a": HostPhase.UNCHANGED, "b": HostPhase.UPDATED}
    assert fleet.sims["a"].reboots == 0


def test_what_is_staged_already_is_only_booted(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    fleet.sims["a"].stage(REFERENCE, "registry", pulled(NEW))
    plan = fleet.plan()
    fleet.tags.now.clear()
    assert fleet.phases(fleet.run(plan)) == {"a": HostPhase.UPDATED}


def test_a_tag_that_moved_since_the_plan_stops_the_host_before_its_reboot(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    plan = fleet.plan()
    fleet.tags.now[REFERENCE] = OTHER
    end = fleet.run(plan)
    assert end.state("a").phase is HostPhase.FAILED
    assert end.state("a").fault is HostFault.TAG_MOVED
    assert fleet.sims["a"].reboots == 0


def test_a_sick_canary_goes_back_and_the_rest_is_left_alone(ledger: Ledger) -> None:
    fleet = SimFleet(ledger)
    fleet.tags.now[REFERENCE] = BAD
    end = fleet.upgrade()
    assert end.state("a").phase is HostPhase.ROLLED_BACK
    assert "demo-web.service" in end.state("a").message
    assert booted(fleet, "a") == OLD
    assert fleet.sims["a"].reboots == 2
    assert {end.state(h).phase for h in "bc"} == {HostPhase.SKIPPED}
    assert fleet.sims["b"].reboots == 0
    assert end.evidence["a"]
    with pytest.raises(RolloutHaltedError, match="canary a failed") as caught:
        raise_if_halted(end)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("fault", "expected", "reboots"),
    [
        ("disk-full", HostFault.NO_SPACE, 0),
        ("registry-refuses", HostFault.REGISTRY_REFUSED, 0),
        ("drops-connection", HostFault.CONNECTION_LOST, 0),
        ("returns-old", HostFault.CAME_BACK_OLD, 1),
        ("does-not-return", HostFault.DID_NOT_RETURN, 1),
    ],
)
def test_a_failure_names_its_cause_and_hides_nobody(
    ledger: Ledger, fault: str, expected: HostFault, reboots: int
) -> None:
    fleet = SimFleet(ledger, ("a", "b"))
    plan = fleet.plan(forgiving(1))
    fleet.sims["a"].break_with(FaultSpec.parse(fault))
    end = fleet.run(plan)
    assert end.state("a").fault is expected, end.state("a")
    assert fleet.sims["a"].reboots == reboots
    assert end.state("b").phase is HostPhase.UPDATED


def test_a_transient_fault_is_tried_again(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    plan = fleet.plan()
    fleet.sims["a"].break_with(FaultSpec.parse("drops-connection"))
    threading.Timer(0.05, fleet.sims["a"].heal).start()
    end = fleet.run(plan)
    assert end.state("a").phase is HostPhase.UPDATED
    assert fleet.sims["a"].reboots == 1


def test_the_hosts_own_checks_decide(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    check = HealthCheck("http", ("probe",), retries=2, interval=0.01)
    fleet.hosts = [replace(fleet.hosts[0], checks=(check,))]
    fleet.fleet = fleet.connect()
    end = fleet.upgrade()
    assert end.state("a").phase is HostPhase.ROLLED_BACK
    assert "check 'http' failed: exit code 127" in end.state("a").message


def test_an_offline_host_is_deferred_and_taken_in_when_it_returns(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a", "b"))
    fleet.sims["a"].break_with(FaultSpec.parse("unreachable"))
    plan = fleet.plan(ALL_AT_ONCE)
    assert plan.rollout.state("a").phase is HostPhase.DEFERRED
    fleet.sims["a"].heal()
    end = fleet.run(plan)
    assert fleet.phases(end) == {"a": HostPhase.UPDATED, "b": HostPhase.UPDATED}
    assert fleet.tags.resolved == [REFERENCE]


def test_an_offline_host_has_its_place_in_the_waves(ledger: Ledger) -> None:
    """Behind the others of its wave, and never before its wave's turn."""
    labels = {"a": {"role": "web"}, "b": {"role": "web"}, "c": {"role": "db"}}
    fleet = SimFleet(ledger, labels=labels)
    for name in ("a", "c"):
        fleet.sims[name].break_with(FaultSpec.parse("unreachable"))
    rules = (WaveRule("web", "role=web"), WaveRule("db", "role=db", approve=True))
    plan = fleet.plan(replace(ALL_AT_ONCE, waves=rules))
    assert [wave.hosts for wave in plan.rollout.waves] == [("b", "a"), ("c",)]
    assert plan.rollout.waves[1].approve
    # What changes now is what is known.
    assert plan.moving == ("b",)
    assert fleet.plan(RolloutPolicy()).rollout.waves[0].hosts == ("b",)


def test_a_host_that_stays_offline_is_refused_at_the_end(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a", "b"))
    fleet.sims["a"].break_with(FaultSpec.parse("unreachable"))
    end = fleet.upgrade(ALL_AT_ONCE)
    assert fleet.phases(end) == {"a": HostPhase.REFUSED, "b": HostPhase.UPDATED}
    assert end.outcome == "failed"


def test_an_image_without_the_hosts_platform_is_refused(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    fleet.tags.platforms = {Platform("linux", "arm64"): OTHER}
    plan = fleet.plan()
    assert "no image for it (it has linux/arm64)" in plan.rollout.state("a").message


def test_one_odd_architecture_does_not_end_the_plan_of_all(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("odd", "well"))
    sim = fleet.sims["odd"]
    sim.booted = replace(sim.booted, image=pulled(OLD, architecture="loong64"))
    rollout = fleet.plan().rollout
    assert rollout.state("odd").phase is HostPhase.REFUSED
    assert "is loong64 and r.example/acme/web:prod has no image" in rollout.state("odd").message
    assert set(rollout.targets) == {"well"}


@pytest.mark.parametrize("operation", list(Operation))
def test_a_host_with_layered_packages_is_told_so(ledger: Ledger, operation: Operation) -> None:
    """bootc names neither an image nor a type there: that is not "not booted by bootc"."""
    fleet = SimFleet(ledger, ("a",))
    fleet.sims["a"].break_with(FaultSpec(Fault.LAYERED_PACKAGES))
    image = ImageRef.parse(REFERENCE) if operation is Operation.SWITCH else None
    state = fleet.plan(operation=operation, image=image).rollout.state("a")
    assert (state.phase, state.fault) == (HostPhase.REFUSED, HostFault.INCOMPATIBLE)
    assert "layered packages" in state.message


def test_an_upgrade_of_a_host_pinned_by_digest_is_refused(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    sim = fleet.sims["a"]
    sim.booted = replace(sim.booted, reference=f"r.example/acme/web@{OLD}")
    assert "pinned by digest" in fleet.plan().rollout.state("a").message


def test_a_switch_follows_the_new_reference(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    fleet.tags.now["r.example/acme/db:1"] = OTHER
    image = ImageRef.parse("r.example/acme/db:1")
    end = fleet.upgrade(operation=Operation.SWITCH, image=image)
    assert end.state("a").phase is HostPhase.UPDATED
    assert fleet.sims["a"].booted.reference == "r.example/acme/db:1"


def test_a_switch_to_what_the_host_follows_finds_what_is_new_there(ledger: Ledger) -> None:
    """`bootc switch` to the same reference asks nobody, and stages nothing."""
    fleet = SimFleet(ledger, ("a",))
    end = fleet.upgrade(operation=Operation.SWITCH, image=ImageRef.parse(REFERENCE))
    assert end.state("a").phase is HostPhase.UPDATED, end.state("a").message
    assert (booted(fleet, "a"), fleet.sims["a"].reboots) == (NEW, 1)


@pytest.mark.parametrize("staged", [False, True])
def test_a_switch_to_another_channel_with_the_same_image(ledger: Ledger, staged: bool) -> None:
    """What a host follows is of its deployment: without another one it would go on with the old."""
    fleet = SimFleet(ledger, ("a",))
    sim = fleet.sims["a"]
    test = "r.example/acme/web:test"
    fleet.tags.now = {REFERENCE: NEW if staged else OLD, test: NEW if staged else OLD}
    if staged:
        sim.stage(REFERENCE, "registry", pulled(NEW))
    plan = fleet.plan(operation=Operation.SWITCH, image=ImageRef.parse(test))
    end = fleet.run(plan)
    assert end.state("a").phase is HostPhase.UPDATED, end.state("a").message
    assert (booted(fleet, "a"), sim.reboots) == (NEW if staged else OLD, 1)
    assert sim.booted.reference == test
    again = fleet.plan(operation=Operation.SWITCH, image=ImageRef.parse(test))
    assert again.rollout.state("a").phase is HostPhase.UNCHANGED
    if not staged:
        assert (
            plan.rollout.targets["a"].reason
            == f"follow {test} with the same image, 1.0 aaaaaaaaaaaa"
        )
        store = RolloutStore.open(ledger.db)
        assert replay(store.record("r1"), store.entries("r1")) == end


def test_a_host_that_came_back_under_its_old_name_is_not_updated(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    fleet.sims["a"].break_with(FaultSpec(Fault.BOOT_FALLS_BACK))
    test = "r.example/acme/web:test"
    fleet.tags.now = {REFERENCE: OLD, test: OLD}
    end = fleet.upgrade(operation=Operation.SWITCH, image=ImageRef.parse(test))
    state = end.state("a")
    assert (state.phase, state.fault) == (HostPhase.FAILED, HostFault.HEALTH_FAILED)
    assert f"on its old deployment, and follows {REFERENCE} and not {test}" in state.message
    assert fleet.sims["a"].reboots == 1


def test_a_composefs_host_has_each_image_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = simstatus._entry

    def composefs(*words: Any, **more: Any) -> Any:
        made = entry(*words, **more)
        return made and made | {"composefs": {"verity": "a" * 128}}

    monkeypatch.setattr(simstatus, "_entry", composefs)
    fleet = SimFleet(ledger, ("a",))
    test = "r.example/acme/web:test"
    fleet.tags.now[test] = OLD
    rollout = fleet.plan(operation=Operation.SWITCH, image=ImageRef.parse(test)).rollout
    assert rollout.state("a").phase is HostPhase.UNCHANGED


def test_a_switch_keeps_the_enforcement_of_signatures(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("asks", "trusts"))
    sim = fleet.sims["asks"]
    sim.booted = replace(sim.booted, enforced=True)
    fleet.tags.now["r.example/acme/db:1"] = OTHER
    image = ImageRef.parse("r.example/acme/db:1")
    assert fleet.upgrade(ALL_AT_ONCE, operation=Operation.SWITCH, image=image).outcome == "done"
    assert {
        name: (one.booted.reference, one.booted.enforced) for name, one in fleet.sims.items()
    } == {
        "asks": ("r.example/acme/db:1", True),
        "trusts": ("r.example/acme/db:1", False),
    }
    fleet.tags.now["r.example/acme/db:1"] = NEW
    assert fleet.upgrade(ALL_AT_ONCE).outcome == "done"
    assert fleet.sims["asks"].booted.enforced


@pytest.mark.parametrize("slot", [OTHER, None])
def test_what_is_staged_goes_when_the_tag_is_back_at_what_runs(
    ledger: Ledger, slot: str | None
) -> None:
    """bootc says that there is no update, and leaves it for the next boot."""
    fleet = SimFleet(ledger, ("a",))
    sim = fleet.sims["a"]
    sim.stage(REFERENCE, "registry", pulled(NEW))
    sim.rollback = replace(sim.booted, image=pulled(slot)) if slot else None
    fleet.tags.now[REFERENCE] = OLD
    state = fleet.upgrade().state("a")
    if slot:
        assert state.phase is HostPhase.UNCHANGED, state.message
        assert (sim.staged, sim.rollback_queued) == (None, False)
    else:
        assert (state.phase, state.fault) == (HostPhase.REFUSED, HostFault.WRONG_DIGEST)
        assert f"has 1.1 {NEW[7:19]} staged" in state.message
        assert "bootc cannot drop without a rollback deployment" in state.message
    assert (booted(fleet, "a"), sim.reboots) == (OLD, 0)


def test_what_is_staged_and_cannot_be_dropped_is_said(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bootc's composefs backend keeps it through a rollback."""
    fleet = SimFleet(ledger, ("a",))
    sim = fleet.sims["a"]
    sim.stage(REFERENCE, "registry", pulled(NEW))
    sim.rollback = replace(sim.booted, image=pulled(OTHER))
    fleet.tags.now[REFERENCE] = OLD
    kept, queue = sim.staged, SimHost.queue_rollback

    def keeps(host: SimHost) -> bool | None:
        queued = queue(host)
        host.staged = kept
        return queued

    monkeypatch.setattr(SimHost, "queue_rollback", keeps)
    state = fleet.upgrade().state("a")
    assert (state.phase, state.fault) == (HostPhase.FAILED, HostFault.WRONG_DIGEST)
    assert f"has {NEW[7:19]} staged, which bootc does not drop" in state.message
    assert (sim.rollback_queued, sim.reboots) == (False, 0)


def test_a_crash_while_what_is_staged_is_dropped_leaves_no_rollback_queued(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = SimFleet(ledger, ("a",))
    sim = fleet.sims["a"]
    sim.stage(REFERENCE, "registry", pulled(NEW))
    sim.rollback = replace(sim.booted, image=pulled(OTHER))
    fleet.tags.now[REFERENCE] = OLD
    queue, cuts = SimHost.queue_rollback, [1]

    def cut(host: SimHost) -> bool | None:
        done = queue(host)
        if cuts:
            cuts.pop()
            raise HostError("a", HostFault.CONNECTION_LOST, "cut in the middle")
        return done

    monkeypatch.setattr(SimHost, "queue_rollback", cut)
    state = fleet.upgrade().state("a")
    assert state.phase is HostPhase.UNCHANGED, state.message
    assert (sim.staged, sim.rollback_queued, sim.reboots) == (None, False, 0)


def test_a_rollback_goes_to_the_rollback_slot(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a", "b"))
    assert fleet.upgrade().outcome == "done"
    end = fleet.upgrade(operation=Operation.ROLLBACK)
    assert end.outcome == "done"
    assert booted(fleet, "a") == OLD
    assert fleet.sims["a"].reboots == 2


@pytest.mark.parametrize("held", [False, True])
def test_an_upgrade_goes_before_a_rollback_that_is_queued(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """As a boot loader that fell back leaves a host, and as somebody's `bootc rollback` does."""
    if not held:
        monkeypatch.setattr(simbootc, "VERSION", "1.11.0")
    fleet = SimFleet(ledger, ("a",))
    sim = fleet.sims["a"]
    sim.rollback, sim.rollback_queued = replace(sim.booted, image=pulled(OTHER)), True
    end = fleet.upgrade()
    assert end.state("a").phase is HostPhase.UPDATED, end.state("a").message
    assert (booted(fleet, "a"), sim.reboots, sim.rollback_queued) == (NEW, 1, False)


def test_a_rollback_that_is_queued_beneath_what_is_staged(ledger: Ledger) -> None:
    """bootc's toggle takes both away at first: only the second one queues it."""
    fleet = SimFleet(ledger, ("a",))
    sim = fleet.sims["a"]
    sim.rollback, sim.rollback_queued = replace(sim.booted, image=pulled(OTHER)), True
    sim.stage(REFERENCE, "registry", pulled(NEW))
    end = fleet.upgrade(operation=Operation.ROLLBACK)
    assert end.state("a").phase is HostPhase.UPDATED, end.state("a").message
    assert (booted(fleet, "a"), sim.reboots) == (OTHER, 1)


def test_a_host_that_was_rolled_back_by_hand_since_the_plan_is_not_sent_forward(
    ledger: Ledger,
) -> None:
    """Its turn may come hours after it was asked; the rollback slot is another one by then."""
    fleet = SimFleet(ledger, ("a",))
    assert fleet.upgrade().outcome == "done"
    plan = fleet.plan(operation=Operation.ROLLBACK)
    sim = fleet.sims["a"]
    assert sim.rollback is not None
    sim.booted, sim.rollback = sim.rollback, sim.booted
    sim.boot_id = str(uuid.uuid4())
    end = fleet.run(plan)
    assert end.state("a").phase is HostPhase.UPDATED, end.state("a").message
    assert (booted(fleet, "a"), sim.reboots, sim.rollback_queued) == (OLD, 1, False)


def test_a_reboot_comes_back_on_the_same(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, ("a",))
    end = fleet.upgrade(operation=Operation.REBOOT)
    assert end.outcome == "done"
    assert fleet.sims["a"].reboots == 1
    assert booted(fleet, "a") == OLD


def test_the_journal_tells_the_same_as_the_controller(ledger: Ledger) -> None:
    fleet = SimFleet(ledger)
    end = fleet.upgrade()
    store = RolloutStore.open(ledger.db)
    assert replay(store.record("r1"), store.entries("r1")) == end


@pytest.mark.parametrize("paused", [False, True])
def test_what_is_asked_while_a_controller_takes_a_rollout_up_is_heard(
    ledger: Ledger, *, paused: bool
) -> None:
    """An abort between its reading of the journal and its first entry."""
    fleet = SimFleet(ledger)
    plan = fleet.plan()
    fleet.office.book("r1").create(record_of(plan.rollout), plan.rollout)
    store = RolloutStore.open(ledger.db)

    def ask(kind: EntryKind) -> None:
        body = {"reason": "asked", "unwind": False}
        store.append("r1", [NewEntry(kind, "", body)], at=datetime.now(UTC), actor="you")

    def here(rollout: Rollout) -> Rollout:
        ask(EntryKind.ABORTED)
        return rollout

    if paused:
        ask(EntryKind.PAUSED)
    end = resume_rollout("r1", lambda _: fleet.workers(), fleet.office, here=here)
    assert end.outcome == "halted"
    assert end.halted == "asked"
    assert {sim.reboots for sim in fleet.sims.values()} == {0}
    told = [event.kind for event in fleet.events]
    assert told.count("rollout.halted") == 1


def test_a_rollout_leaves_no_threads_behind(ledger: Ledger) -> None:
    fleet = SimFleet(ledger)
    before = threading.active_count()
    assert fleet.upgrade().outcome == "done"
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before
