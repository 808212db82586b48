"""What a rollout in pull mode does next: a pure function of its journal and of what is seen.

The journal holds intent, the registry and the hosts hold truth.  `replay` makes the state from
the entries; `next_pull_step` decides from the state, from where the channels' tags stand
and from what the sampled hosts say.  After a crash the same two say how to go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bootcfleet.domain.gate import GateResult, span
from bootcfleet.domain.metricgate import MetricResult
from bootcfleet.domain.pull_policy import PullPlan, needed
from bootcfleet.domain.pull_sample import Baseline, Look, Verdict, VerdictKind, judge
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, WavePhase

#: Gates of a channel that turn green by themselves, when time passes.
PATIENT = frozenset({"soak"})


class Stand(StrEnum):
    """Where a channel stands that this rollout promoted to, or was about to."""

    #: Not moved since the intent was written.
    BEFORE = "before"
    #: At the planned digest, by our entry in its history (or since before the rollout).
    OURS = "ours"
    #: Put back by this rollout: at the digest before, by the entry after ours.
    BACK = "back"
    #: Somebody else moved it.
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class ChannelState:
    """How far a channel has come, by the journal.

    `began` is when the intent to promote was written, `number` the entry of the channel's history
    that the promotion is to be (None: it was at the digest already, and is not ours to put back)
    and `before` the digest that it had.  `sample` are the hosts that are asked, with what
    they said before; `baking` is since when it bakes; `left`: it could not be put back, and why.
    """

    phase: WavePhase | None = None
    began: datetime | None = None
    number: int | None = None
    before: str | None = None
    sample: Mapping[str, Baseline] = field(default_factory=dict)
    baking: datetime | None = None
    left: str | None = None

    @property
    def moved(self) -> bool:
        """Whether this rollout moved it, or was about to."""
        return self.began is not None and self.number is not None


@dataclass(frozen=True)
class PullState:
    """A rollout by its journal: the channels in the plan's order, and what people asked for."""

    plan: PullPlan
    channels: tuple[ChannelState, ...]
    halted: str | None = None
    aborted: str | None = None
    paused: str | None = None
    approved: frozenset[int] = frozenset()
    outcome: str | None = None

    @property
    def current(self) -> int | None:
        """The index of the first channel that is not done."""
        for index, channel in enumerate(self.channels):
            if channel.phase is not WavePhase.DONE:
                return index
        return None

    @property
    def asks_gates(self) -> bool:
        """Whether the gates of the current channel decide something now."""
        index = self.current
        if index is None or self.halted or self.aborted:
            return False
        state, rule = self.channels[index], self.plan.channels[index]
        if state.phase in (WavePhase.RUNNING, WavePhase.BAKING):
            return state.phase is WavePhase.BAKING and bool(rule.gates)
        return not self.paused and not (rule.approve and index + 1 not in self.approved)


def replay(plan: PullPlan, entries: Iterable[JournalEntry]) -> PullState:
    """The state after all entries, in their order."""
    state = PullState(plan, tuple(ChannelState() for _ in plan.channels))
    for entry in entries:
        state = _apply(state, entry)
    return state


def _apply(state: PullState, entry: JournalEntry) -> PullState:
    body = entry.body
    who = entry.actor or "somebody"
    reason = f": {body['reason']}" if body.get("reason") else ""
    match entry.kind:
        case EntryKind.WAVE:
            index = int(body["wave"]) - 1
            changed = list(state.channels)
            changed[index] = _advance(changed[index], entry)
            return replace(state, channels=tuple(changed))
        case EntryKind.NOTE if body.get("kind") == "left":
            index = int(body["wave"]) - 1
            changed = list(state.channels)
            changed[index] = replace(changed[index], left=str(body["message"]))
            return replace(state, channels=tuple(changed))
        case EntryKind.HALTED:
            return replace(state, halted=str(body["reason"]))
        case EntryKind.PAUSED:
            return replace(state, paused=f"{who} paused it{reason}")
        case EntryKind.UNPAUSED:
            return replace(state, paused=None)
        case EntryKind.APPROVED:
            # Without a number it is the channel that waits.
            waiting = (state.current or 0) + 1
            wave = int(body["wave"]) if body.get("wave") else waiting
            return replace(state, approved=state.approved | {wave})
        case EntryKind.ABORTED:
            return replace(state, aborted=f"{who} aborted it{reason}")
        case EntryKind.FINISHED:
            return replace(state, outcome=str(body["outcome"]))
        case _:
            return state


def _advance(state: ChannelState, entry: JournalEntry) -> ChannelState:
    phase = WavePhase(entry.body["phase"])
    if phase is WavePhase.RUNNING:
        return ChannelState(
            phase=phase,
            began=entry.at,
            number=entry.body["number"],
            before=entry.body["before"],
            sample={
                host: Baseline(
                    one["booted"],
                    one["boot_id"],
                    one["system_state"],
                    one.get("staged"),
                    one.get("rollback"),
                    None if one.get("units") is None else tuple(one["units"]),
                )
                for host, one in entry.body["sample"].items()
            },
        )
    return replace(state, phase=phase, baking=entry.at if phase is WavePhase.BAKING else None)


@dataclass(frozen=True)
class Seen:
    """What was just seen.

    `stands` is of every channel that was begun, by index; `looks` of the sampled hosts of the
    current channel; `gates` are the answers of its gates, those that are asked now.  `trouble` is,
    once it has halted, why a channel could not be looked at or put back this time.
    """

    stands: Mapping[int, Stand] = field(default_factory=dict)
    looks: Mapping[str, Look] = field(default_factory=dict)
    gates: tuple[GateResult, ...] = ()
    trouble: Mapping[int, str] = field(default_factory=dict)


class StepKind(StrEnum):
    """What the controller can do."""

    WAIT = "wait"
    PROMOTE = "promote"
    BAKE = "bake"
    DONE = "done"
    HALT = "halt"
    PUT_BACK = "put-back"
    LEAVE = "leave"
    FINISH = "finish"


@dataclass(frozen=True)
class PullStep:
    """Do `kind` with the channel of `index` for `reason`.

    `verdicts` are those of its sampled hosts; `waiting`: a person or a gate is waited for, and not
    the hosts; `due` is when time alone will have changed something.  For FINISH, `reason` is
    the outcome.
    """

    kind: StepKind
    index: int | None = None
    reason: str = ""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    waiting: bool = False
    due: datetime | None = None


def next_pull_step(state: PullState, seen: Seen, now: datetime) -> PullStep:
    """What to do now."""
    if state.outcome is not None:
        return PullStep(StepKind.FINISH, reason=state.outcome)
    if state.halted is not None:
        return _back(state, seen)
    if state.aborted is not None:
        return PullStep(StepKind.HALT, state.current, state.aborted)
    for index, channel in enumerate(state.channels):
        stand = seen.stands.get(index)
        if stand in (Stand.ELSEWHERE, Stand.BACK):
            return PullStep(
                StepKind.HALT,
                index,
                f"somebody else moved {state.plan.channels[index].name}",
            )
        if stand is Stand.BEFORE and channel.phase is WavePhase.RUNNING:
            # The intent was written, and no more came of it.
            return _promote(state, index, seen)
    current = state.current
    if current is None:
        return PullStep(StepKind.FINISH, reason="done")
    if state.channels[current].phase in (WavePhase.RUNNING, WavePhase.BAKING):
        return _watch(state, current, seen, now)
    return _promote(state, current, seen)


def _back(state: PullState, seen: Seen) -> PullStep:
    """The channels that this rollout moved go back, the newest first; what others moved stays.

    One that cannot go back now keeps none of the others, and the rollout open.
    """
    stuck: int | None = None
    for index in reversed(range(len(state.channels))):
        channel = state.channels[index]
        if not channel.moved or channel.left is not None:
            continue
        name = state.plan.channels[index].name
        if index in seen.trouble:
            stuck = index
            continue
        stand = seen.stands.get(index)
        if stand is Stand.OURS and channel.before is None:
            reason = f"{name} had no digest before, and stays where it is"
            return PullStep(StepKind.LEAVE, index, reason)
        if stand is Stand.OURS:
            return PullStep(StepKind.PUT_BACK, index, f"halted: {state.halted}")
        if stand is Stand.ELSEWHERE:
            reason = f"somebody else moved {name} meanwhile: it is left as it is"
            return PullStep(StepKind.LEAVE, index, reason)
    if stuck is not None:
        name = state.plan.channels[stuck].name
        reason = f"{name} is not back yet, and tried again: {seen.trouble[stuck]}"
        return PullStep(StepKind.WAIT, stuck, reason)
    return PullStep(StepKind.FINISH, reason="aborted" if state.aborted else "halted")


def _promote(state: PullState, index: int, seen: Seen) -> PullStep:
    rule = state.plan.channels[index]
    if rule.approve and index + 1 not in state.approved:
        return _waiting(index, f"{rule.name} waits for an approval")
    if state.paused is not None:
        return _waiting(index, state.paused)
    red = [gate for gate in seen.gates if not gate.ok]
    for gate in red:
        if not _patient(gate):
            return PullStep(StepKind.HALT, index, f"{rule.name}: {gate.name}: {gate.message}")
    if red:
        return _waiting(index, f"{rule.name}: {red[0].name}: {red[0].message}")
    return PullStep(StepKind.PROMOTE, index, f"promote {state.plan.image} to {rule.name}")


def _watch(state: PullState, index: int, seen: Seen, now: datetime) -> PullStep:
    """The sample decides: enough are good, too many are not, or it is too early to tell."""
    rule, channel, plan = state.plan.channels[index], state.channels[index], state.plan
    verdicts = sample_verdicts(state, index, seen.looks, now)
    step = PullStep(StepKind.WAIT, index, verdicts=verdicts)
    wanted = plan.wanted(rule)
    enough = needed(rule, wanted)
    good = [host for host, verdict in verdicts.items() if verdict.kind is VerdictKind.GOOD]
    bad = [host for host, verdict in verdicts.items() if verdict.failed]
    missing = wanted - len(verdicts)
    if len(bad) + missing > wanted - enough:
        shown = "; ".join(f"{host} {verdicts[host].message}" for host in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        nobody = f"; {missing} could not be asked beforehand" if missing else ""
        return replace(
            step,
            kind=StepKind.HALT,
            reason=f"{rule.name}: {len(bad) + missing} of {wanted} sampled hosts failed, and "
            f"{wanted - enough} may: {shown}{more}{nobody}",
        )
    red = [gate for gate in seen.gates if not gate.ok]
    for gate in red:
        if not _patient(gate):
            reason = f"{rule.name}: {gate.name}: {gate.message}"
            return replace(step, kind=StepKind.HALT, reason=reason)
    if red:
        return replace(step, reason=f"{rule.name}: {red[0].name}: {red[0].message}")
    said = f"{rule.name}: {len(good)} of {wanted} sampled hosts are good, {enough} must be"
    if len(good) < enough:
        return replace(step, reason=said)
    if channel.phase is WavePhase.RUNNING and rule.bake > 0:
        reason = f"{said}; it bakes for {span(timedelta(seconds=rule.bake))}"
        return replace(step, kind=StepKind.BAKE, reason=reason)
    if channel.baking is not None:
        due = channel.baking + timedelta(seconds=rule.bake)
        if now < due:
            return replace(step, reason=f"{said}; it bakes until {due:%Y-%m-%d %H:%M:%SZ}", due=due)
    return replace(step, kind=StepKind.DONE, reason=said)


def sample_verdicts(
    state: PullState, index: int, looks: Mapping[str, Look], now: datetime
) -> dict[str, Verdict]:
    """What is thought of each sampled host of a channel."""
    rule, channel = state.plan.channels[index], state.channels[index]
    began = channel.began or now
    late = now - began >= timedelta(seconds=rule.deadline)
    silence = timedelta(seconds=state.plan.policy.silence)
    return {
        host: judge(
            baseline,
            looks.get(host, Look()),
            accepted=state.plan.accepted,
            late=f"within {span(timedelta(seconds=rule.deadline))}" if late else None,
            now=now,
            silence=silence,
            former=channel.before,
        )
        for host, baseline in channel.sample.items()
    }


def _patient(gate: GateResult) -> bool:
    """Whether a red gate is waited for: time mends it, or nobody knows that anything is wrong."""
    if isinstance(gate, MetricResult):
        return not gate.answered
    return gate.name in PATIENT


def _waiting(index: int, reason: str) -> PullStep:
    return PullStep(StepKind.WAIT, index, reason, waiting=True)


def channel_stand(
    channel: ChannelState, digest: str, *, found: str | None, number: int, last: str | None
) -> Stand:
    """Where a channel stands that was begun.

    `found` is what its tag points at, `number` and `last` are the newest entry of its history
    and that entry's digest.  The history tells our move from somebody's to the same digest, and
    from one that went there and back.
    """
    if channel.number is None:
        return Stand.OURS if found == digest else Stand.ELSEWHERE
    if number < channel.number:
        return Stand.BEFORE if found == channel.before else Stand.ELSEWHERE
    if number == channel.number and last == digest == found:
        return Stand.OURS
    if number == channel.number + 1 and last == channel.before == found:
        return Stand.BACK
    return Stand.ELSEWHERE
