"""What to do next with the hosts of a rollout: a pure function of intent and truth.

`next_actions` never looks at "the step we were at".  After a crash the states
come back from the journal, the hosts are observed again, and the same function
says how to go on, without a reboot too many.  The loop around it is
`ops/rollout.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
)
from bootcfleet.domain.rollout_policy import OnFailure
from bootcfleet.errors import HostFault


class ActionKind(StrEnum):
    """What the controller can do with a host."""

    OBSERVE = "observe"
    STAGE = "stage"
    QUEUE_ROLLBACK = "queue-rollback"
    REBOOT = "reboot"
    CHECK = "check"
    CONCLUDE = "conclude"


@dataclass(frozen=True)
class Action:
    """Do `kind` with `host`, for `reason`; `state` is the intent to write down before."""

    kind: ActionKind
    host: str
    reason: str
    state: HostState


def next_actions(rollout: Rollout, observed: Mapping[str, Observation]) -> tuple[Action, ...]:
    """What to do now, for every host of the wave that is under way.

    A halted rollout finishes what it has begun (a host in the middle is not
    abandoned) and skips the rest, of all waves.  The caller leaves out hosts
    that an action is already running on.  Linear in the hosts of the wave.
    """
    if rollout.halted is not None:
        hosts = tuple(host for wave in rollout.waves for host in wave.hosts)
    else:
        wave = rollout.wave
        hosts = wave.hosts if wave else ()
    actions = []
    for host in hosts:
        state = rollout.state(host)
        if state.ended:
            continue
        if rollout.halted is not None and state.phase is HostPhase.PENDING:
            skipped = HostState(HostPhase.SKIPPED, "not begun: the rollout halted")
            actions.append(Action(ActionKind.CONCLUDE, host, "the rollout halted", skipped))
        else:
            actions.append(decide(rollout, host, state, observed.get(host)))
    return tuple(actions)


def decide(rollout: Rollout, host: str, state: HostState, seen: Observation | None) -> Action:
    """The next action for one host that has not ended."""
    target = rollout.targets[host]
    if seen is None:
        return Action(ActionKind.OBSERVE, host, "its state is not known", state)
    if state.phase is HostPhase.REVERTING:
        return _revert(host, target, state, seen)
    if seen.boot_id != target.boot_id:
        return _after_reboot(host, target, seen)
    if rollout.operation is Operation.ROLLBACK:
        return _before_rollback(host, target, state, seen)
    if rollout.operation is Operation.REBOOT:
        return _reboot(host, "asked for")
    return _before_reboot(host, target, state, seen)


def _before_reboot(host: str, target: Target, state: HostState, seen: Observation) -> Action:
    """Upgrade and switch, in the boot in which the plan was made."""
    if seen.rollback_queued:
        return _fail(
            host,
            HostFault.WRONG_DIGEST,
            "a rollback is queued for the next boot, so a reboot would not boot the update",
        )
    if seen.staged in target.accepted:
        return _reboot(host, f"{_short(seen.staged)} is staged and is the planned digest")
    if seen.staged is None and seen.booted in target.accepted:
        return _end(host, HostPhase.UNCHANGED, f"already runs {_short(seen.booted)}")
    if state.phase is HostPhase.PENDING:
        intent = HostState(HostPhase.STAGING)
        return Action(ActionKind.STAGE, host, target.reason, intent)
    if state.phase is HostPhase.STAGING and seen.staged is None:
        if state.attempted:
            return _fail(
                host,
                HostFault.WRONG_DIGEST,
                f"bootc staged nothing; it still runs {_short(seen.booted)} and the plan is "
                f"{_planned(target)}",
            )
        return Action(ActionKind.STAGE, host, target.reason, HostState(HostPhase.STAGING))
    return _fail(
        host,
        HostFault.WRONG_DIGEST,
        f"staged {_short(seen.staged)} instead of the planned {_planned(target)}: the tag moved "
        "since the plan, or somebody else staged it; the host was not rebooted",
    )


def _before_rollback(host: str, target: Target, state: HostState, seen: Observation) -> Action:
    """Rollback, in the boot in which the plan was made.

    ``bootc rollback`` toggles: called twice it reverts the queued rollback (field
    note), so it is never sent when one is queued.
    """
    if seen.rollback not in target.accepted:
        return _fail(
            host,
            HostFault.WRONG_DIGEST,
            f"the rollback slot holds {_short(seen.rollback)} and no longer {_planned(target)}",
        )
    if seen.rollback_queued:
        return _reboot(host, f"the rollback to {_short(seen.rollback)} is queued")
    if state.attempted:
        return _fail(host, HostFault.NO_ROLLBACK, "bootc did not queue the rollback")
    return Action(ActionKind.QUEUE_ROLLBACK, host, target.reason, HostState(HostPhase.STAGING))


def _after_reboot(host: str, target: Target, seen: Observation) -> Action:
    """The host is in another boot than the plan's: what did it boot?"""
    if seen.booted in target.accepted:
        return Action(
            ActionKind.CHECK,
            host,
            f"runs {_short(seen.booted)} in a new boot",
            HostState(HostPhase.CHECKING),
        )
    if seen.booted == target.before:
        return _fail(
            host,
            HostFault.CAME_BACK_OLD,
            f"came back on its old deployment {_short(seen.booted)} instead of "
            f"{_planned(target)}: the new one did not boot, or greenboot rolled it back",
        )
    return _fail(
        host,
        HostFault.WRONG_DIGEST,
        f"came back on {_short(seen.booted)}, which is neither the planned {_planned(target)} nor "
        f"its old {_short(target.before)}: somebody else moved it",
    )


def _revert(host: str, target: Target, state: HostState, seen: Observation) -> Action:
    """Back to where it came from, because its checks failed in `bad_boot_id`."""
    why = state.message
    if seen.boot_id != state.bad_boot_id:
        if seen.booted == target.before:
            message = f"{why}; went back to {_short(seen.booted)}"
            return _conclude(host, replace(state, phase=HostPhase.ROLLED_BACK, message=message))
        message = f"{why}; then came back on {_short(seen.booted)}, not on its old deployment"
        return _conclude(host, replace(state, phase=HostPhase.FAILED, message=message))
    if seen.rollback_queued:
        return Action(ActionKind.REBOOT, host, "the rollback is queued", state)
    if seen.rollback != target.before or target.before is None:
        message = f"{why}; and it cannot go back: its rollback slot holds {_short(seen.rollback)}"
        return _conclude(host, replace(state, phase=HostPhase.FAILED, message=message))
    return Action(ActionKind.QUEUE_ROLLBACK, host, why, state)


def judge_checks(
    rollout: Rollout, host: str, seen: Observation, failures: tuple[str, ...]
) -> HostState:
    """The state of a host whose health checks have run; `failures` names those that failed."""
    if not failures:
        return HostState(HostPhase.UPDATED, f"runs {_short(seen.booted)}, healthy")
    message = f"{_short(seen.booted)} is not healthy: {failures[0]}"
    going_back = HostState(
        HostPhase.REVERTING,
        message,
        fault=HostFault.HEALTH_FAILED,
        bad_boot_id=seen.boot_id,
        evidence=failures,
    )
    match rollout.operation:
        case Operation.UPGRADE | Operation.SWITCH:
            if (
                rollout.policy.on_failure is OnFailure.ROLLBACK
                and rollout.targets[host].before != seen.booted
            ):
                return going_back
            return replace(going_back, phase=HostPhase.FAILED)
        case Operation.ROLLBACK | Operation.REBOOT:
            # Going back would mean forward, to what the admin has just left.
            return replace(going_back, phase=HostPhase.FAILED)
        case _ as never:
            assert_never(never)


def _reboot(host: str, reason: str) -> Action:
    return Action(ActionKind.REBOOT, host, reason, HostState(HostPhase.REBOOTING))


def _end(host: str, phase: HostPhase, message: str) -> Action:
    return _conclude(host, HostState(phase, message))


def _fail(host: str, fault: HostFault, message: str) -> Action:
    return _conclude(host, HostState(HostPhase.FAILED, message, fault=fault))


def _conclude(host: str, state: HostState) -> Action:
    return Action(ActionKind.CONCLUDE, host, state.message, state)


def _planned(target: Target) -> str:
    return " or ".join(sorted(_short(digest) for digest in target.accepted)) or "nothing"


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "nothing"
