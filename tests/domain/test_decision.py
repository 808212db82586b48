"""What a rollout does next: every situation of a host, and random crashes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.decision import ActionKind, decide, judge_checks, next_actions
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
    Transition,
    apply,
)
from bootcfleet.domain.rollout_policy import Budgets, RolloutPolicy
from bootcfleet.domain.waves import plan_waves
from bootcfleet.errors import HostFault

OLD, NEW, OTHER = ("sha256:" + c * 64 for c in "abc")


def rollout(operation: Operation = Operation.UPGRADE, hosts: tuple[str, ...] = ("h",)) -> Rollout:
    accepted = {Operation.REBOOT: OLD}.get(operation, NEW)
    targets = {
        h: Target(h, "r.example/x:1", frozenset({accepted}), OLD, "boot-0", "planned")
        for h in hosts
    }
    policy = RolloutPolicy(canary=None, batch=Limit(100, percent=True))
    return Rollout("r1", operation, policy, plan_waves(hosts, policy), targets)


def seen(boot: str, booted: str | None, **more: object) -> Observation:
    return replace(Observation(boot, booted), **more)  # type: ignore[arg-type]


STAGING = HostState(HostPhase.STAGING)
STAGED_NOTHING = HostState(HostPhase.STAGING, attempted=True)
REBOOTING = HostState(HostPhase.REBOOTING)
REVERTING = HostState(HostPhase.REVERTING, "sick", bad_boot_id="boot-1")
UP, BACK, AGAIN = Operation.UPGRADE, Operation.ROLLBACK, Operation.REBOOT

CASES = [
    # operation, state, observation → action, phase it leads to, words of the reason
    (UP, HostState(), None, "observe", HostPhase.PENDING, "not known"),
    (UP, HostState(), seen("boot-0", OLD), "stage", HostPhase.STAGING, "planned"),
    (UP, HostState(), seen("boot-0", NEW), "conclude", HostPhase.UNCHANGED, "already runs"),
    (UP, HostState(), seen("boot-0", OLD, staged=NEW), "reboot", HostPhase.REBOOTING, "staged"),
    (UP, STAGING, seen("boot-0", OLD), "stage", HostPhase.STAGING, "planned"),
    (UP, STAGED_NOTHING, seen("boot-0", OLD), "conclude", HostPhase.FAILED, "staged nothing"),
    (UP, STAGING, seen("boot-0", OLD, staged=OTHER), "conclude", HostPhase.FAILED, "tag moved"),
    (UP, HostState(), seen("boot-0", OLD, staged=OTHER), "stage", HostPhase.STAGING, "planned"),
    (UP, REBOOTING, seen("boot-0", OLD, staged=NEW), "reboot", HostPhase.REBOOTING, "staged"),
    (UP, REBOOTING, seen("boot-0", OLD, staged=OTHER), "conclude", HostPhase.FAILED, "tag moved"),
    (UP, REBOOTING, seen("boot-1", NEW), "check", HostPhase.CHECKING, "new boot"),
    (UP, REBOOTING, seen("boot-1", OLD), "conclude", HostPhase.FAILED, "old deployment"),
    (UP, REBOOTING, seen("boot-1", OTHER), "conclude", HostPhase.FAILED, "neither"),
    (UP, REBOOTING, seen("boot-1", None), "conclude", HostPhase.FAILED, "neither"),
    (UP, HostState(), seen("boot-0", OLD, rollback_queued=True, rollback=OTHER), "conclude",
     HostPhase.FAILED, "rollback is queued"),
    (UP, REVERTING, seen("boot-1", NEW, rollback=OLD), "queue-rollback", HostPhase.REVERTING, ""),
    (UP, REVERTING, seen("boot-1", NEW, rollback=OLD, rollback_queued=True), "reboot",
     HostPhase.REVERTING, "queued"),
    (UP, REVERTING, seen("boot-1", NEW, rollback=OTHER), "conclude", HostPhase.FAILED,
     "cannot go back"),
    (UP, REVERTING, seen("boot-2", OLD), "conclude", HostPhase.ROLLED_BACK, "went back"),
    (UP, REVERTING, seen("boot-2", NEW), "conclude", HostPhase.FAILED, "not on its old"),
    (BACK, HostState(), seen("boot-0", OLD, rollback=NEW), "queue-rollback", HostPhase.STAGING, ""),
    (BACK, STAGING, seen("boot-0", OLD, rollback=NEW, rollback_queued=True), "reboot",
     HostPhase.REBOOTING, "queued"),
    (BACK, STAGED_NOTHING, seen("boot-0", OLD, rollback=NEW), "conclude", HostPhase.FAILED,
     "did not queue"),
    (BACK, HostState(), seen("boot-0", OLD, rollback=OTHER), "conclude", HostPhase.FAILED,
     "no longer"),
    (BACK, REBOOTING, seen("boot-1", NEW), "check", HostPhase.CHECKING, ""),
    (AGAIN, HostState(), seen("boot-0", OLD), "reboot", HostPhase.REBOOTING, "asked for"),
    (AGAIN, REBOOTING, seen("boot-1", OLD), "check", HostPhase.CHECKING, ""),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "state", "observed", "kind", "phase", "words"), CASES)
def test_decide(
    operation: Operation,
    state: HostState,
    observed: Observation | None,
    kind: str,
    phase: HostPhase,
    words: str,
) -> None:
    action = decide(rollout(operation), "h", state, observed)
    assert (action.kind, action.state.phase) == (ActionKind(kind), phase)
    assert words in f"{action.reason} {action.state.message}"


def test_the_manifest_of_the_platform_counts_as_the_planned_index() -> None:
    plan = rollout()
    plan = replace(
        plan, targets={"h": replace(plan.targets["h"], accepted=frozenset({NEW, OTHER}))}
    )
    action = decide(plan, "h", REBOOTING, seen("boot-1", OTHER))
    assert action.kind is ActionKind.CHECK


def test_a_healthy_host_is_updated_and_a_sick_one_goes_back() -> None:
    now = seen("boot-1", NEW, rollback=OLD)
    assert judge_checks(rollout(), "h", now, ()).phase is HostPhase.UPDATED
    sick = judge_checks(rollout(), "h", now, ("http answers 500",))
    assert sick.phase is HostPhase.REVERTING
    assert sick.bad_boot_id == "boot-1"
    assert sick.fault is HostFault.HEALTH_FAILED


@pytest.mark.parametrize("operation", [Operation.ROLLBACK, Operation.REBOOT])
def test_after_a_rollback_nothing_goes_forward_again(operation: Operation) -> None:
    sick = judge_checks(rollout(operation), "h", seen("boot-1", NEW, rollback=OLD), ("sick",))
    assert sick.phase is HostPhase.FAILED


def test_a_failed_canary_halts_whatever_the_budget() -> None:
    budgets = Budgets(max_failures=Limit(5))
    policy = RolloutPolicy(canary=Limit(1), batch=Limit(2), budgets=budgets)
    hosts = ("a", "b", "c")
    plan = replace(rollout(hosts=hosts), policy=policy, waves=plan_waves(hosts, policy))
    plan = apply(plan, Transition("a", HostState(HostPhase.FAILED)))
    assert plan.halted == "the canary a failed"
    actions = next_actions(plan, {})
    assert {a.host: a.state.phase for a in actions} == {
        "b": HostPhase.SKIPPED,
        "c": HostPhase.SKIPPED,
    }


def test_the_failure_budget_halts_and_finishes_what_was_begun() -> None:
    hosts = ("a", "b", "c", "d")
    plan = rollout(hosts=hosts)
    plan = apply(plan, Transition("b", REBOOTING))
    plan = apply(plan, Transition("a", HostState(HostPhase.FAILED)))
    assert plan.halted == "1 host failed and the failure budget is 0"
    actions = {a.host: a for a in next_actions(plan, {"b": seen("boot-1", NEW)})}
    assert actions["b"].kind is ActionKind.CHECK
    assert actions["c"].state.phase is HostPhase.SKIPPED


@dataclass
class Machine:
    """A bootc host in a few lines: what a command does to its slots."""

    booted: str = OLD
    staged: str | None = None
    rollback: str | None = None
    queued: bool = False
    boot: int = 0
    sick: bool = False

    def observe(self) -> Observation:
        return Observation(
            f"boot-{self.boot}", self.booted, self.staged, self.rollback, self.queued
        )

    def do(self, kind: ActionKind) -> None:
        if kind is ActionKind.STAGE:
            self.staged = NEW
        elif kind is ActionKind.QUEUE_ROLLBACK:
            self.queued, self.staged = not self.queued, None
        elif kind is ActionKind.REBOOT:
            if self.queued:
                assert self.rollback is not None
                self.booted, self.rollback = self.rollback, self.booted
            elif self.staged:
                self.booted, self.rollback = self.staged, self.booted
            self.staged, self.queued = None, False
            self.boot += 1


def drive(plan: Rollout, machines: dict[str, Machine], crashes: list[bool]) -> Rollout:
    """Carry a rollout out; a crash loses what the controller had seen, never its journal."""
    observed: dict[str, Observation] = {}
    crash = iter(crashes)
    for _ in range(400):
        actions = next_actions(plan, observed)
        if not actions:
            return plan
        action = actions[0]
        host = action.host
        plan = apply(plan, Transition(host, action.state))  # the intent, written before the act
        if next(crash, False):  # after the intent, before the act
            observed.clear()
            continue
        machines[host].do(action.kind)
        if next(crash, False):  # after the act, before its result was written
            observed.clear()
            continue
        observed[host] = machines[host].observe()
        if action.kind in {ActionKind.STAGE, ActionKind.QUEUE_ROLLBACK}:
            state = replace(action.state, attempted=True)
            plan = apply(plan, Transition(host, state))
        elif action.kind is ActionKind.CHECK:
            sick = machines[host].sick and machines[host].booted == NEW
            state = judge_checks(plan, host, observed[host], ("sick",) if sick else ())
            plan = apply(plan, Transition(host, state))
    raise AssertionError("the rollout does not end")


@settings(max_examples=200)
@given(
    crashes=st.lists(st.booleans(), max_size=60),
    sick=st.sets(st.sampled_from("abcd")),
    operation=st.sampled_from([Operation.UPGRADE, Operation.ROLLBACK, Operation.REBOOT]),
)
def test_crashes_change_nothing(crashes: list[bool], sick: set[str], operation: Operation) -> None:
    """The end is the same with and without crashes, and no host reboots once too often."""
    hosts = tuple("abcd")

    def run(script: list[bool]) -> tuple[dict[str, HostPhase], dict[str, Machine], str | None]:
        machines = {
            h: Machine(sick=h in sick, rollback=NEW if operation is Operation.ROLLBACK else None)
            for h in hosts
        }
        end = drive(rollout(operation, hosts), machines, script)
        return {h: end.state(h).phase for h in hosts}, machines, end.halted

    calm, stormy = run([]), run(crashes)
    assert stormy == calm
    for host, machine in stormy[1].items():
        if host not in sick:
            assert machine.boot <= 1
