"""A rollout as one HTML page that needs nothing else: style and script are in it, links are none.

All text in it comes from hosts, people and files.  It is escaped and without control characters,
and the page's own policy (CSP) lets no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from jinja2 import Undefined

from bootcfleet.domain.measure import span
from bootcfleet.domain.plaintext import printable
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import WavePhase
from bootcfleet.domain.rollout_page_assets import SCRIPT, STYLE
from bootcfleet.domain.rollout_page_html import PAGE
from bootcfleet.domain.rollout_report import (
    bad_of,
    counts_of,
    digests_of,
    evidence_rows,
    images_of,
    result_of,
    rules_of,
    stamp,
    summary_of,
)
from bootcfleet.domain.rollout_tally import BAD
from bootcfleet.domain.rollout_timeline import HostLine, Timeline, WaveLine
from bootcfleet.domain.template_language import Environment

#: The order of phases in bars and lists: what needs a look first.
ORDER = (
    HostPhase.FAILED,
    HostPhase.ROLLED_BACK,
    HostPhase.REFUSED,
    HostPhase.REVERTING,
    HostPhase.UPDATED,
    HostPhase.UNCHANGED,
    HostPhase.UNDRAINING,
    HostPhase.CHECKING,
    HostPhase.REBOOTING,
    HostPhase.DRAINING,
    HostPhase.STAGED,
    HostPhase.STAGING,
    HostPhase.DEFERRED,
    HostPhase.PENDING,
    HostPhase.SKIPPED,
)
#: The phases that the timeline has colours for.
DRAWN = ("staging", "staged", "draining", "rebooting", "checking", "undraining", "reverting",
         "deferred")  # fmt: skip
#: In a wave with more hosts than this, those that went well are closed.
_OPEN = 40
#: More failures than this are closed.
_FAILURES = 8
#: Seconds that a step takes at least to be told: it would be 0.0 s.
_SEEN = 0.05
#: Steps of an axis, in seconds.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
          86400, 172800, 604800)  # fmt: skip


def page(line: Timeline, made: datetime, version: str) -> str:
    """The page.  `made` is now, `version` that of bootcfleet."""
    environment = Environment(lambda _: None).overlay(autoescape=True, finalize=_shown)
    waves = [_wave(line, wave) for wave in line.waves]
    total = max(0.001, (line.end - line.start).total_seconds())
    busy = sum(wave["length"] for wave in waves)
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return environment.from_string(PAGE).render(
        id=line.rollout.id,
        title=line.rollout.id,
        result=result_of(line),
        facts=summary_of(line),
        counts=_counts(counts_of(line)),
        hosts=len(line.hosts) + len(line.outside),
        bad=[_failure(line, host) for host in bad_of(line)],
        open_failures=_FAILURES,
        waves=waves,
        outside=[_row(line, host) for host in line.outside],
        total=_number(total),
        ticks=_ticks(line.start, 0, total),
        # Where people and windows were waited for most of the time, one axis shows little.
        own=busy < total / 2,
        drawn=DRAWN,
        moments=[
            {"at": stamp(one.at), "actor": one.actor, "kind": str(one.kind), "host": one.host,
             "message": one.message}
            for one in line.moments
        ],
        policy=rules_of(line.rollout),
        images=images_of(line),
        made=stamp(made),
        version=version,
        style=STYLE,
        script=SCRIPT,
        script_hash=script,
    )  # fmt: skip


def _shown(value: Any) -> Any:
    """Text without what a browser, a terminal or an editor would obey; markup stays as it is."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value)
    return "" if value is None or isinstance(value, Undefined) else value


def _counts(counts: Counter[HostPhase]) -> list[dict[str, Any]]:
    return [{"phase": str(phase), "count": counts[phase]} for phase in ORDER if counts[phase]]


def _wave(line: Timeline, wave: WaveLine) -> dict[str, Any]:
    mine = [line.host(name) for name in wave.hosts]
    # What needs a look comes first, and stands alone where there are many.
    rows = [_row(line, host) for host in mine if host.state.phase in BAD]
    rest = [_row(line, host) for host in mine if host.state.phase not in BAD]
    if len(mine) <= _OPEN:
        rows, rest = rows + rest, []
    own = [one for one in wave.segments if one.phase != WavePhase.WAITING]
    start = (own[0].start - line.start).total_seconds() if own else 0.0
    end = (own[-1].end - line.start).total_seconds() if own else 0.0
    length = max(0.001, end - start)
    return {
        "number": wave.number,
        "title": wave.title,
        "phase": str(wave.phase or "pending"),
        "message": wave.message if wave.phase is WavePhase.WAITING else "",
        "counts": _counts(Counter(wave.counts)),
        "hosts": len(wave.hosts),
        "times": [
            (word, span(wave.seconds(phase)))
            for phase, word in (
                (WavePhase.WAITING, "waited"),
                (WavePhase.RUNNING, "ran"),
                (WavePhase.BAKING, "baked"),
            )
            if wave.seconds(phase)
        ],
        "rows": rows,
        "rest": rest,
        "start": _number(start),
        "length": length if own else 0.0,
        "span": _number(length),
        "ticks": _ticks(line.start, start, length),
    }


def _row(line: Timeline, host: HostLine) -> dict[str, Any]:
    state = host.state
    segments = [
        {
            "phase": one.phase,
            "start": _number((one.start - line.start).total_seconds()),
            "end": _number((one.end - line.start).total_seconds()),
            "title": f"{one.phase} {span(one.seconds)}",
        }
        for one in host.segments
        if one.phase in DRAWN
    ]
    words = f"{host.host} {state.phase} {state.fault or ''} {state.message}"
    ended = (host.ended - line.start).total_seconds() if host.ended else None
    return {
        "host": host.host,
        "phase": str(state.phase),
        "text": printable(words).lower(),
        "message": state.message,
        "segments": segments,
        "ended": None if ended is None else _number(ended),
    }


def _failure(line: Timeline, host: HostLine) -> dict[str, Any]:
    state = host.state
    rows = evidence_rows(host.evidence)
    if state.evidence:
        rows.insert(0, ("details", list(state.evidence)))
    steps = [
        {"phase": one.phase, "at": one.start.astimezone(UTC).strftime("%H:%M:%S"),
         "span": span(one.seconds), "message": one.message}
        for one in host.segments
        if one.phase not in ("pending", str(state.phase)) and one.seconds >= _SEEN
    ]  # fmt: skip
    digests = digests_of(line, host.host)
    return {
        "host": host.host,
        "phase": str(state.phase),
        "fault": str(state.fault or ""),
        "message": state.message,
        "steps": steps,
        "ended": host.ended.astimezone(UTC).strftime("%H:%M:%S") if host.ended else "",
        "rows": [{"name": name, "lines": lines} for name, lines in rows],
        **digests,
    }


def _number(seconds: float) -> str:
    """Seconds for CSS, short: the page of a thousand hosts has ten thousand of them."""
    return f"{seconds:.2f}".rstrip("0").rstrip(".")


def _ticks(start: datetime, first: float, length: float) -> list[dict[str, str]]:
    """Marks of an axis that begins `first` seconds after `start`: where (percent), and the time."""
    step = next((one for one in _STEPS if length / one <= 6), _STEPS[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if length < 86400 else "%d %b %H:%M"
    begin = start.timestamp() + first
    ticks: list[dict[str, str]] = []
    at = -(-begin // step) * step
    while at < begin + length and len(ticks) < 20:
        where = 100 * (at - begin) / length
        if where <= 93:
            label = datetime.fromtimestamp(at, UTC).strftime(form)
            ticks.append({"at": _number(where), "label": label})
        at += step
    return ticks
