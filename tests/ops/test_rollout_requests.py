"""What people ask of a rollout that is under way, from elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from bootcfleet.domain import rollout_request
from bootcfleet.domain.action import ActionKind, Step, World
from bootcfleet.domain.faults import FaultSpec
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import HostPhase, Operation, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.domain.rollout_policy import Budgets, RolloutPolicy, WaveRule
from bootcfleet.domain.rollout_step import next_actions
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore, RolloutTakenError
from bootcfleet.drivers.simrecord import What
from bootcfleet.ops import controller
from bootcfleet.ops.audit import recorder_into
from bootcfleet.ops.rollout_run import resume_rollout
from bootcfleet.ops.rollouts import Rollouts, look, request
from tests.simfleet import BAD, NEW, OLD, QUICK, REFERENCE, TRIES, SimFleet

NAMES = ("a", "b", "c", "d", "e", "f")
PAIRS = RolloutPolicy(canary=None, batch=Limit(2), timeouts=QUICK, retries=TRIES)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    yield opened
    opened.close()


class Under:
    """A rollout that is carried out meanwhile, by a thread."""

    def __init__(self, fleet: SimFleet, act: Callable[[], Rollout]) -> None:
        self.fleet = fleet
        self._ends: list[Rollout | BaseException] = []
        self._act = act
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._ends.append(self._act())
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self._ends.append(error)

    def end(self) -> Rollout:
        self._thread.join(60)
        assert self._ends, "it does not end"
        if isinstance(self._ends[0], BaseException):
            raise self._ends[0]
        return self._ends[0]

    def until(self, kind: str, *hosts: str) -> float:
        """Wait for an event (of each of `hosts`); when that was seen (monotonic)."""
        for _ in range(3000):
            told = {event.subject for event in list(self.fleet.events) if event.kind == kind}
            if told and told >= set(hosts):
                return time.monotonic()
            time.sleep(0.01)
        raise AssertionError(f"{kind} of {hosts} never came")


def ask(fleet: SimFleet, make: Callable[[Rollout], NewEntry], name: str = "r1") -> None:
    """As another process does: by the ledger alone."""
    base = Path(fleet.ledger.db.where).parent
    with closing(Ledger.open("sqlite:///ledger.db", base=base)) as ledger:
        store = RolloutStore.open(ledger.db)
        rollouts = Rollouts(ledger, store, recorder_into(ledger, None), "ann@there")
        request(rollouts, look(rollouts, name), make)


def downs(fleet: SimFleet, name: str) -> list[float]:
    """When a host went down, by its own record."""
    return [e.monotonic for e in fleet.sims[name].history if e.what is What.DOWN]


def test_a_pause_lets_nothing_more_begin(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, NAMES, boot_seconds=1.5)
    plan = fleet.plan(PAIRS)
    under = Under(fleet, lambda: fleet.run(plan))
    under.until("host.rebooting", "a", "b")
    ask(fleet, lambda rollout: rollout_request.pause(rollout, "lunch"))
    paused = under.until("rollout.paused")
    # Those in the middle finish.
    under.until("host.updated", "a", "b")
    time.sleep(1.2)
    assert all(sim.reboots == 0 and sim.staged is None for n, sim in fleet.sims.items() if n > "b")
    assert max(downs(fleet, "a") + downs(fleet, "b")) < paused
    ask(fleet, lambda rollout: rollout_request.unpause(rollout, "eaten"))
    end = under.end()
    assert set(fleet.phases(end).values()) == {HostPhase.UPDATED}
    assert [sim.reboots for sim in fleet.sims.values()] == [1] * 6
    assert ledger.verify() is None


@pytest.mark.parametrize("last", [EntryKind.FINISHED, ActionKind.RELEASE])
def test_a_retry_just_before_the_end_is_not_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, last: EntryKind | ActionKind
) -> None:
    """Asked between the controller's last look and its last entry, or while it gives locks up."""
    fleet = SimFleet(ledger, ("a", "b"))
    fleet.tags.now[REFERENCE] = BAD
    asked: list[bool] = []

    def act(rollout: Rollout, world: World, now: datetime) -> Step:
        step = next_actions(rollout, world, now)
        if not asked and last in {one.kind for one in (*step.entries, *step.actions)}:
            asked.append(True)
            ask(fleet, lambda rollout: rollout_request.retry(rollout, None, ""))
        return step

    monkeypatch.setattr(controller, "next_actions", act)
    end = fleet.run(fleet.plan(RolloutPolicy(timeouts=QUICK, retries=TRIES)))
    assert asked
    assert end.outcome == "halted"
    assert set(fleet.phases(end).values()) == {HostPhase.ROLLED_BACK, HostPhase.SKIPPED}
    assert fleet.sims["a"].reboots == 4
    assert not any("/var/lib/bootcfleet/lock.json" in sim.files for sim in fleet.sims.values())
    kinds = [entry.kind for entry in RolloutStore.open(ledger.db).entries("r1")]
    assert kinds.count(EntryKind.FINISHED) == 1
    assert kinds[-1] is EntryKind.FINISHED


def test_a_retry_of_a_rollback_never_goes_forward(ledger: Ledger) -> None:
    """It was rolled back, and not well; its rollback slot is what it has just left."""
    fleet = SimFleet(ledger, ("a",))
    assert fleet.upgrade().outcome == "done"
    sim = fleet.sims["a"]
    assert sim.rollback is not None
    well = sim.rollback
    sim.rollback = replace(well, image=replace(well.image, healthy=False))
    halted = fleet.run(fleet.plan(operation=Operation.ROLLBACK))
    assert halted.state("a").phase is HostPhase.FAILED
    sim.booted = well
    ask(fleet, lambda rollout: rollout_request.retry(rollout, "a", "mended"), "r2")
    end = resume_rollout("r2", lambda _: fleet.workers(), fleet.office)
    assert fleet.phases(end) == {"a": HostPhase.UPDATED}
    assert (sim.reboots, str(sim.booted.image.digest)) == (2, OLD)


def test_a_pause_keeps_what_is_staged_from_its_reboot(ledger: Ledger) -> None:
    policy = replace(PAIRS, budgets=Budgets(max_unavailable=Limit(1)))
    fleet = SimFleet(ledger, ("a", "b"), boot_seconds=1.5)
    plan = fleet.plan(policy)
    under = Under(fleet, lambda: fleet.run(plan))
    under.until("host.rebooting")
    ask(fleet, lambda rollout: rollout_request.pause(rollout, ""))
    under.until("host.updated")
    time.sleep(1.2)
    assert sorted(sim.reboots for sim in fleet.sims.values()) == [0, 1]
    ask(fleet, lambda rollout: rollout_request.unpause(rollout, ""))
    assert set(fleet.phases(under.end()).values()) == {HostPhase.UPDATED}


def test_a_wave_waits_for_its_approval(ledger: Ledger) -> None:
    waves = (WaveRule("first", hosts=("a",)), WaveRule("rest", approve=True))
    fleet = SimFleet(ledger, ("a", "b"))
    plan = fleet.plan(replace(PAIRS, waves=waves))
    under = Under(fleet, lambda: fleet.run(plan))
    under.until("host.updated", "a")
    under.until("rollout.waiting")
    time.sleep(0.5)
    assert fleet.sims["b"].reboots == 0
    assert fleet.sims["b"].staged is None
    ask(fleet, lambda rollout: rollout_request.approve(rollout, None, "looks well"))
    assert set(fleet.phases(under.end()).values()) == {HostPhase.UPDATED}


def test_an_abort_takes_updated_hosts_back_newest_wave_first(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, NAMES, boot_seconds=0.6)
    plan = fleet.plan(PAIRS)
    under = Under(fleet, lambda: fleet.run(plan))
    under.until("host.rebooting", "c", "d")
    ask(fleet, lambda rollout: rollout_request.abort(rollout, "wrong image", unwind=True))
    end = under.end()
    assert end.outcome == "halted"
    assert end.halted == "aborted: wrong image"
    expected = dict.fromkeys("abcd", HostPhase.ROLLED_BACK) | dict.fromkeys("ef", HostPhase.SKIPPED)
    assert fleet.phases(end) == expected
    assert {str(sim.booted.image.digest) for sim in fleet.sims.values()} == {OLD}
    assert [sim.reboots for sim in fleet.sims.values()] == [2, 2, 2, 2, 0, 0]
    back = {name: downs(fleet, name)[1] for name in "abcd"}
    assert max(back["c"], back["d"]) < min(back["a"], back["b"])
    assert ledger.verify() is None


def test_an_abort_leaves_what_is_updated(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, NAMES, boot_seconds=0.6)
    plan = fleet.plan(PAIRS)
    under = Under(fleet, lambda: fleet.run(plan))
    under.until("host.rebooting", "c", "d")
    ask(fleet, lambda rollout: rollout_request.abort(rollout, "", unwind=False))
    end = under.end()
    expected = dict.fromkeys("abcd", HostPhase.UPDATED) | dict.fromkeys("ef", HostPhase.SKIPPED)
    assert fleet.phases(end) == expected


def test_a_retry_finishes_a_rollout_that_halted(ledger: Ledger) -> None:
    fleet = SimFleet(ledger, NAMES)
    plan = fleet.plan(replace(PAIRS, canary=Limit(1)))
    fleet.sims["a"].break_with(FaultSpec.parse("disk-full"))
    halted = fleet.run(plan)
    assert halted.outcome == "halted"
    assert fleet.phases(halted)["b"] is HostPhase.SKIPPED
    fleet.sims["a"].heal()
    ask(fleet, lambda rollout: rollout_request.retry(rollout, None, "space was made"))
    workers = fleet.workers()
    end = resume_rollout("r1", lambda _rollout: workers, fleet.office)
    assert end.outcome == "done"
    assert set(fleet.phases(end).values()) == {HostPhase.UPDATED}
    assert [sim.reboots for sim in fleet.sims.values()] == [1] * 6
    assert not any("lock.json" in path for sim in fleet.sims.values() for path in sim.files)
    # The order of the waves is the plan's.
    first = {name: downs(fleet, name)[0] for name in NAMES}
    assert first["a"] < min(first[name] for name in NAMES[1:])


def test_a_retry_of_one_host_while_the_others_go_on(ledger: Ledger) -> None:
    policy = replace(PAIRS, budgets=Budgets(max_failures=Limit(2)))
    fleet = SimFleet(ledger, NAMES, boot_seconds=1.0)
    plan = fleet.plan(policy)
    fleet.sims["a"].break_with(FaultSpec.parse("disk-full"))
    under = Under(fleet, lambda: fleet.run(plan))
    under.until("host.failed", "a")
    fleet.sims["a"].heal()
    ask(fleet, lambda rollout: rollout_request.retry(rollout, "a", "space was made"))
    end = under.end()
    assert end.outcome == "done"
    assert set(fleet.phases(end).values()) == {HostPhase.UPDATED}
    assert {str(sim.booted.image.digest) for sim in fleet.sims.values()} == {NEW}


def test_a_controller_whose_rollout_was_taken_up_does_nothing_more(ledger: Ledger) -> None:
    """It notices by its next look at the journal, and leaves the hosts to the other one."""
    fleet = SimFleet(ledger, NAMES, boot_seconds=1.5)
    plan = fleet.plan(PAIRS)
    under = Under(fleet, lambda: fleet.run(plan))
    under.until("host.rebooting", "a", "b")
    RolloutStore.open(ledger.db).append(
        "r1",
        [NewEntry(EntryKind.STARTED, "", {"controller": "elsewhere"})],
        at=plan.rollout.began or pytest.fail("it has begun"),
        actor="ann@elsewhere",
    )
    with pytest.raises(RolloutTakenError, match="taken up by elsewhere"):
        under.end()
    time.sleep(1.0)
    assert all(sim.reboots == 0 and sim.staged is None for n, sim in fleet.sims.items() if n > "b")
    kinds = [entry.kind for entry in RolloutStore.open(ledger.db).entries("r1")]
    assert kinds[-1] is EntryKind.STARTED
