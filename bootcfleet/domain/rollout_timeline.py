"""A rollout along time, from its record and its journal: what each host and wave did when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from bootcfleet.domain.pull_rollout import as_rollout, read_plan
from bootcfleet.domain.rollout import ENDS, HostPhase, HostState, Rollout, WaveState
from bootcfleet.domain.rollout_journal import (
    PULL,
    EntryKind,
    JournalEntry,
    RolloutRecord,
    WavePhase,
)
from bootcfleet.domain.rollout_replay import apply, begin
from bootcfleet.errors import HostFault


@dataclass(frozen=True)
class Segment:
    """A stretch of time in one phase (`HostPhase` or `WavePhase`); `message` is the last of it."""

    phase: str
    start: datetime
    end: datetime
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True)
class HostLine:
    """A host: its segments follow one another without a gap, from the start to its end.

    The phase that it ended in is a segment only when a retry followed.  `ended` is None while
    there is something left to do.
    """

    host: str
    wave: int | None
    state: HostState
    segments: tuple[Segment, ...]
    ended: datetime | None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def working(self) -> float:
        """Seconds in which something was done with it."""
        return sum(one.seconds for one in self.segments if one.phase not in _IDLE)


@dataclass(frozen=True)
class WaveLine:
    """A wave; `counts` is how many of its hosts are in each phase."""

    number: int
    title: str
    hosts: tuple[str, ...]
    phase: WavePhase | None
    message: str
    segments: tuple[Segment, ...]
    counts: Mapping[HostPhase, int]

    def seconds(self, phase: WavePhase) -> float:
        """How long it was in a phase."""
        return sum(one.seconds for one in self.segments if one.phase == phase)


@dataclass(frozen=True)
class Moment:
    """Something that a person or a controller did, or that is to be known."""

    at: datetime
    kind: EntryKind
    actor: str
    host: str
    message: str


@dataclass(frozen=True)
class Timeline:
    """All of it, from `start` to `end` (the last entry, or now while it is under way).

    `standing` is where it stands where that is known better than from the journal.
    """

    rollout: Rollout
    start: datetime
    end: datetime
    finished: bool
    hosts: tuple[HostLine, ...]
    waves: tuple[WaveLine, ...]
    moments: tuple[Moment, ...]
    outside: tuple[HostLine, ...] = ()
    standing: str = ""

    @cached_property
    def _by_name(self) -> dict[str, HostLine]:
        return {line.host: line for line in (*self.hosts, *self.outside)}

    def host(self, name: str) -> HostLine:
        """The line of a host."""
        return self._by_name[name]


#: Phases in which a host waits.
_IDLE = frozenset(
    str(phase) for phase in (HostPhase.PENDING, HostPhase.DEFERRED, HostPhase.STAGED, *ENDS)
)
_WAVE_ENDS = frozenset({WavePhase.DONE, WavePhase.HALTED})
#: Entries that are no moments of their own.
_FLOW = frozenset({EntryKind.HOST, EntryKind.TARGET, EntryKind.WAVE, EntryKind.EVIDENCE})


def timeline(
    record: RolloutRecord, entries: Sequence[JournalEntry], now: datetime | None = None
) -> Timeline:
    """The timeline of a rollout; `now` ends what has not ended.

    Raises `DamagedRolloutError` as `domain/rollout_replay.py` does.
    """
    if record.operation == PULL:
        rollout = as_rollout(read_plan(record), record, entries)
        first = replace(rollout, states={name: HostState() for name in rollout.names})
    else:
        first = begin(record)
        rollout = apply(first, entries)
    marks = _Marks(first, record.at)
    moments = []
    for entry in entries:
        marks.take(entry)
        if entry.kind not in _FLOW:
            moments.append(_moment(entry))
    finished = rollout.outcome is not None
    end = marks.last if finished or now is None else max(marks.last, now)
    wave_of = {host: wave.number for wave in rollout.waves for host in wave.hosts}
    hosts = {name: _host(rollout, name, wave_of.get(name), marks, end) for name in rollout.names}
    waves = []
    for wave in rollout.waves:
        standing = rollout.wave_states.get(wave.number)
        waves.append(
            WaveLine(
                wave.number,
                wave.title,
                wave.hosts,
                standing.phase if standing else None,
                standing.message if standing else "",
                _segments(marks.waves.get(wave.number, ()), end, _WAVE_ENDS)[0],
                Counter(rollout.state(name).phase for name in wave.hosts),
            )
        )
    return Timeline(
        rollout,
        record.at,
        end,
        finished,
        tuple(hosts[name] for wave in rollout.waves for name in wave.hosts if name in hosts),
        tuple(waves),
        tuple(moments),
        tuple(line for name, line in hosts.items() if name not in wave_of),
    )


#: A phase that was come to, when, and what was said.
_Mark = tuple[datetime, str, str]


class _Marks:
    """When each host and wave came to each phase.  Time never goes back: clocks differ."""

    def __init__(self, rollout: Rollout, start: datetime) -> None:
        self._now = rollout
        self._start = self.last = start
        self.waves: dict[int, list[_Mark]] = {}
        self.hosts: dict[str, list[_Mark]] = {}
        self.faults: dict[str, str | None] = {}
        for name in rollout.names:
            state = rollout.state(name)
            self.hosts[name] = [(start, str(state.phase), state.message)]

    def take(self, entry: JournalEntry) -> None:
        self.last = max(self.last, entry.at)
        body = entry.body
        if entry.kind is EntryKind.HOST:
            self._host(entry.host, str(body["phase"]), str(body.get("message", "")))
            self.faults[entry.host] = body.get("fault")
        elif entry.kind is EntryKind.WAVE:
            mark = (self.last, str(body["phase"]), str(body.get("message", "")))
            self.waves.setdefault(int(body["wave"]), []).append(mark)
        elif entry.kind in (EntryKind.FINISHED, EntryKind.RETRY):
            # The fold knows which hosts a retry takes up, and where both bring the waves.
            before = self._states()
            after = apply(self._at(before), [entry])
            for name, state in after.states.items():
                if state.phase is not before[name].phase:
                    self._host(name, str(state.phase), state.message)
            for number, wave in after.wave_states.items():
                self.waves[number].append((self.last, str(wave.phase), ""))

    def _host(self, name: str, phase: str, message: str) -> None:
        self.hosts.setdefault(name, self.of(name)).append((self.last, phase, message))

    def of(self, name: str) -> list[_Mark]:
        """A host's marks; one that nothing is known of was pending from the start."""
        return self.hosts.get(name) or [(self._start, str(HostPhase.PENDING), "")]

    def _states(self) -> dict[str, HostState]:
        return {
            name: HostState(HostPhase(marks[-1][1]), marks[-1][2], fault=_fault(self.faults, name))
            for name, marks in self.hosts.items()
        }

    def _at(self, states: Mapping[str, HostState]) -> Rollout:
        waves = {number: WaveState(WavePhase(m[-1][1])) for number, m in self.waves.items()}
        return replace(self._now, states=states, wave_states=waves)


def _fault(faults: Mapping[str, str | None], name: str) -> HostFault | None:
    fault = faults.get(name)
    return HostFault(fault) if fault else None


def _host(rollout: Rollout, name: str, wave: int | None, marks: _Marks, end: datetime) -> HostLine:
    segments, ended = _segments(marks.of(name), end, ENDS)
    state = rollout.state(name)
    return HostLine(name, wave, state, segments, ended, rollout.evidence.get(name, {}))


def _segments(
    marks: Iterable[_Mark], end: datetime, ends: Iterable[str]
) -> tuple[tuple[Segment, ...], datetime | None]:
    """Segments between marks, and when the last mark was an end."""
    segments: list[Segment] = []
    last: _Mark | None = None
    for mark in marks:
        if last is None:
            last = mark
        elif mark[1] == last[1]:
            last = (last[0], last[1], mark[2] or last[2])
        else:
            _add(segments, last, mark[0])
            last = mark
    if last is None:
        return (), None
    if last[1] in ends:
        return tuple(segments), last[0]
    _add(segments, last, end)
    return tuple(segments), None


def _add(segments: list[Segment], mark: _Mark, end: datetime) -> None:
    """Append the segment from `mark` to `end`; an empty one is none, and leaves no seam."""
    start, phase, message = mark
    if end <= start:
        return
    if segments and segments[-1].phase == phase:
        start = segments.pop().start
    segments.append(Segment(phase, start, end, message))


def _moment(entry: JournalEntry) -> Moment:
    body = entry.body
    match entry.kind:
        case EntryKind.STARTED:
            who, pid = body.get("controller", ""), body.get("pid", "")
            said = f"{who} took it up (bootcfleet {body.get('version', '')}, process {pid})"
        case EntryKind.APPROVED:
            said = f"wave {body.get('wave')} approved"
        case EntryKind.FINISHED:
            said = str(body.get("outcome", ""))
        case EntryKind.RETRY:
            said = f"{entry.host or 'all that did not end well'} to be tried again"
        case EntryKind.ABORTED if body.get("unwind"):
            said = "aborted; updated hosts go back"
        case EntryKind.NOTE:
            said = str(body.get("message", ""))
            said = f"{entry.host}: {said}" if entry.host else said
        case _:
            said = ""
    reason = str(body.get("reason") or "")
    text = f"{said}: {reason}" if said and reason else said or reason
    return Moment(entry.at, entry.kind, entry.actor, entry.host, text)
