"""What a rollout does next with one host: every situation of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootcfleet.domain.action import ActionKind
from bootcfleet.domain.decision import decide, judge_checks
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
)
from bootcfleet.domain.rollout_policy import Hook, HookKind, OnFailure, RolloutPolicy
from bootcfleet.domain.waves import plan_waves
from bootcfleet.errors import HostFault

OLD, NEW, OTHER = ("sha256:" + c * 64 for c in "abc")


def rollout(operation: Operation = Operation.UPGRADE, hosts: tuple[str, ...] = ("h",)) -> Rollout:
    accepted = {Operation.REBOOT: OLD}.get(operation, NEW)
    targets = {
        h: Target(h, "r.example/x:1", frozenset({accepted}), OLD, "boot-0", "planned")
        for h in hosts
    }
    if operation is Operation.SWITCH:
        targets = {h: replace(one, before=NEW, renames=True) for h, one in targets.items()}
    policy = RolloutPolicy(canary=None, batch=Limit(100, percent=True))
    known = {name: Host(name) for name in hosts}
    waves = plan_waves(list(known.values()), policy)
    return Rollout("r1", operation, policy, waves, targets, hosts=known)


def seen(boot: str, booted: str | None, **more: object) -> Observation:
    return replace(Observation(boot, booted), **more)  # type: ignore[arg-type]


STAGING = HostState(HostPhase.STAGING)
STAGED_NOTHING = HostState(HostPhase.STAGING, attempted=True)
STAGED = HostState(HostPhase.STAGED)
REBOOTING = HostState(HostPhase.REBOOTING)
REVERTING = HostState(HostPhase.REVERTING, "sick", bad_boot_id="boot-1")
UP, BACK, AGAIN = Operation.UPGRADE, Operation.ROLLBACK, Operation.REBOOT
#: To another reference with the image that the host runs.
RENAME = Operation.SWITCH

CASES = [
    # operation, state, observation → action, phase it leads to, words of the reason
    (UP, HostState(), None, "observe", HostPhase.PENDING, "not known"),
    (UP, HostState(), seen("boot-0", OLD), "stage", HostPhase.STAGING, "planned"),
    (UP, HostState(), seen("boot-0", NEW), "conclude", HostPhase.UNCHANGED, "already runs"),
    (UP, HostState(), seen("boot-0", OLD, staged=NEW), "conclude", HostPhase.STAGED, "staged"),
    (UP, STAGED, seen("boot-0", OLD, staged=NEW), "reboot", HostPhase.REBOOTING, "staged"),
    (UP, STAGED, None, "observe", HostPhase.STAGED, "not known"),
    (UP, STAGED, seen("boot-0", OLD), "conclude", HostPhase.FAILED, "is no longer"),
    (UP, STAGED, seen("boot-0", OLD, staged=OTHER), "conclude", HostPhase.FAILED, "somebody else"),
    (UP, STAGED, seen("boot-1", OLD), "plan", HostPhase.DEFERRED, "rebooted by somebody else"),
    (UP, STAGED, seen("boot-1", NEW), "check", HostPhase.CHECKING, "new boot"),
    (UP, HostState(HostPhase.DEFERRED), None, "plan", HostPhase.DEFERRED, ""),
    (UP, HostState(HostPhase.UNDRAINING), None, "undrain", HostPhase.UNDRAINING, ""),
    (UP, STAGING, seen("boot-0", OLD), "stage", HostPhase.STAGING, "planned"),
    (UP, STAGED_NOTHING, seen("boot-0", OLD), "conclude", HostPhase.FAILED, "staged nothing"),
    (UP, STAGING, seen("boot-0", OLD, staged=OTHER), "stage", HostPhase.STAGING, "planned"),
    (UP, STAGED_NOTHING, seen("boot-0", OLD, staged=OTHER), "conclude", HostPhase.FAILED,
     "tag moved"),
    (UP, HostState(), seen("boot-0", OLD, staged=OTHER), "stage", HostPhase.STAGING, "planned"),
    (UP, REBOOTING, seen("boot-0", OLD, staged=NEW), "reboot", HostPhase.REBOOTING, "staged"),
    (UP, REBOOTING, seen("boot-0", OLD, staged=OTHER), "conclude", HostPhase.FAILED,
     "somebody else"),
    (UP, REBOOTING, seen("boot-1", NEW), "check", HostPhase.CHECKING, "new boot"),
    (UP, REBOOTING, seen("boot-1", OLD), "conclude", HostPhase.FAILED, "old deployment"),
    (UP, REBOOTING, seen("boot-1", OTHER), "conclude", HostPhase.FAILED, "neither"),
    (UP, REBOOTING, seen("boot-1", None), "conclude", HostPhase.FAILED, "neither"),
    (UP, HostState(), seen("boot-0", OLD, rollback_queued=True, rollback=OTHER), "stage",
     HostPhase.STAGING, "planned"),
    (UP, HostState(), seen("boot-0", NEW, rollback_queued=True, rollback=OTHER), "conclude",
     HostPhase.FAILED, "rollback is queued"),
    (UP, STAGING, seen("boot-0", NEW, rollback_queued=True, rollback=OTHER), "stage",
     HostPhase.STAGING, "planned"),
    (UP, STAGED_NOTHING, seen("boot-0", NEW, rollback_queued=True, rollback=OTHER), "conclude",
     HostPhase.FAILED, "rollback is queued"),
    (UP, STAGED_NOTHING, seen("boot-0", OLD, rollback_queued=True, rollback=OTHER), "conclude",
     HostPhase.FAILED, "rollback is queued"),
    (UP, STAGED, seen("boot-0", OLD, rollback_queued=True, rollback=OTHER), "conclude",
     HostPhase.FAILED, "rollback is queued"),
    (UP, STAGED, seen("boot-0", OLD, staged=NEW, download_only=True, rollback_queued=True,
                      rollback=OTHER), "reboot", HostPhase.REBOOTING, "staged"),
    (RENAME, HostState(), seen("boot-0", NEW), "stage", HostPhase.STAGING, "planned"),
    (RENAME, HostState(), seen("boot-0", NEW, staged=NEW), "stage", HostPhase.STAGING, "planned"),
    (RENAME, STAGING, seen("boot-0", NEW, staged=NEW), "stage", HostPhase.STAGING, "planned"),
    (RENAME, STAGED_NOTHING, seen("boot-0", NEW), "conclude", HostPhase.FAILED, "staged nothing"),
    (RENAME, STAGED_NOTHING, seen("boot-0", NEW, staged=NEW), "conclude", HostPhase.STAGED, ""),
    (RENAME, STAGED, seen("boot-0", NEW, staged=NEW), "reboot", HostPhase.REBOOTING, "staged"),
    (RENAME, REBOOTING, seen("boot-1", NEW), "check", HostPhase.CHECKING, "new boot"),
    (UP, REVERTING, seen("boot-1", NEW, rollback=OLD), "queue-rollback", HostPhase.REVERTING, ""),
    (UP, REVERTING, seen("boot-1", NEW, rollback=OLD, rollback_queued=True), "reboot",
     HostPhase.REVERTING, "queued"),
    (UP, REVERTING, seen("boot-1", NEW, rollback=OTHER), "conclude", HostPhase.FAILED,
     "cannot go back"),
    (UP, REVERTING, seen("boot-2", OLD), "check", HostPhase.REVERTING, "went back"),
    (UP, REVERTING, seen("boot-2", NEW), "conclude", HostPhase.FAILED, "not on its old"),
    (BACK, HostState(), seen("boot-0", OLD, rollback=NEW), "queue-rollback", HostPhase.STAGING, ""),
    (BACK, STAGING, seen("boot-0", OLD, rollback=NEW, rollback_queued=True), "conclude",
     HostPhase.STAGED, "queued"),
    (BACK, STAGED, seen("boot-0", OLD, rollback=NEW, rollback_queued=True), "reboot",
     HostPhase.REBOOTING, "queued"),
    (BACK, STAGED_NOTHING, seen("boot-0", OLD, rollback=NEW), "conclude", HostPhase.FAILED,
     "did not queue"),
    (BACK, HostState(), seen("boot-0", OLD, rollback=OTHER), "conclude", HostPhase.FAILED,
     "no longer"),
    (BACK, REBOOTING, seen("boot-1", NEW), "check", HostPhase.CHECKING, ""),
    (AGAIN, HostState(), seen("boot-0", OLD), "conclude", HostPhase.STAGED, "asked for"),
    (AGAIN, STAGED, seen("boot-0", OLD), "reboot", HostPhase.REBOOTING, "asked for"),
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
    plan = replace(rollout(operation), states={"h": state}, evidence={"h": {}})
    action = decide(plan, "h", observed)
    assert (action.kind, action.state.phase) == (ActionKind(kind), phase)
    assert words in f"{action.reason} {action.state.message}"


def test_the_manifest_of_the_platform_counts_as_the_planned_index() -> None:
    plan = rollout()
    plan = replace(
        plan, targets={"h": replace(plan.targets["h"], accepted=frozenset({NEW, OTHER}))}
    )
    action = decide(replace(plan, states={"h": REBOOTING}), "h", seen("boot-1", OTHER))
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
    now = seen("boot-1", NEW if operation is Operation.ROLLBACK else OLD, rollback=OLD)
    sick = judge_checks(rollout(operation), "h", now, ("sick",))
    assert sick.then is HostPhase.FAILED
    plan = replace(rollout(operation), states={"h": sick}, evidence={"h": {}})
    action = decide(plan, "h", now)
    assert action.state.phase is HostPhase.FAILED
    assert action.state.down


@pytest.mark.parametrize("state", [REBOOTING, REVERTING])
def test_what_went_wrong_is_found_out_before_it_is_judged(state: HostState) -> None:
    sick = replace(state, fault=HostFault.HEALTH_FAILED)
    action = decide(replace(rollout(), states={"h": sick}), "h", seen("boot-1", OLD))
    assert action.kind is ActionKind.EVIDENCE


def test_a_drained_host_is_undrained_whatever_it_ends_as() -> None:
    hooks = (Hook(HookKind.LOCAL, ("true",)),)
    policy = replace(rollout().policy, drain=hooks, undrain=hooks)
    plan = replace(rollout(), policy=policy, states={"h": STAGED})
    action = decide(plan, "h", seen("boot-0", OLD, staged=NEW))
    assert (action.kind, action.state.drained) == (ActionKind.DRAIN, True)
    plan = replace(plan, states={"h": replace(action.state, phase=HostPhase.REBOOTING)})
    assert decide(plan, "h", seen("boot-0", OLD, staged=NEW)).kind is ActionKind.REBOOT
    healthy = judge_checks(plan, "h", seen("boot-1", NEW), ())
    assert (healthy.phase, healthy.then) == (HostPhase.UNDRAINING, HostPhase.UPDATED)


@pytest.mark.parametrize(
    ("on_failure", "kind", "phase"),
    [
        (OnFailure.ROLLBACK, ActionKind.REBOOT, HostPhase.REVERTING),
        (OnFailure.QUEUE, ActionKind.CONCLUDE, HostPhase.FAILED),
        (OnFailure.LEAVE, ActionKind.CONCLUDE, HostPhase.FAILED),
    ],
)
def test_what_becomes_of_a_sick_host_is_the_policys(
    on_failure: OnFailure, kind: ActionKind, phase: HostPhase
) -> None:
    plan = replace(rollout(), policy=replace(rollout().policy, on_failure=on_failure))
    sick = judge_checks(plan, "h", seen("boot-1", NEW, rollback=OLD), ("sick",))
    plan = replace(plan, states={"h": sick}, evidence={"h": {}})
    action = decide(plan, "h", seen("boot-1", NEW, rollback=OLD, rollback_queued=True))
    assert (action.kind, action.state.phase) == (kind, phase)


def test_a_host_that_leaves_the_new_deployment_while_it_is_checked_is_not_updated() -> None:
    checking = HostState(HostPhase.CHECKING)
    plan = replace(rollout(), states={"h": checking})
    after = judge_checks(plan, "h", seen("boot-2", OLD, rollback=NEW), ())
    assert after == checking
    plan = replace(plan, evidence={"h": {}})
    action = decide(plan, "h", seen("boot-2", OLD, rollback=NEW))
    assert (action.kind, action.state.phase) == (ActionKind.CONCLUDE, HostPhase.FAILED)
    back = replace(REVERTING, fault=None)
    plan = replace(plan, states={"h": back})
    assert judge_checks(plan, "h", seen("boot-2", NEW), ()) == back
