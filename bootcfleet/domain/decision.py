"""What to do next with one host of a rollout: a pure function of intent and truth.

`decide` never looks at "the step we were at".  After a crash the state comes back from the
journal, the host is observed again, and the same function says how to go on, without a
reboot too many.  Whether it may be done now (budgets, windows, pauses) is
`domain/rollout_step.py`'s.
"""

from __future__ import annotations

from dataclasses import replace

from bootcfleet.domain.action import Action, ActionKind
from bootcfleet.domain.hostevidence import HostEvidence
from bootcfleet.domain.outcome import explain
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

#: Before its reboot nothing was done to a host that somebody else could have undone.
_BEFORE_REBOOT = frozenset(
    {HostPhase.PENDING, HostPhase.STAGING, HostPhase.STAGED, HostPhase.DRAINING}
)


def decide(rollout: Rollout, host: str, seen: Observation | None) -> Action:
    """The next action for one host that has not ended."""
    state = rollout.state(host)
    target = rollout.targets.get(host)
    if target is None or state.phase is HostPhase.DEFERRED:
        return Action(ActionKind.PLAN, host, "it could not be asked before", state)
    if state.phase is HostPhase.UNDRAINING:
        return Action(ActionKind.UNDRAIN, host, "it is drained", state)
    if seen is None:
        return Action(ActionKind.OBSERVE, host, "its state is not known", state)
    if state.phase is HostPhase.REVERTING or state.then is HostPhase.REVERTING:
        return _revert(rollout, target, state, seen)
    if seen.boot_id != target.boot_id:
        return _after_reboot(rollout, target, state, seen)
    match rollout.operation:
        case Operation.ROLLBACK:
            return _before_rollback(rollout, target, state, seen)
        case Operation.REBOOT:
            return _to_reboot(rollout, target, state, "asked for")
        case _:
            return _before_reboot(rollout, target, state, seen)


def judge_checks(
    rollout: Rollout, host: str, seen: Observation, failures: tuple[str, ...]
) -> HostState:
    """The state of a host whose health checks have run; `failures` names those that failed."""
    state, target = rollout.state(host), rollout.targets[host]
    reverting = state.phase is HostPhase.REVERTING
    if seen.booted not in ({target.before} if reverting else target.accepted):
        # It has left that deployment while it was checked (greenboot, somebody else): look again.
        return replace(state, tries=0, not_before=None)
    if reverting:
        return _judge_back(state, seen, failures)
    if not failures:
        return ended(state, HostPhase.UPDATED, f"runs {short(seen.booted)}, healthy")
    return sick(rollout, host, seen, failures)


def sick(rollout: Rollout, host: str, seen: Observation, failures: tuple[str, ...]) -> HostState:
    """The state of a host that is not healthy with what it was made to boot."""
    state = rollout.state(host)
    moved = rollout.targets[host].before != seen.booted
    stays = not (rollout.operation.forward and moved)
    leave = rollout.policy.on_failure is OnFailure.LEAVE or stays
    return HostState(
        HostPhase.REVERTING,
        f"{short(seen.booted)} is not healthy: {failures[0]}",
        fault=HostFault.HEALTH_FAILED,
        bad_boot_id=seen.boot_id,
        evidence=failures,
        drained=state.drained,
        down=True,
        then=HostPhase.FAILED if leave else None,
    )


def going_back(state: HostState, why: str) -> HostState:
    """The state of a host that was updated well and goes back with the rest of the rollout.

    It was seen last when it was updated, which may be days ago: its boot is found out first.
    """
    return HostState(HostPhase.REVERTING, why, drained=state.drained)


def given_up(state: HostState, why: str) -> HostState:
    """The state of a host that is left as it was before its reboot, because the rollout halted.

    One that was not well when it was retried is not given its work back unseen.
    """
    if state.drained and state.down:
        left = replace(state, phase=HostPhase.SKIPPED, fault=None, tries=0, not_before=None)
        return replace(left, message=f"{why}; it is left drained")
    return ended(replace(state, fault=None), HostPhase.SKIPPED, why)


def not_taken_back(state: HostState, seen: Observation) -> HostState:
    """The same for a host whose next boot could not be made the old one again."""
    what = "the rollback" if seen.rollback_queued else short(seen.staged)
    why = f"not rebooted: the rollout halted; but {what} could not be taken back, and its "
    return given_up(state, f"{why}next reboot boots it")


def not_reached(state: HostState) -> HostState:
    """The end of a host that was deferred for as long as the rollout was open."""
    why = f"could not be reached while the rollout was open: {state.message}"
    return replace(state, phase=HostPhase.REFUSED, down=True, message=why)


def at_once(state: HostState) -> bool:
    """One that is not healthy goes back whatever the windows say; so does one drained for it."""
    return state.phase is HostPhase.REVERTING and (state.fault is not None or state.drained)


def looked_for(state: HostState) -> bool:
    """Whether what is done with a host is only to ask whether it is back."""
    deferred = state.phase is HostPhase.DEFERRED and state.tries > 0
    return deferred or (state.ended and state.down)


def _before_reboot(rollout: Rollout, target: Target, state: HostState, seen: Observation) -> Action:
    """Upgrade and switch, in the boot in which the plan was made."""
    host = target.host
    untried = state.phase is HostPhase.PENDING or (
        state.phase is HostPhase.STAGING and not state.attempted
    )
    renames = target.renames and untried
    if seen.staged in target.accepted and not renames:
        # It boots before a rollback that is queued, once it is not held back any more.
        return _to_reboot(
            rollout, target, state, f"{short(seen.staged)} is staged and is the planned digest"
        )
    current = seen.booted in target.accepted and not renames
    # In its staging we may have queued it ourselves, to drop what was staged (it toggles).
    theirs = not untried or (current and state.phase is HostPhase.PENDING)
    if seen.rollback_queued and theirs:
        return _fail(
            host,
            state,
            HostFault.WRONG_DIGEST,
            "a rollback is queued for the next boot, so a reboot would not boot the update",
        )
    current = current and not seen.rollback_queued
    if seen.staged is None and current and target.renames:
        return _fail(
            host,
            state,
            HostFault.WRONG_DIGEST,
            f"runs {short(seen.booted)} already, and bootc staged nothing by which it would follow "
            f"{target.reference}",
        )
    if seen.staged is None and current:
        return _conclude(
            host, ended(state, HostPhase.UNCHANGED, f"already runs {short(seen.booted)}")
        )
    staging = replace(state, phase=HostPhase.STAGING, message=target.reason)
    if untried:
        return Action(ActionKind.STAGE, host, target.reason, staging)
    # Once its phase is past staging, the planned digest was seen there.
    was_staged = state.phase is not HostPhase.STAGING
    before = replace(seen, staged=min(target.accepted)) if was_staged else None
    fault, message = explain(target, before, seen, None)
    return _fail(host, state, fault, message)


def _before_rollback(
    rollout: Rollout, target: Target, state: HostState, seen: Observation
) -> Action:
    """Rollback, in the boot in which the plan was made.

    ``bootc rollback`` toggles: called twice it reverts the queued rollback (field
    note), so it is never sent when one is queued.
    """
    host = target.host
    if seen.rollback not in target.accepted:
        return _fail(
            host,
            state,
            HostFault.WRONG_DIGEST,
            f"the rollback slot holds {short(seen.rollback)} and no longer {planned(target)}",
        )
    if seen.rollback_queued:
        return _to_reboot(
            rollout, target, state, f"the rollback to {short(seen.rollback)} is queued"
        )
    if state.attempted:
        return _fail(host, state, HostFault.NO_ROLLBACK, "bootc did not queue the rollback")
    staging = replace(state, phase=HostPhase.STAGING, message=target.reason)
    return Action(ActionKind.QUEUE_ROLLBACK, host, target.reason, staging)


def _to_reboot(rollout: Rollout, target: Target, state: HostState, why: str) -> Action:
    """A host whose next boot is the planned one: wait for its turn, drain it, reboot it."""
    host = target.host
    fresh = replace(state, tries=0, not_before=None, message=why, fault=None)
    if state.phase in (HostPhase.PENDING, HostPhase.STAGING):
        return _conclude(host, replace(fresh, phase=HostPhase.STAGED))
    if rollout.policy.drain and state.phase is not HostPhase.REBOOTING:
        # From here on it is to be undrained, however far the hooks come.
        draining = replace(_in(state, HostPhase.DRAINING, why), drained=True)
        return Action(ActionKind.DRAIN, host, why, draining)
    return Action(ActionKind.REBOOT, host, why, _in(state, HostPhase.REBOOTING, why))


def _after_reboot(rollout: Rollout, target: Target, state: HostState, seen: Observation) -> Action:
    """The host is in another boot than the plan's: what did it boot?"""
    host = target.host
    if seen.booted in target.accepted and not seen.staged:
        why = f"runs {short(seen.booted)} in a new boot"
        return Action(ActionKind.CHECK, host, why, _in(state, HostPhase.CHECKING, why))
    if state.phase in _BEFORE_REBOOT:
        # Not by us: its plan was for the boot before.
        why = "it was rebooted by somebody else"
        return Action(ActionKind.PLAN, host, why, _in(state, HostPhase.DEFERRED, why))
    if seen.booted in target.accepted:
        why = f"runs {short(seen.booted)} in a new boot, and has {short(seen.staged)} staged"
        return Action(ActionKind.CHECK, host, why, _in(state, HostPhase.CHECKING, why))
    if host not in rollout.evidence:
        return Action(ActionKind.EVIDENCE, host, "it did not boot what was planned", state)
    fault, message = explain(target, None, seen, _evidence(rollout, host))
    return _fail(host, state, fault, message)


def _revert(rollout: Rollout, target: Target, state: HostState, seen: Observation) -> Action:
    """Back to where it came from, out of the boot `bad_boot_id`."""
    host, why = target.host, state.message
    if state.bad_boot_id is None:
        return Action(ActionKind.OBSERVE, host, why, state)
    # One that goes back with the others may have been taken back by somebody else since.
    well = state.fault is None
    if seen.boot_id != state.bad_boot_id or (well and seen.booted == target.before):
        if seen.booted == target.before:
            back = replace(state, phase=HostPhase.REVERTING)
            return Action(ActionKind.CHECK, host, f"went back to {short(seen.booted)}", back)
        return _stay(
            host, state, f"{why}; then came back on {short(seen.booted)}, not on its old deployment"
        )
    if well and seen.booted not in target.accepted:
        other = f"{why}; not taken back: it runs {short(seen.booted)} by now"
        kept = replace(state, fault=HostFault.NO_ROLLBACK)
        return _conclude(host, ended(kept, HostPhase.UPDATED, other))
    if state.fault is not None and host not in rollout.evidence:
        return Action(ActionKind.EVIDENCE, host, "it is not healthy", state)
    if state.then is HostPhase.FAILED:
        return _stay(host, state, why)
    if seen.rollback_queued:
        if state.fault is not None and rollout.policy.on_failure is OnFailure.QUEUE:
            return _stay(host, state, f"{why}; the rollback is queued for its next reboot")
        if rollout.policy.drain and (not state.drained or state.then is HostPhase.REVERTING):
            draining = replace(state, drained=True, then=HostPhase.REVERTING)
            return Action(ActionKind.DRAIN, host, why, draining)
        return Action(ActionKind.REBOOT, host, "the rollback is queued", state)
    if seen.rollback != target.before or target.before is None:
        return _stay(
            host,
            state,
            f"{why}; and it cannot go back: its rollback slot holds {short(seen.rollback)}",
        )
    if state.attempted and state.tries == 0:
        return _stay(host, state, f"{why}; and bootc did not queue the rollback")
    return Action(ActionKind.QUEUE_ROLLBACK, host, why, state)


def _judge_back(state: HostState, seen: Observation, failures: tuple[str, ...]) -> HostState:
    """The end of a host that went back; on its old deployment it is asked no more than systemd."""
    message = f"{state.message}; went back to {short(seen.booted)}"
    if failures:
        message += f", where {failures[0]}"
        return replace(state, phase=HostPhase.ROLLED_BACK, message=message, down=True, then=None)
    return ended(replace(state, down=False), HostPhase.ROLLED_BACK, message)


def _in(state: HostState, phase: HostPhase, why: str) -> HostState:
    """The state in another phase, with a fresh count of tries when it is another."""
    if state.phase is phase:
        return state
    return HostState(phase, why, drained=state.drained, attempted=state.attempted)


def ended(state: HostState, phase: HostPhase, message: str) -> HostState:
    """An end; a host that is drained gets there by its undrain hooks."""
    ended = replace(state, phase=phase, message=message, tries=0, not_before=None, then=None)
    if not state.drained:
        return ended
    return replace(ended, phase=HostPhase.UNDRAINING, then=phase)


def undrained(state: HostState) -> HostState:
    """The end of a host whose undrain hooks have run."""
    then = state.then or HostPhase.FAILED
    return replace(state, phase=then, then=None, drained=False, tries=0, not_before=None)


def _fail(host: str, state: HostState, fault: HostFault | None, message: str) -> Action:
    return _conclude(host, ended(replace(state, fault=fault), HostPhase.FAILED, message))


def _stay(host: str, state: HostState, message: str) -> Action:
    """A host that is not well, and stays so; nobody sends it work again."""
    if state.drained:
        message += "; it is left drained"
    failed = replace(state, phase=HostPhase.FAILED, message=message, then=None, not_before=None)
    return _conclude(host, replace(failed, down=True, fault=state.fault or HostFault.WRONG_DIGEST))


def _conclude(host: str, state: HostState) -> Action:
    return Action(ActionKind.CONCLUDE, host, state.message, state)


def _evidence(rollout: Rollout, host: str) -> HostEvidence | None:
    body = rollout.evidence.get(host)
    return HostEvidence.from_json(body) if body else None


def planned(target: Target) -> str:
    """The planned digests, for people."""
    return " or ".join(sorted(short(digest) for digest in target.accepted)) or "nothing"


def short(digest: str | None) -> str:
    """Twelve hex digits of a digest, for people."""
    return digest.removeprefix("sha256:")[:12] if digest else "nothing"
