"""Whole rollouts, played against hosts in memory: budgets, waves, crashes, ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.action import ActionKind
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import ENDS, HostPhase, Operation
from bootcfleet.domain.rollout_journal import EntryKind
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Hook,
    HookKind,
    OnFailure,
    OnHalt,
    RolloutPolicy,
    Timeouts,
)
from bootcfleet.domain.rollout_waits import waits_of
from bootcfleet.errors import HostFault
from tests.rolloutworld import NEW, OLD, FakeHost, Play, play

HOOK = (Hook(HookKind.LOCAL, ("true",)),)


def phases(done: Play) -> dict[str, HostPhase]:
    return {name: done.rollout.state(name).phase for name in done.hosts}


def test_all_hosts_are_updated_in_one_reboot_each() -> None:
    done = play(12, RolloutPolicy())
    assert done.run().outcome == "done"
    assert set(phases(done).values()) == {HostPhase.UPDATED}
    assert {host.boots for host in done.hosts.values()} == {1}


def test_a_bad_image_stops_at_the_canary_and_goes_back() -> None:
    fakes = {f"h{n}": FakeHost(f"h{n}", sick_on=frozenset({NEW})) for n in range(6)}
    done = play(6, RolloutPolicy(), fakes=fakes)
    assert done.run().outcome == "halted"
    assert phases(done)["h0"] is HostPhase.ROLLED_BACK
    assert done.hosts["h0"].booted == OLD
    assert done.hosts["h0"].boots == 2
    assert all(done.hosts[f"h{n}"].boots == 0 for n in range(1, 6))


POLICIES = st.builds(
    lambda canary, batch, failures, unavailable, per, drain, on_failure, on_halt, offline: (
        RolloutPolicy(
            canary=canary,
            batch=Limit(batch),
            budgets=Budgets(
                max_failures=Limit(failures),
                max_unavailable=unavailable,
                group_by=("site",),
                per_group=per,
            ),
            drain=HOOK if drain else (),
            undrain=HOOK if drain else (),
            on_failure=on_failure,
            on_halt=on_halt,
            timeouts=Timeouts(offline=offline),
        )
    ),
    canary=st.sampled_from([None, Limit(1), Limit(2)]),
    batch=st.integers(1, 12),
    failures=st.integers(0, 12),
    unavailable=st.sampled_from([None, Limit(1), Limit(2), Limit(5)]),
    per=st.sampled_from([None, Limit(1), Limit(2)]),
    drain=st.booleans(),
    on_failure=st.sampled_from(list(OnFailure)),
    on_halt=st.sampled_from(list(OnHalt)),
    offline=st.sampled_from([0.0, 300.0]),
)

FAULTS = st.sampled_from(
    [
        HostFault.UNREACHABLE,
        HostFault.CONNECTION_LOST,
        HostFault.REGISTRY,
        HostFault.LOCK_HELD,
        HostFault.NO_SPACE,
        HostFault.HOST_KEY_CHANGED,
        HostFault.COMMAND_FAILED,
    ]
)
KINDS = st.sampled_from(
    [
        ActionKind.OBSERVE,
        ActionKind.STAGE,
        ActionKind.REBOOT,
        ActionKind.CHECK,
        ActionKind.DRAIN,
        ActionKind.UNDRAIN,
        ActionKind.EVIDENCE,
        ActionKind.QUEUE_ROLLBACK,
        ActionKind.BAKE,
    ]
)


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, FakeHost]:
    fakes = {}
    for number in range(draw(st.integers(1, 10))):
        fake = FakeHost(f"h{number}")
        trouble = draw(st.sampled_from(["", "", "sick", "old", "lost", "faults", "faults"]))
        if trouble == "sick":
            fake.sick_on = frozenset({NEW})
        elif trouble == "old":
            fake.returns_old = True
        elif trouble == "lost":
            fake.faults = {ActionKind.CONCLUDE: [HostFault.DID_NOT_RETURN]}
        elif trouble == "faults":
            for kind in draw(st.lists(KINDS, max_size=3)):
                fake.faults[kind] = draw(st.lists(FAULTS, min_size=1, max_size=6))
        fakes[fake.name] = fake
    return fakes


@settings(max_examples=300, deadline=None)
@given(
    policy=POLICIES,
    fakes=fleets(),
    seed=st.integers(0, 2**32),
    kill_rate=st.sampled_from([0.0, 0.0, 0.02, 0.2]),
    room=st.integers(1, 12),
)
def test_whatever_happens(
    policy: RolloutPolicy, fakes: dict[str, FakeHost], seed: int, kill_rate: float, room: int
) -> None:
    labels = {name: {"site": "ab"[n % 2]} for n, name in enumerate(fakes)}
    done = play(labels, policy, seed=seed, fakes=fakes, room=room)
    done.kill_rate = kill_rate
    end = done.run()
    assert end.outcome in {"done", "failed", "halted"}
    budgets = policy.budgets
    total = len(fakes)
    if budgets.max_unavailable is not None:
        assert done.most_away() <= budgets.max_unavailable.of(total)
    if budgets.per_group is not None:
        for site in "ab":
            names = {name for name, own in labels.items() if own["site"] == site}
            if names:
                assert done.most_away(names) <= budgets.per_group.of(len(names))
    for name, fake in fakes.items():
        state = end.state(name)
        assert state.phase in ENDS
        assert state.message or state.phase is HostPhase.UPDATED
        if state.phase is HostPhase.UPDATED:
            assert fake.booted == NEW
        if state.phase is HostPhase.ROLLED_BACK:
            assert fake.booted == OLD
        if state.phase is HostPhase.SKIPPED:
            assert fake.boots == 0
            assert not fake.drained
        # Forward once and back once at the most, whatever crashed in between.
        assert fake.boots <= 2
        if state.phase is HostPhase.UPDATED:
            assert fake.boots == 1


@pytest.mark.parametrize("operation", [Operation.ROLLBACK, Operation.REBOOT])
@pytest.mark.parametrize("kill_rate", [0.0, 0.1])
def test_the_other_operations(operation: Operation, kill_rate: float) -> None:
    fakes = {f"h{n}": FakeHost(f"h{n}", rollback=NEW) for n in range(5)}
    done = play(5, RolloutPolicy(), operation=operation, fakes=fakes, seed=3)
    done.kill_rate = kill_rate
    assert done.run().outcome == "done"
    wanted = NEW if operation is Operation.ROLLBACK else OLD
    assert {host.booted for host in done.hosts.values()} == {wanted}
    assert {host.boots for host in done.hosts.values()} == {1}


def test_a_resumed_rollout_looks_for_a_host_that_was_lost_before() -> None:
    fakes = {"h0": FakeHost("h0"), "h1": FakeHost("h1")}
    fakes["h0"].faults = {ActionKind.CONCLUDE: [HostFault.DID_NOT_RETURN]}
    budgets = Budgets(max_failures=Limit(1), max_unavailable=Limit(1))
    policy = RolloutPolicy(
        canary=None, batch=Limit(2), budgets=budgets, timeouts=Timeouts(offline=9999)
    )
    done = play(2, policy, fakes=fakes)
    killed: list[bool] = []

    def tick(now: Play) -> None:
        if fakes["h0"].lost and not killed:
            killed.append(True)
            now.kill()
            fakes["h0"].lost = False
            fakes["h0"].faults.clear()

    done.on_tick = tick
    assert done.run().outcome == "done"
    assert set(phases(done).values()) == {HostPhase.UPDATED}
    assert {host.boots for host in done.hosts.values()} == {1}


def test_lost_hosts_that_answer_slowly_keep_no_rollout_open() -> None:
    """One after the other takes longer than the pause between two looks at each."""
    lost = {ActionKind.CONCLUDE: [HostFault.DID_NOT_RETURN]}
    fakes = {f"h{n}": FakeHost(f"h{n}", faults=dict(lost)) for n in range(8)}
    policy = RolloutPolicy(canary=None, batch=Limit(8), budgets=Budgets(max_failures=Limit(8)))
    done = play(8, policy, fakes=fakes, room=1)
    assert done.run().outcome == "failed"
    assert set(phases(done).values()) == {HostPhase.FAILED}


def test_a_host_that_is_tried_again_is_not_said_to_be_unreachable() -> None:
    done = play(2, RolloutPolicy(), fakes={"h0": FakeHost("h0", sick_on=frozenset({NEW}))})
    assert done.run().outcome == "halted"
    done.request(EntryKind.RETRY, reason="")
    said: list[str] = []
    done.on_tick = lambda now: said.extend(waits_of(now.rollout, now.now))
    assert done.run().outcome == "halted"
    assert not any("reached" in why for why in said)


def test_a_canary_that_cannot_be_reached_is_waited_for() -> None:
    fakes = {"h0": FakeHost("h0", faults={ActionKind.STAGE: [HostFault.UNREACHABLE] * 9})}
    done = play(2, RolloutPolicy(timeouts=Timeouts(offline=9999)), fakes=fakes)
    said: set[str] = set()
    done.on_tick = lambda now: said.update(waits_of(now.rollout, now.now))
    assert done.run().outcome == "done"
    assert any(why.endswith(": 1 host cannot be reached") for why in said)
