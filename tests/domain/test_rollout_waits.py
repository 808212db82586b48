"""What a rollout waits for, as its journal alone tells it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import HostPhase, HostState, Rollout, WaveState
from bootcfleet.domain.rollout_journal import WavePhase
from bootcfleet.domain.rollout_policy import Budgets, MetricGate
from bootcfleet.domain.rollout_waits import waits_of
from bootcfleet.domain.window import Windows
from tests.rolloutmaker import a_rollout

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ID = "20261121-030100-a1b2"


def rollout(*phases: WavePhase, **states: HostState) -> Rollout:
    waves = {n: WaveState(phase, NOW) for n, phase in enumerate(phases, 1)}
    return replace(a_rollout(), wave_states=waves, states=states)


STAGED, UPDATED = HostState(HostPhase.STAGED), HostState(HostPhase.UPDATED)
RUNNING, BAKING, DONE = WavePhase.RUNNING, WavePhase.BAKING, WavePhase.DONE
APPROVAL = f"wave 2 (rest) waits for approval (bootcfleet rollout approve {ID})"


def test_nothing_is_waited_for() -> None:
    assert waits_of(rollout(), NOW) == []
    assert waits_of(rollout(RUNNING, web1=STAGED), NOW) == []
    assert waits_of(rollout(RUNNING, web1=HostState(HostPhase.REBOOTING)), NOW) == []


def test_people() -> None:
    first = rollout(DONE, web1=UPDATED, web2=UPDATED)
    assert waits_of(first, NOW) == [APPROVAL]
    assert waits_of(replace(first, paused="lunch"), NOW) == [
        f"it is paused: lunch (bootcfleet rollout resume {ID})",
        APPROVAL,
    ]
    assert waits_of(replace(first, paused="paused", approved=frozenset({2})), NOW) == [
        f"it is paused (bootcfleet rollout resume {ID})"
    ]
    assert waits_of(replace(first, outcome="done"), NOW) == []
    assert waits_of(replace(first, halted="bad"), NOW) == []


def test_a_window() -> None:
    one = rollout(RUNNING, web1=STAGED, web2=STAGED)
    closed = Windows(blackout=((date(2026, 11, 20), date(2026, 11, 22)),))
    one = replace(one, policy=replace(one.policy, windows=closed))
    assert waits_of(one, NOW) == [
        "reboots: no maintenance window is open; it opens 2026-11-23T00:00+00:00"
    ]
    assert waits_of(one, datetime(2026, 11, 23, tzinfo=UTC)) == []


def test_a_budget() -> None:
    one = rollout(RUNNING, web1=STAGED, web2=HostState(HostPhase.REBOOTING))
    budgets = Budgets(max_unavailable=Limit(1))
    (why,) = waits_of(replace(one, policy=replace(one.policy, budgets=budgets)), NOW)
    assert why.startswith("reboots: ")
    assert "web2" in why or "1" in why


def test_a_bake_time() -> None:
    one = rollout(BAKING, web1=UPDATED, web2=UPDATED)
    baked = tuple(replace(wave, bake=600.0) for wave in one.waves)
    assert waits_of(replace(one, waves=baked), NOW) == [
        "wave 1 (first): bakes until 2026-11-21T12:10:00+00:00"
    ]


def test_metric_gates() -> None:
    """What they said is in no journal, but that a wave stands before them is seen."""
    gates = tuple(MetricGate(name, "http://p:9090", "up", ">", 0.0) for name in "ab")
    first = rollout()
    gated = replace(first, policy=replace(first.policy, gates=gates))
    said = "wave 1 (first): gates a, b (the controller tells what they say)"
    assert waits_of(gated, NOW) == [said]
    assert waits_of(replace(gated, paused="lunch"), NOW) == [
        f"it is paused: lunch (bootcfleet rollout resume {ID})"
    ]
    running = replace(gated, wave_states={1: WaveState(RUNNING, NOW)}, states={"web1": STAGED})
    assert waits_of(running, NOW) == []
    # A bake time tells of itself; what comes after it are the gates again.
    baked = tuple(replace(wave, bake=600.0) for wave in first.waves)
    well = {"web1": UPDATED, "web2": UPDATED}
    baking = replace(gated, waves=baked, wave_states={1: WaveState(BAKING, NOW)}, states=well)
    assert waits_of(baking, NOW) == ["wave 1 (first): bakes until 2026-11-21T12:10:00+00:00"]
    assert waits_of(baking, NOW + timedelta(minutes=11)) == [said]


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (["web1"], ["1 host to be tried again from 12:01:00Z on"]),
        (["web1", "web2"], ["2 hosts to be tried again from 12:01:00Z on"]),
    ],
)
def test_another_try(hosts: list[str], said: list[str]) -> None:
    states = {
        host: HostState(HostPhase.STAGING, tries=1, not_before=NOW + timedelta(minutes=number))
        for number, host in enumerate(hosts, 1)
    }
    assert waits_of(rollout(RUNNING, **states), NOW) == said
    assert waits_of(rollout(RUNNING, **states), NOW + timedelta(minutes=5)) == []
