"""What a rollout's events add up to: counts, waves, rates, and what is under way now.

The live view and the metrics read it.  An event costs the same whatever the number of hosts.
All times are seconds since 1970 (UTC), given by the caller.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout import ENDS, FAILURES, HostPhase
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase, wave_with
from bootcfleet.domain.rollout_replay import taken_up, wave_again, went_back
from bootcfleet.domain.waves import Wave

#: Ends that somebody should look at.
BAD = FAILURES | {HostPhase.REFUSED}
#: Phases in which nothing is done with a host.
IDLE = ENDS | {HostPhase.PENDING, HostPhase.DEFERRED, HostPhase.STAGED}
#: The rate of a moment is that of the last seconds.
_WINDOW = 300.0
_PHASES = {f"host.{phase}": phase for phase in HostPhase}
_WAVES = {
    "wave.waiting": WavePhase.WAITING,
    "wave.started": WavePhase.RUNNING,
    "wave.baking": WavePhase.BAKING,
    "wave.finished": WavePhase.DONE,
}


@dataclass
class HostTally:
    """A host: its phase since when, and how far its download is (bytes; 0 is unknown).

    `task` is bootc's word for what it does of it: ``pulling``, then ``importing`` and ``staging``,
    which have steps and no bytes.  `tries` is how often the same thing was tried again.
    """

    wave: int = 0
    phase: HostPhase = HostPhase.PENDING
    since: float = 0.0
    message: str = ""
    fault: str = ""
    bytes: int = 0
    bytes_total: int = 0
    rate: float = 0.0
    measured: float = 0.0
    task: str = ""
    steps: int = 0
    steps_total: int = 0
    tries: int = 0


@dataclass
class WaveTally:
    """A wave: `why` is what it waits for, `until` when its bake time ends.

    `approve`: it needs an approval that nobody has given yet.
    """

    number: int
    title: str
    hosts: int
    phase: WavePhase | None = None
    why: str = ""
    since: float = 0.0
    started: float | None = None
    finished: float | None = None
    until: float | None = None
    approve: bool = False
    counts: Counter[HostPhase] = field(default_factory=Counter)

    @property
    def ended(self) -> int:
        """How many of its hosts have ended."""
        return sum(count for phase, count in self.counts.items() if phase in ENDS)


@dataclass
class Tally:
    """One rollout as its events tell it; not safe for several threads at once.

    `waits` is what waits (a wave's title, reboots, downloads) and why; `starts` how many
    controllers took it up.
    """

    rollout: str = ""
    operation: str = ""
    halted: str = ""
    paused: str = ""
    outcome: str = ""
    waits: dict[str, str] = field(default_factory=dict)
    started: float | None = None
    starts: int = 0
    updated: float = 0.0
    waves: dict[int, WaveTally] = field(default_factory=dict)
    hosts: dict[str, HostTally] = field(default_factory=dict)
    counts: Counter[HostPhase] = field(default_factory=Counter)
    working: dict[str, None] = field(default_factory=dict)
    failed: dict[str, None] = field(default_factory=dict)
    retries: int = 0
    downloaded: int = 0
    _ended: deque[float] = field(default_factory=deque)

    @classmethod
    def of(cls, rollout: str, operation: str, waves: Iterable[Wave]) -> Self:
        """A rollout of which nothing has happened yet."""
        tally = cls(rollout, operation)
        for wave in waves:
            tally._add(wave.number, wave.title, wave.hosts)
            tally.waves[wave.number].approve = wave.approve
        return tally

    def take(self, event: Event, at: float) -> None:
        """Take in what happened at `at`.  Kinds that are not known change nothing."""
        self.updated = max(self.updated, at)
        data = event.data
        if (phase := _PHASES.get(event.kind)) is not None and event.subject:
            self._host(event.subject, phase, event, at)
        elif event.kind == "host.download":
            self._download(event.subject, data, at)
        elif event.kind in _WAVES:
            self._wave(_WAVES[event.kind], event, at)
        elif event.kind.startswith("rollout."):
            self._rollout(event, at)

    @property
    def state(self) -> str:
        """``running``, ``waiting`` (for something, with no host at work), ``paused``, ``halted``,
        or the outcome.
        """
        if self.outcome:
            return self.outcome
        if self.halted:
            return "halted"
        if self.paused:
            return "paused"
        return "waiting" if self.waits and not self.working else "running"

    @property
    def ended(self) -> int:
        """How many hosts have ended."""
        return sum(count for phase, count in self.counts.items() if phase in ENDS)

    @property
    def wave(self) -> WaveTally | None:
        """The wave that is under way, or waits: the first that is not done."""
        for wave in self.waves.values():
            if wave.phase is not WavePhase.DONE:
                return wave
        return None

    def hosts_a_minute(self, now: float) -> float | None:
        """How many hosts have ended a minute lately; None when none has."""
        while self._ended and self._ended[0] < now - _WINDOW:
            self._ended.popleft()
        if not self._ended:
            return None
        first = self._ended[0] if self.started is None else self.started
        since = max(now - _WINDOW, first)
        return 60 * len(self._ended) / max(1.0, now - since)

    def seconds_left(self, now: float) -> float | None:
        """How long it takes if the rest goes as the finished waves went, or None.

        What waves wait for before they start (people, windows, gates) is not in it.
        """
        done = [
            (wave.hosts, wave.finished - wave.started)
            for wave in self.waves.values()
            if wave.started is not None and wave.finished is not None
        ]
        if not done or self.outcome or self.halted:
            return None
        fixed, each = _line(done)
        left = 0.0
        for wave in self.waves.values():
            if wave.finished is None:
                whole = fixed + each * wave.hosts
                gone = now - wave.started if wave.started is not None else 0.0
                rest = whole - gone
                if wave.phase is WavePhase.BAKING and wave.until is not None:
                    rest = wave.until - now
                left += max(0.0, rest)
        return left

    def _add(self, number: int, title: str, hosts: Iterable[str]) -> None:
        names = [str(host) for host in hosts]
        wave = self.waves.setdefault(number, WaveTally(number, title, 0))
        wave.title = title
        for name in names:
            if name not in self.hosts:
                self.hosts[name] = HostTally(number)
                self.counts[HostPhase.PENDING] += 1
                wave.counts[HostPhase.PENDING] += 1
                wave.hosts += 1

    def _of(self, name: str, wave: int = 0) -> HostTally:
        if name not in self.hosts:
            self.hosts[name] = HostTally(wave)
            self.counts[HostPhase.PENDING] += 1
            if wave in self.waves:
                self.waves[wave].hosts += 1
                self.waves[wave].counts[HostPhase.PENDING] += 1
        return self.hosts[name]

    def _host(self, name: str, phase: HostPhase, event: Event, at: float) -> None:
        host = self._of(name, _number(event.data.get("wave")))
        before = host.phase
        wave = self.waves.get(host.wave)
        for counts in (self.counts, wave.counts) if wave else (self.counts,):
            counts[before] -= 1
            if not counts[before]:
                del counts[before]
            counts[phase] += 1
        if before is not phase:
            host.since = at
            host.bytes = host.bytes_total = host.steps = host.steps_total = 0
            host.rate, host.task = 0.0, ""
        tries = _number(event.data.get("tries"))
        if tries > host.tries and phase not in ENDS:
            self.retries += 1
        host.tries = tries
        host.phase, host.message = phase, event.message
        host.fault = str(event.data.get("fault") or "")
        _mark(self.working, name, phase not in IDLE)
        _mark(self.failed, name, phase in BAD)
        if phase in ENDS and before not in ENDS and self.started is not None:
            self._ended.append(at)

    def _download(self, name: str, data: Mapping[str, Any], at: float) -> None:
        host = self._of(name, _number(data.get("wave")))
        host.task = str(data.get("task") or "")
        host.steps, host.steps_total = _number(data.get("steps")), _number(data.get("steps_total"))
        size, total = _number(data.get("bytes")), _number(data.get("bytes_total"))
        if not size and not total:
            host.rate = 0.0
            return
        more = size - host.bytes if size >= host.bytes else size
        passed = at - (host.measured if host.measured >= host.since else host.since)
        self.downloaded += more
        # Smoothed, so that it can be read; the first measure counts alone.
        if passed > 0:
            host.rate = more / passed if not host.rate else 0.7 * host.rate + 0.3 * more / passed
            host.measured = at
        host.bytes, host.bytes_total = size, total

    def _wave(self, phase: WavePhase, event: Event, at: float) -> None:
        number = _number(event.data.get("wave"))
        wave = self.waves.setdefault(number, WaveTally(number, f"wave {number}", 0))
        if wave.phase is not phase:
            wave.since = at
        wave.phase, wave.why = phase, event.message
        wave.until = None
        if phase is WavePhase.WAITING:
            self.waits[wave.title] = event.message
            return
        self.waits.pop(wave.title, None)
        wave.started = wave.started if wave.started is not None else at
        self.started = self.started if self.started is not None else at
        wave.finished = at if phase is WavePhase.DONE else None
        seconds = event.data.get("seconds")
        if phase is WavePhase.BAKING and isinstance(seconds, int | float):
            wave.until = at + seconds

    def _rollout(self, event: Event, at: float) -> None:
        data = event.data
        self.rollout = str(data.get("rollout") or self.rollout)
        match event.kind.removeprefix("rollout."):
            case "planned":
                self.operation = str(data.get("operation") or self.operation)
                for wave in data.get("waves") or ():
                    number = _number(wave.get("number"))
                    title = str(wave.get("title") or f"wave {number}")
                    self._add(number, title, wave.get("hosts") or ())
                    self.waves[number].approve = bool(wave.get("approve"))
            case "started":
                self.starts += 1
                self.started = self.started if self.started is not None else at
                self.outcome = ""
                self.waits.clear()
            case "halted":
                self.halted = event.message or "halted"
            case "paused":
                self.paused = event.message or "paused"
            case "resumed":
                self.paused = ""
            case "approved":
                if (approved := self.waves.get(_number(data.get("wave")))) is not None:
                    approved.approve = False
            case "retried":
                self._again(event, at)
            case "retry":
                self.retries += 1
            case "waiting":
                self._wait(event, at)
            case "finished":
                self.outcome = str(data.get("outcome") or "finished")
                self.waits.clear()
                for one in self.waves.values():
                    if one.phase is not None:
                        self._move_wave(one, wave_with(EntryKind.FINISHED, one.phase), at)

    def _wait(self, event: Event, at: float) -> None:
        """Something is waited for; `waits` is all of it where it is known."""
        data = event.data
        if isinstance(whole := data.get("waits"), Mapping):
            self.waits = {str(what): str(why) for what, why in whole.items()}
        elif not event.message and (what := data.get("what")):
            # Windows and approvals are waited for as before.
            self.waits.pop(str(what), None)
        elif not event.message:
            self.waits.clear()
        else:
            self.waits[str(data.get("what") or "")] = str(data.get("why") or event.message)
        for wave in self.waves.values():
            if wave.phase in (None, WavePhase.WAITING) and wave.title in self.waits:
                wave.since = wave.since if wave.phase else at
                wave.phase, wave.why = WavePhase.WAITING, self.waits[wave.title]
            elif wave.phase is WavePhase.BAKING:
                # It says so itself.
                self.waits.pop(wave.title, None)

    def _move_wave(self, wave: WaveTally, phase: WavePhase, at: float) -> None:
        if phase is not wave.phase:
            wave.phase, wave.since, wave.why, wave.until = phase, at, "", None
            if phase is not WavePhase.HALTED:
                wave.started, wave.finished = (at if phase is WavePhase.RUNNING else None), None

    def _again(self, event: Event, at: float) -> None:
        """Hosts are planned anew: as in `domain/rollout_replay.py`."""
        self.halted = self.outcome = ""
        back = {host.wave for host in self.hosts.values() if went_back(host.phase, host.fault)}
        first = min(back & set(self.waves), default=None)
        for wave in self.waves.values():
            if wave.phase is not None:
                self._move_wave(wave, wave_again(wave.number, wave.phase, first), at)
        for name, host in self.hosts.items():
            if taken_up(host.phase, host.fault, asked=event.subject in ("", name)):
                self._host(name, HostPhase.DEFERRED, Event("", name, "to be tried again"), at)


def _mark(names: dict[str, None], name: str, is_in: bool) -> None:
    if is_in:
        names[name] = None
    else:
        names.pop(name, None)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """A fixed time and a time for each host, by least squares; never less than nothing."""
    count = len(points)
    middle = sum(hosts for hosts, _ in points) / count
    mean = sum(seconds for _, seconds in points) / count
    spread = sum((hosts - middle) ** 2 for hosts, _ in points)
    if not spread:
        return mean, 0.0
    slope = sum((hosts - middle) * (seconds - mean) for hosts, seconds in points) / spread
    slope = min(max(0.0, slope), mean / middle) if middle else 0.0
    return mean - slope * middle, slope
