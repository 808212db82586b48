"""What a host's answer, or its failure to answer, makes of its state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bootcfleet.domain.action import Action, ActionKind
from bootcfleet.domain.decision import ended, judge_checks, sick, undrained
from bootcfleet.domain.hostevidence import HostEvidence
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
)
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.domain.rollout_policy import Retries
from bootcfleet.domain.rollout_replay import host_entry, target_entry
from bootcfleet.errors import TRANSIENT, HostFault

#: A host with one of these cannot be spoken to at the moment: it is deferred.
OFFLINE = frozenset({HostFault.UNREACHABLE, HostFault.CONNECTION_LOST, HostFault.TIMEOUT})

#: How long until a host that is deferred, or did not come back, is looked for again (seconds).
LOOK_AGAIN = 30.0

_BEFORE = frozenset({HostPhase.PENDING, HostPhase.STAGING, HostPhase.STAGED})
_AFTER = frozenset({HostPhase.REBOOTING, HostPhase.CHECKING, HostPhase.REVERTING})


@dataclass(frozen=True)
class Problem:
    """Why an action did not come to its end."""

    fault: HostFault
    message: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostReply:
    """What an action brought.  It may come from another machine: plain data only.

    `failures` are the sentences of health checks; `state` is what a host that was planned late
    stays out with; `notes` are for people.
    """

    seen: Observation | None = None
    failures: tuple[str, ...] = ()
    target: Target | None = None
    state: HostState | None = None
    evidence: Mapping[str, Any] | None = None
    problem: Problem | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def judge(rollout: Rollout, action: Action, reply: HostReply, now: datetime) -> list[NewEntry]:
    """What is to be written down after an action; nothing where the state stays the same."""
    host, state = action.host, rollout.state(action.host)
    entries = [
        NewEntry(EntryKind.NOTE, host, {"kind": "host.note", "message": note})
        for note in reply.notes
    ]
    if action.kind is ActionKind.EVIDENCE:
        body = reply.evidence
        if body is None:
            why = reply.problem.message if reply.problem else "nothing was found out"
            body = HostEvidence(host, notes=(why,)).to_json()
        return [*entries, NewEntry(EntryKind.EVIDENCE, host, dict(body))]
    if reply.target is not None and not _to_be_checked(rollout, action.host, state, reply):
        entries.append(target_entry(reply.target))
    after = _after(rollout, action, state, reply, now)
    if after != state:
        entries.append(host_entry(host, after))
    return entries


def _after(
    rollout: Rollout, action: Action, state: HostState, reply: HostReply, now: datetime
) -> HostState:
    if reply.problem is not None:
        return after_problem(rollout, action, state, reply.problem, now)
    well = replace(state, tries=0, not_before=None)
    match action.kind:
        case ActionKind.PLAN:
            if _to_be_checked(rollout, action.host, state, reply):
                return HostState(
                    HostPhase.CHECKING, "was not well with it", drained=state.drained, down=True
                )
            if reply.state is not None:
                return (
                    reply.state
                    if not state.drained
                    else ended(
                        replace(state, fault=reply.state.fault),
                        reply.state.phase,
                        reply.state.message,
                    )
                )
            return HostState(HostPhase.PENDING, drained=state.drained)
        case ActionKind.STAGE | ActionKind.QUEUE_ROLLBACK:
            return replace(well, attempted=True)
        case ActionKind.DISCARD:
            return replace(state, attempted=True, tries=state.tries + 1)
        case ActionKind.DRAIN if state.phase is HostPhase.REVERTING:
            return replace(well, then=None)
        case ActionKind.DRAIN if rollout.halted is not None:
            # Nothing was done to it that its undrain hooks do not undo: it is left as it was.
            return well
        case ActionKind.DRAIN:
            return replace(well, phase=HostPhase.REBOOTING)
        case ActionKind.UNDRAIN:
            return undrained(state)
        case ActionKind.CHECK if reply.seen is not None:
            return judge_checks(rollout, action.host, reply.seen, reply.failures)
        case ActionKind.BAKE if reply.seen is not None and reply.failures:
            return sick(rollout, action.host, reply.seen, reply.failures)
        case ActionKind.BAKE | ActionKind.RELEASE:
            return state
        case ActionKind.OBSERVE:
            # Its tries are of what comes after it.
            looked = replace(state, not_before=None)
            if state.phase is HostPhase.REVERTING and not state.bad_boot_id and reply.seen:
                return replace(looked, bad_boot_id=reply.seen.boot_id)
            return looked
        case _:
            return well


def _to_be_checked(rollout: Rollout, host: str, state: HostState, reply: HostReply) -> bool:
    """Whether a retried host runs what it was made to boot, and was not well with it.

    A rollback that was planned anew would be forward, to what it has just left.
    """
    target, seen = rollout.targets.get(host), reply.seen
    if target is None or seen is None or not state.down:
        return False
    if reply.state is None:
        done = rollout.operation is Operation.ROLLBACK
    else:
        done = reply.state.phase is HostPhase.UNCHANGED
    return done and seen.boot_id != target.boot_id and seen.booted in target.accepted


def after_problem(
    rollout: Rollout, action: Action, state: HostState, problem: Problem, now: datetime
) -> HostState:
    """The state of a host with which an action failed.

    What may pass is tried again, with longer and longer pauses; a host that cannot be reached
    before its reboot is deferred; anything else ends it.
    """
    kind, fault = action.kind, problem.fault
    if kind is ActionKind.RELEASE or (kind is ActionKind.OBSERVE and state.down and state.ended):
        return state
    if kind is ActionKind.DISCARD:
        return replace(state, attempted=True, tries=state.tries + 1)
    if kind is ActionKind.PLAN:
        return _not_planned(state, problem, now)
    retries = rollout.policy.retries
    if fault in TRANSIENT and state.tries < retries.attempts and not state.ended:
        tries = state.tries + 1
        wait = backoff(action.host, tries, retries)
        return replace(state, tries=tries, not_before=now + timedelta(seconds=wait))
    looked = kind is ActionKind.OBSERVE and fault in OFFLINE
    if (looked or fault is HostFault.UNREACHABLE) and state.phase in (
        HostPhase.PENDING,
        HostPhase.STAGING,
        HostPhase.STAGED,
    ):
        again = now + timedelta(seconds=LOOK_AGAIN)
        return HostState(
            HostPhase.DEFERRED,
            problem.message,
            attempted=state.attempted,
            fault=fault,
            not_before=again,
            drained=state.drained,
        )
    return _failed(action, state, problem)


def backoff(host: str, tries: int, retries: Retries) -> float:
    """Seconds until the next try: doubled each time, and spread by up to a half either way.

    The spread comes from the host's name, so that a thousand hosts do not come back as one,
    and a resumed rollout waits as long as the one that was killed.
    """
    wait = min(retries.most, retries.first * 2.0 ** min(tries - 1, 30))
    spread = hashlib.sha256(f"{host} {tries}".encode()).digest()
    return wait * (0.5 + int.from_bytes(spread[:4], "big") / 2**32)


def _not_planned(state: HostState, problem: Problem, now: datetime) -> HostState:
    if problem.fault in OFFLINE or problem.fault in TRANSIENT:
        again = now + timedelta(seconds=LOOK_AGAIN)
        return replace(
            state,
            phase=HostPhase.DEFERRED,
            message=problem.message,
            fault=problem.fault,
            not_before=again,
            tries=state.tries + 1,
            down=problem.fault in OFFLINE,
        )
    return ended(replace(state, fault=problem.fault), HostPhase.REFUSED, problem.message)


def _failed(action: Action, state: HostState, problem: Problem) -> HostState:
    """An end by a failure, with what is known of whether the host does its work."""
    message = problem.message
    evidence = (*state.evidence, *problem.details)
    if state.phase is HostPhase.REVERTING:
        message = f"{state.message}; and going back failed: {message}"
    if action.kind is ActionKind.UNDRAIN:
        message = f"{state.message}; it is still drained: {message}"
        return HostState(
            HostPhase.FAILED,
            message,
            fault=problem.fault,
            evidence=evidence,
            down=True,
            drained=True,
        )
    lost = state.phase in _AFTER or state.phase is HostPhase.UPDATED
    failed = replace(
        state,
        phase=HostPhase.FAILED,
        message=message,
        fault=problem.fault,
        evidence=evidence,
        tries=0,
        not_before=None,
        then=None,
        down=lost,
    )
    if lost and state.drained:
        return replace(failed, message=f"{message}; it is left drained")
    # It was never rebooted: what was drained may have its work back.
    return failed if lost else ended(failed, HostPhase.FAILED, message)
