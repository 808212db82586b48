"""The picture of a rollout: rich renderables of a `Tally`, never higher than the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bootcfleet.domain.measure import about, clock, size
from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import WavePhase
from bootcfleet.domain.rollout_tally import Tally, WaveTally

if TYPE_CHECKING:
    from rich.console import RenderableType

#: The order of phases in sums and bars, with their colours.
STYLES: dict[HostPhase, str] = {
    HostPhase.UPDATED: "green",
    HostPhase.UNCHANGED: "green dim",
    HostPhase.UNDRAINING: "cyan",
    HostPhase.CHECKING: "cyan",
    HostPhase.REBOOTING: "magenta",
    HostPhase.DRAINING: "magenta",
    HostPhase.STAGED: "blue",
    HostPhase.STAGING: "blue",
    HostPhase.REVERTING: "yellow",
    HostPhase.ROLLED_BACK: "yellow",
    HostPhase.FAILED: "bold red",
    HostPhase.REFUSED: "red",
    HostPhase.DEFERRED: "dim",
    HostPhase.PENDING: "dim",
    HostPhase.SKIPPED: "dim",
}
_MARKS = {
    WavePhase.WAITING: ("⏸", "yellow"),
    WavePhase.RUNNING: ("▶", "cyan"),
    WavePhase.BAKING: ("◔", "magenta"),
    WavePhase.DONE: ("✓", "green"),
    WavePhase.HALTED: ("✗", "red"),
}
_STATES = {
    "running": "cyan",
    "waiting": "yellow",
    "paused": "yellow",
    "halted": "bold red",
    "failed": "bold red",
    "aborted": "bold red",
    "done": "bold green",
}
#: No line says more of one message than this.
_WORDS = 200


@dataclass(frozen=True)
class Room:
    """Lines for each part; what does not fit is summed in one more line, which is counted in."""

    waves: int
    hosts: int
    failures: int

    @classmethod
    def of(cls, height: int, waves: int, hosts: int, failures: int) -> Room:
        """Divide a terminal of `height` lines (10 at least), less the head's five and the cursor's.

        A part that needs less leaves the rest to the others, hosts first.
        """
        free = max(4, height - 6)
        failures = min(failures, max(1, free // 4))
        waves = min(waves, max(2, (free - failures) // 3))
        return cls(waves, min(hosts, max(1, free - failures - waves)), failures)


def frame(tally: Tally, now: float, width: int, height: int) -> Group:
    """All of it.  `now` is in seconds since 1970."""
    room = Room.of(height, len(tally.waves), len(tally.working), len(tally.failed))
    parts: list[RenderableType] = [*_head(tally, now, width)]
    parts += _waves(tally, now, room.waves, width)
    if tally.working:
        parts += _hosts(tally, now, room.hosts, width)
    if tally.failed:
        parts += _failures(tally, room.failures)
    return Group(*parts)


def _head(tally: Tally, now: float, width: int) -> list[Text]:
    first = _text()
    title = " ".join(one for one in ("rollout", tally.rollout, tally.operation) if one)
    first.append(one_line(title), "bold")
    if tally.started is not None:
        first.append(f"  {clock(now - tally.started)}")
    words = [f"{tally.ended} of {len(tally.hosts)} hosts ended"]
    if (rate := tally.hosts_a_minute(now)) is not None:
        words.append(f"{rate:.1f} hosts/min")
    fetching = sum(tally.hosts[name].rate for name in tally.working)
    if fetching:
        words.append(f"{size(fetching)}/s")
    if (left := tally.seconds_left(now)) is not None:
        words.append(f"about {about(left)} left")
    second = _text(" · ".join(words))
    third = _bar(tally.counts, len(tally.hosts), max(10, min(width - 2, 100)))
    fourth = _text()
    for phase, style in STYLES.items():
        if tally.counts[phase]:
            fourth.append(f"{phase} {tally.counts[phase]}  ", style)
    lines = [first, second, third, fourth]
    if tally.state not in ("running", "waiting"):
        why = one_line(tally.halted or tally.paused, _WORDS)
        said = why if why.startswith(tally.state) else f"{tally.state}: {why}" if why else ""
        lines.append(_text(said or tally.state, _STATES.get(tally.state, "")))
    elif tally.waits:
        said = "; ".join(f"{what}: {why}" if what else why for what, why in tally.waits.items())
        lines.append(_text(one_line(f"waiting: {said}", _WORDS), "yellow"))
    return lines


def _waves(tally: Tally, now: float, most: int, width: int) -> list[RenderableType]:
    """The waves around the one that is under way; the others are summed."""
    waves = list(tally.waves.values())
    if len(waves) > most:
        shown = max(1, most - 1)
        at = next((i for i, w in enumerate(waves) if w.phase is not WavePhase.DONE), len(waves) - 1)
        first = max(0, min(at - shown // 3, len(waves) - shown))
    else:
        shown, first = len(waves), 0
    grid = Table.grid(padding=(0, 1))
    cells = 20 if width >= 80 else 8
    name = min(30, max((len(wave.title) for wave in waves), default=0))
    for wide in (1, name, cells, 11, max(1, width - name - cells - 16)):
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=wide)
    grid.columns[3].justify = "right"
    for wave in waves[first : first + shown]:
        mark, style = _MARKS[wave.phase] if wave.phase else ("·", "dim")
        grid.add_row(
            _text(mark, style),
            _text(one_line(wave.title, 30)),
            _bar(wave.counts, wave.hosts, cells),
            _text(f"{wave.ended}/{wave.hosts}"),
            _text(one_line(_standing(wave, now), _WORDS), style),
        )
    parts: list[RenderableType] = [grid]
    if shown < len(waves):
        before = sum(1 for wave in waves if wave.phase is WavePhase.DONE)
        rest = len(waves) - shown
        text = f"  and {rest} more waves ({before} of {len(waves)} done)"
        parts.append(_text(text, "dim"))
    return parts


def _standing(wave: WaveTally, now: float) -> str:
    match wave.phase:
        case None:
            return ""
        case WavePhase.WAITING:
            waits = f" {clock(now - wave.since)}"
            return f"waiting{waits}: {wave.why}" if wave.why else f"waiting{waits}"
        case WavePhase.RUNNING:
            return f"running {clock(now - (wave.started or wave.since))}"
        case WavePhase.BAKING:
            if wave.until is not None:
                return f"baking, {clock(wave.until - now)} left"
            return f"baking {clock(now - wave.since)}"
        case WavePhase.DONE:
            passed = (wave.finished or now) - (wave.started or wave.since)
            return f"done in {clock(passed)}"
        case WavePhase.HALTED:
            return f"halted after {clock(wave.since - (wave.started or wave.since))}"


def _hosts(tally: Tally, now: float, most: int, width: int) -> list[RenderableType]:
    """The hosts at work, those longest in their phase first."""
    names = sorted(tally.working, key=lambda name: tally.hosts[name].since)
    shown = len(names) if len(names) <= most else max(0, most - 1)
    grid = Table.grid(padding=(0, 1))
    first = max((len(name) + 2 for name in names[:shown]), default=0)
    first = min(first, max(12, width // 3))
    # The last one gets what is left: rich would take it from all of them alike.
    for wide in (first, 9, 7, max(1, width - first - 19)):
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=wide)
    grid.columns[2].justify = "right"
    for name in names[:shown]:
        host = tally.hosts[name]
        grid.add_row(
            _text(f"  {one_line(name, 60)}"),
            _text(str(host.phase), STYLES[host.phase]),
            _text(clock(now - host.since)),
            _download(tally, name, width),
        )
    parts: list[RenderableType] = [grid]
    if shown < len(names):
        rest = Counter(tally.hosts[name].phase for name in names[shown:])
        parts.append(_text(f"  and {len(names) - shown} more: {_sums(rest)}", "dim"))
    return parts


def _download(tally: Tally, name: str, width: int) -> Text:
    """How far a host's download is, or what the host is said to do."""
    host = tally.hosts[name]
    if host.task and not host.rate and host.steps_total:
        return _text(f"{one_line(host.task, 20)} {host.steps} of {host.steps_total}", "dim")
    if not host.bytes and not host.bytes_total:
        said = one_line(host.message, _WORDS)
        return _text(said.removeprefix(f"{host.phase}: "), "dim")
    cells = 20 if width >= 100 else 10
    text = _text()
    if host.bytes_total:
        part = min(1.0, host.bytes / host.bytes_total)
        done = round(cells * part)
        text.append("━" * done, "blue")
        text.append("━" * (cells - done), "dim")
        text.append(f" {100 * part:3.0f} % {size(host.bytes)} of {size(host.bytes_total)}")
    else:
        text.append(size(host.bytes))
    if host.rate:
        text.append(f" {size(host.rate)}/s", "dim")
    return text


def _failures(tally: Tally, most: int) -> list[RenderableType]:
    """The newest failures, with their reasons."""
    names = list(tally.failed)
    shown = names if len(names) <= most else names[len(names) - max(1, most - 1) :]
    lines: list[RenderableType] = []
    # With one line alone it is the newest; how many there are is in the sums of the head.
    if len(shown) < len(names) and most > 1:
        rest = Counter(tally.hosts[name].phase for name in names[: len(names) - len(shown)])
        lines.append(_text(f"✗ {len(names) - len(shown)} more: {_sums(rest)}", "red"))
    for name in shown:
        host = tally.hosts[name]
        said = one_line(host.message, _WORDS) or str(host.phase)
        fault = f" ({one_line(host.fault, 40)})" if host.fault else ""
        text = _text("✗ ", STYLES[host.phase])
        text.append(f"{one_line(name, 60)}: {said}{fault}")
        lines.append(text)
    return lines


def _sums(counts: Counter[HostPhase]) -> str:
    return ", ".join(f"{counts[phase]} {phase}" for phase in STYLES if counts[phase])


def _bar(counts: Counter[HostPhase], total: int, cells: int) -> Text:
    """A bar of `cells`, each phase by its share, and a cell at least if one is left."""
    text = _text()
    filled = 0
    seen = 0
    for phase, style in _drawn():
        if not counts[phase] or not total:
            continue
        seen += counts[phase]
        end = min(cells, max(filled + 1, round(cells * seen / total)))
        text.append("━" * (end - filled), style)
        filled = end
    text.append("━" * (cells - filled), "bright_black")
    return text


def _drawn() -> Iterable[tuple[HostPhase, str]]:
    """Phases that a bar shows, failures first: they must not be the ones without a cell."""
    quiet = {HostPhase.PENDING, HostPhase.DEFERRED, HostPhase.SKIPPED}
    loud = (HostPhase.FAILED, HostPhase.ROLLED_BACK, HostPhase.REFUSED)
    for phase in loud:
        yield phase, STYLES[phase]
    for phase, style in STYLES.items():
        if phase not in quiet and phase not in loud:
            yield phase, style


def _text(text: str = "", style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
