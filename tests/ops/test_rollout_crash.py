"""A controller that dies at any moment: whoever resumes its rollout comes to the same end.

The same are: how each host ended, by the journal and by the host itself; how often it was
rebooted; that nothing of the rollout is left on it; and what the audit chain keeps.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import Operation, Rollout
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Hook,
    HookKind,
    OnHalt,
    RolloutPolicy,
    WaveRule,
)
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.simhost import Deployment
from bootcfleet.ops.rollout_run import begin_rollout, resume_rollout
from tests.crashing import CrashFleet, Doom, Killed, Moment, Outcome, outcome
from tests.simfleet import NEW, OLD, QUICK, REFERENCE, TRIES, pulled

#: Of the commands that go to the hosts every so many-th is one to die at; 1 takes minutes.
COMMANDS = int(os.environ.get("CRASH_COMMANDS", "7"))

NAMES = ("a", "b", "c", "d", "e", "f")
#: Its image is bad.
BAD_HOST = "c"

PLAIN = RolloutPolicy(budgets=Budgets(max_failures=Limit(1)), timeouts=QUICK, retries=TRIES)
DRAINING = replace(
    PLAIN,
    drain=(Hook(HookKind.REMOTE, ("drain",)),),
    undrain=(Hook(HookKind.REMOTE, ("undrain",)),),
)
#: The bad host has a wave of its own, so that what the others come to is no matter of luck.
GOES_BACK = replace(
    DRAINING,
    budgets=Budgets(),
    on_halt=OnHalt.ROLLBACK,
    canary=None,
    waves=(WaveRule("first", hosts=("a", "b")), WaveRule("bad", hosts=("c",))),
)


@dataclass(frozen=True)
class Case:
    """A rollout that controllers die of."""

    name: str
    policy: RolloutPolicy
    operation: Operation = Operation.UPGRADE


CASES = (
    Case("plain", PLAIN),
    Case("drain", DRAINING),
    Case("on-halt-rollback", GOES_BACK),
    Case("fleet-rollback", PLAIN, Operation.ROLLBACK),
)


def a_fleet(ledger: Ledger, case: Case) -> CrashFleet:
    fleet = CrashFleet(ledger, NAMES, boot_seconds=0.005)
    for name, sim in fleet.sims.items():
        image = replace(pulled(NEW), healthy=name != BAD_HOST)
        if case.operation is Operation.ROLLBACK:
            sim.rollback = Deployment(REFERENCE, "registry", image)
        else:
            sim.pull = lambda _reference, image=image: image
    return fleet


def carry_out(ledger: Ledger, case: Case, dooms: list[Doom]) -> tuple[CrashFleet, Rollout]:
    """Begin a rollout and resume it after each death; the last controller lives."""
    fleet = a_fleet(ledger, case)
    plan = fleet.plan(case.policy, case.operation)
    begun = False
    for doom in [*dooms, Doom()]:
        office, workers = fleet.controller(doom)
        try:
            if not begun:
                begun = True
                return fleet, begin_rollout(plan, workers, office)
            return fleet, resume_rollout("r1", lambda _rollout, w=workers: w, office)
        except Killed:
            # The connections to the database are another process's, too.
            fleet.ledger = Ledger.open("sqlite:///ledger.db", base=Path(ledger.db.where).parent)
    raise AssertionError("the last controller lives")


def played(case: Case, *dooms: Doom) -> Outcome:
    """What a rollout comes to whose controllers die so."""
    with TemporaryDirectory(dir="/dev/shm") as directory:
        ledger = Ledger.open("sqlite:///ledger.db", base=Path(directory))
        fleet, end = carry_out(ledger, case, list(dooms))
        found = outcome(fleet, end)
        fleet.ledger.close()
        ledger.close()
        return found


@cache
def undisturbed(name: str) -> Outcome:
    """The end of a case without a crash."""
    return played(case_of(name))


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def test_what_the_crashes_are_compared_with() -> None:
    """The undisturbed ends are those that the policies ask for."""
    for name, outcome_, bad in (
        ("plain", "failed", "rolled-back"),
        ("drain", "failed", "rolled-back"),
        ("on-halt-rollback", "halted", "rolled-back"),
        ("fleet-rollback", "failed", "failed"),
    ):
        end = undisturbed(name)
        assert end.outcome == outcome_
        assert end.phases[BAD_HOST] == bad
        assert not any(host.locked or host.staged or host.queued for host in end.hosts.values())
        assert all(host.in_use for host in end.hosts.values())
    halted = undisturbed("on-halt-rollback")
    assert [halted.hosts[name].reboots for name in NAMES] == [2, 2, 2, 0, 0, 0]
    assert {host.booted for host in halted.hosts.values()} == {OLD}
    assert [host.reboots for host in undisturbed("plain").hosts.values()] == [1, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_dies_once(name: str, moment: Moment) -> None:
    """At every write of the journal, one rollout for each, and at many of the commands."""
    case, expected = case_of(name), undisturbed(name)
    alive = Doom()
    played(case, alive)
    if moment in (Moment.BEFORE_COMMAND, Moment.AFTER_COMMAND):
        numbers = range(1, alive.commands, COMMANDS)
    else:
        # Before the first write there is no rollout that could be resumed.
        first = 1 if moment is Moment.AFTER_WRITE else 2
        numbers = range(first, alive.writes + 1)
    dooms = [Doom(moment, number) for number in numbers]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda doom: played(case, doom), dooms))
    for doom, one in zip(dooms, found, strict=True):
        assert one == expected, f"it died {moment} {doom.number}"
    # How replies are batched is a matter of luck, so the last numbers may not be reached.
    assert sum(doom.dead for doom in dooms) >= min(10, len(dooms) - 5)


DOOMS = st.builds(Doom, st.sampled_from(list(Moment)), st.integers(2, 30))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from([case.name for case in CASES]), dooms=st.lists(DOOMS, max_size=6))
def test_dies_again_and_again(name: str, dooms: list[Doom]) -> None:
    assert played(case_of(name), *(replace(doom) for doom in dooms)) == undisturbed(name)
