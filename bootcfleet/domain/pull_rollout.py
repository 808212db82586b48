"""A rollout in pull mode as a `Rollout`: its channels as waves, its sampled hosts as hosts.

For those who show rollouts and ask something of them; its own controller works with `PullState`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bootcfleet.domain.pull import replay
from bootcfleet.domain.pull_policy import PullPlan
from bootcfleet.domain.pull_sample import Verdict, VerdictKind
from bootcfleet.domain.rollout import HostPhase, HostState, Operation, Rollout, WaveState
from bootcfleet.domain.rollout_journal import (
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
    WavePhase,
    wave_with,
)
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.rollout_replay import DamagedRolloutError, state_json
from bootcfleet.domain.waves import Wave
from bootcfleet.errors import HostFault

_PHASES = {VerdictKind.GOOD: HostPhase.UPDATED, VerdictKind.WAITING: HostPhase.PENDING}
_FAULTS = {
    VerdictKind.CAME_BACK_OLD: HostFault.CAME_BACK_OLD,
    VerdictKind.UNHEALTHY: HostFault.HEALTH_FAILED,
    VerdictKind.ELSEWHERE: HostFault.WRONG_DIGEST,
    VerdictKind.LATE: HostFault.TIMEOUT,
    VerdictKind.SILENT: HostFault.UNREACHABLE,
}
#: The notes that say where a channel is once the rollout has halted.
_WENT_BACK = frozenset({"put-back", "left"})
_PLAN = TypeAdapter(PullPlan)
_STATE = TypeAdapter(HostState)


def plan_body(plan: PullPlan) -> dict[str, Any]:
    """The body of a rollout's record."""
    body: dict[str, Any] = _PLAN.dump_python(plan, mode="json")
    return body


def read_plan(record: RolloutRecord) -> PullPlan:
    """The plan in a rollout's record.  Raises `DamagedRolloutError`."""
    try:
        return _PLAN.validate_python(dict(record.body))
    except ValidationError as error:
        raise DamagedRolloutError(
            f"the plan of the rollout {record.id} cannot be read",
            hint="a newer bootcfleet may have written it: upgrade this one",
        ) from error


def sample_entry(host: str, verdict: Verdict, wave: int) -> NewEntry:
    """What is thought of a sampled host, as an entry that any reader of rollouts understands."""
    state = HostState(
        _PHASES.get(verdict.kind, HostPhase.FAILED),
        verdict.message,
        fault=_FAULTS.get(verdict.kind),
        down=verdict.kind is VerdictKind.SILENT,
    )
    more = {"wave": wave, "verdict": str(verdict.kind)}
    return NewEntry(EntryKind.HOST, host, state_json(state) | more)


def passed_over_entry(host: str, why: str, wave: int) -> NewEntry:
    """A host that could not be sampled."""
    state = HostState(HostPhase.REFUSED, f"is not asked: {why}")
    return NewEntry(EntryKind.HOST, host, state_json(state) | {"wave": wave})


def as_rollout(plan: PullPlan, record: RolloutRecord, entries: Iterable[JournalEntry]) -> Rollout:
    """The rollout as its journal leaves it.

    Raises `KeyError`, `TypeError` or `ValueError` for an entry that is none of ours.
    """
    known = tuple(entries)
    state = replay(plan, known)
    rollout = Rollout(
        id=record.id,
        operation=Operation.PULL,
        policy=RolloutPolicy(name=plan.policy.name),
        waves=tuple(
            Wave(number, tuple(own.sample), rule=rule.name, bake=rule.bake, approve=rule.approve)
            for number, (rule, own) in enumerate(zip(plan.channels, state.channels, strict=True), 1)
        ),
        targets={},
        states={host: HostState() for own in state.channels for host in own.sample},
        halted=state.halted or state.aborted,
        reference=f"{plan.image} {plan.digest}",
        began=record.at,
        actor=record.actor,
        approved=state.approved,
        paused=state.paused,
        unwind=state.halted is not None or state.aborted is not None,
        outcome=state.outcome,
        number=known[-1].number if known else 0,
    )
    states, waves = dict(rollout.states), {}
    for entry in known:
        body = entry.body
        if entry.kind is EntryKind.WAVE:
            phase = WavePhase(body["phase"])
            waves[int(body["wave"])] = WaveState(phase, entry.at, str(body.get("message", "")))
        elif entry.kind is EntryKind.FINISHED:
            waves = {
                number: replace(wave, phase=wave_with(entry.kind, wave.phase))
                for number, wave in waves.items()
            }
        elif entry.kind is EntryKind.NOTE and body.get("kind") in _WENT_BACK:
            # Where the channel is now says more than why it was promoted.
            number = int(body["wave"])
            state_then = waves.get(number, WaveState())
            waves[number] = replace(state_then, message=str(body["message"]))
        elif entry.kind is EntryKind.HOST:
            states[entry.host] = _STATE.validate_python(body)
    return replace(rollout, states=states, wave_states=waves)
