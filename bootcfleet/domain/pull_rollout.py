"""A rollout in pull mode as a `Rollout`: its channels as waves, its sampled hosts as hosts.

For those who show rollouts and ask something of them; its own controller works with `PullState`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bootcfleet.domain.pull import replay
from bootcfleet.domain.pull_policy import PullPlan
from bootcfleet.domain.pull_sample import VerdictKind
from bootcfleet.domain.rollout import HostPhase, HostState, Operation, Rollout, WaveState
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, RolloutRecord, WavePhase
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.waves import Wave

_PHASES = {VerdictKind.GOOD: HostPhase.UPDATED, VerdictKind.WAITING: HostPhase.PENDING}


def as_rollout(plan: PullPlan, record: RolloutRecord, entries: Iterable[JournalEntry]) -> Rollout:
    """The rollout as its journal leaves it.

    Raises `KeyError`, `TypeError` or `ValueError` for an entry that is none of ours.
    """
    known = tuple(entries)
    state = replay(plan, known)
    rollout = Rollout(
        id=record.id,
        # The hosts upgrade themselves; what people read is the record's word.
        operation=Operation.UPGRADE,
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
        elif entry.kind is EntryKind.NOTE and body.get("kind") == "sample":
            verdict = VerdictKind(body["verdict"])
            phase_of = _PHASES.get(verdict, HostPhase.FAILED)
            states[entry.host] = HostState(phase_of, f"{verdict}: {body.get('message', '')}")
    return replace(rollout, states=states, wave_states=waves)
