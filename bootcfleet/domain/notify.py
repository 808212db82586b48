"""What people are told of a rollout by webhook, and the form that each kind of chat wants.

What comes from hosts is neither markup nor a mention in a chat.  Limits and escaping:

- Slack (docs.slack.dev, "Formatting message text", "Blocks", "Incoming webhooks"): ``&``, ``<``
  and ``>`` are written as entities; 150 characters in a header, 3000 in a section, 50 blocks, and
  about 13,000 characters in all blocks together; ``verbatim`` keeps names from becoming mentions.
- Mattermost (developers.mattermost.com, "Incoming webhooks", "Message attachments"): 16,383
  characters of Markdown, longer texts become several posts; attachments need a ``fallback``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, assert_never

from bootcfleet.domain.event import Event
from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import FAILURES, HostPhase
from bootcfleet.domain.rollout_policy import NotifyEvent, NotifyForm, NotifyTarget
from bootcfleet.domain.rollout_tally import Tally

#: Hosts that a message for people names; the rest is a number.
_NAMED = 10
_HEADER, _SECTION, _MATTERMOST = 150, 2900, 8000
#: Hosts of a JSON body; more are counted in `more_hosts`.
_HOSTS = 1000
_FAILED = {f"host.{phase}": phase for phase in FAILURES}
_COLOURS = {
    NotifyEvent.STARTED: "#2563c9",
    NotifyEvent.WAVE_FINISHED: "#178a4c",
    NotifyEvent.APPROVAL: "#b45309",
    NotifyEvent.HALTED: "#c9252d",
    NotifyEvent.HOST_FAILED: "#c9252d",
    NotifyEvent.FINISHED: "#178a4c",
}


@dataclass(frozen=True)
class FailedHost:
    """A host that failed or was rolled back."""

    host: str
    phase: str
    fault: str
    message: str


@dataclass(frozen=True)
class Notice:
    """One thing to be told.  `hint` is the command to run next; `counts` is hosts by phase."""

    event: NotifyEvent
    rollout: str
    operation: str
    at: datetime
    message: str
    wave: str = ""
    outcome: str = ""
    hint: str = ""
    hosts: tuple[FailedHost, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def merge(self, other: Notice) -> Notice | None:
        """Both in one, where both are of failed hosts: many fail at once."""
        if self.event is not NotifyEvent.HOST_FAILED or other.event is not self.event:
            return None
        hosts = (*self.hosts, *other.hosts)
        return replace(other, hosts=hosts, message=_failed(hosts))


def _failed(hosts: tuple[FailedHost, ...]) -> str:
    if len(hosts) == 1:
        return f"{hosts[0].host}: {hosts[0].message or hosts[0].phase}"
    return f"{len(hosts)} hosts failed"


class Notices:
    """Chooses what of a rollout's events is told.  Each event must be in the tally already."""

    def __init__(self) -> None:
        self._asked: set[int] = set()

    def of(self, event: Event, tally: Tally, at: datetime) -> Notice | None:
        """What is told of an event, or None."""
        made = self._choose(event, tally)
        if made is None:
            return None
        kind, values = made
        data = event.data
        number = data.get("wave")
        wave = tally.waves.get(number) if isinstance(number, int) else None
        return Notice(
            event=kind,
            rollout=tally.rollout,
            operation=tally.operation,
            at=at,
            counts={str(phase): count for phase, count in tally.counts.items()},
            **{"wave": wave.title if wave else "", **values},
        )

    def _choose(self, event: Event, tally: Tally) -> tuple[NotifyEvent, dict[str, Any]] | None:
        message, rollout = event.message, tally.rollout
        match event.kind:
            case "rollout.started":
                hosts = len(tally.hosts)
                said = f"{tally.operation} of {hosts} {'host' if hosts == 1 else 'hosts'} began"
                if tally.starts > 1:
                    said = f"taken up again, {tally.ended} of {hosts} hosts ended"
                return NotifyEvent.STARTED, {"message": said}
            case "wave.finished":
                return NotifyEvent.WAVE_FINISHED, {"message": _wave(event, tally)}
            case "wave.waiting" | "rollout.waiting":
                return self._approval(tally)
            case "rollout.halted":
                said = (
                    message if message.startswith(("halted", "aborted")) else f"halted: {message}"
                )
                hint = f"bootcfleet rollout show {rollout}"
                return NotifyEvent.HALTED, {"message": said, "hint": hint}
            case "rollout.finished":
                outcome = tally.outcome
                hint = "" if outcome == "done" else f"bootcfleet rollout report {rollout}"
                values = {"message": f"finished: {outcome}", "outcome": outcome, "hint": hint}
                return NotifyEvent.FINISHED, values
            case kind if kind in _FAILED and event.subject:
                phase, fault = _FAILED[kind], str(event.data.get("fault") or "")
                said = message.removeprefix(f"{phase}: ")
                failed = (FailedHost(event.subject, str(phase), fault, said),)
                return NotifyEvent.HOST_FAILED, {"message": _failed(failed), "hosts": failed}
            case _:
                return None

    def _approval(self, tally: Tally) -> tuple[NotifyEvent, dict[str, Any]] | None:
        """The wave whose turn it is waits for a person; told once."""
        wave = tally.wave
        if wave is None or not wave.approve or wave.title not in tally.waits or tally.paused:
            return None
        if wave.number in self._asked:
            return None
        self._asked.add(wave.number)
        hint = f"bootcfleet rollout approve {tally.rollout} --wave {wave.number}"
        hosts = "1 host" if wave.hosts == 1 else f"{wave.hosts} hosts"
        said = f"{wave.title} ({hosts}) waits for approval"
        return NotifyEvent.APPROVAL, {"message": said, "hint": hint, "wave": wave.title}


def _wave(event: Event, tally: Tally) -> str:
    number = event.data.get("wave")
    wave = tally.waves.get(number) if isinstance(number, int) else None
    if wave is None:
        return "a wave finished"
    bad = sum(wave.counts[phase] for phase in FAILURES)
    good = wave.counts[HostPhase.UPDATED]
    failed = f", {bad} failed" if bad else ""
    return f"{wave.title} finished: {good} of {wave.hosts} updated{failed}"


def wanted(target: NotifyTarget, notice: Notice) -> bool:
    """Whether a target is told of it."""
    return not target.events or notice.event in target.events


def body_of(form: NotifyForm, notice: Notice) -> dict[str, Any]:
    """What is posted."""
    match form:
        case NotifyForm.JSON:
            return _json(notice)
        case NotifyForm.SLACK:
            return _slack(notice)
        case NotifyForm.MATTERMOST:
            return _mattermost(notice)
        case _ as never:
            assert_never(never)


def _json(notice: Notice) -> dict[str, Any]:
    return {
        "event": str(notice.event),
        "rollout": notice.rollout,
        "operation": notice.operation,
        "at": notice.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "message": notice.message,
        "wave": notice.wave or None,
        "outcome": notice.outcome or None,
        "hint": notice.hint or None,
        "hosts": [
            {
                "host": one.host,
                "phase": one.phase,
                "fault": one.fault or None,
                "message": one.message,
            }
            for one in notice.hosts[:_HOSTS]
        ],
        "more_hosts": max(0, len(notice.hosts) - _HOSTS),
        "counts": dict(notice.counts),
    }


def _title(notice: Notice) -> str:
    return one_line(f"Rollout {notice.rollout}: {notice.message}", _HEADER)


def _sums(notice: Notice) -> str:
    return ", ".join(f"{number} {phase}" for phase, number in notice.counts.items() if number)


def _slack(notice: Notice) -> dict[str, Any]:
    lines = [f"• {_entities(_said(one))}" for one in notice.hosts[:_NAMED]]
    if not notice.hosts:
        lines.append(_entities(one_line(notice.message, 1500) or str(notice.event)))
    if len(notice.hosts) > _NAMED:
        lines.append(f"and {len(notice.hosts) - _NAMED} more")
    if notice.hint:
        lines.append(f"`{_entities(notice.hint)}`")
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _title(notice), "emoji": False}},
        {"type": "section", "text": _mrkdwn(_cut(lines, _SECTION))},
    ]
    if sums := _sums(notice):
        blocks.append({"type": "context", "elements": [_mrkdwn(_entities(sums))]})
    return {"text": _entities(_title(notice)), "blocks": blocks}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mattermost(notice: Notice) -> dict[str, Any]:
    lines = [f"- {_markdown(_said(one))}" for one in notice.hosts[:_NAMED]]
    if not notice.hosts:
        lines.append(_markdown(one_line(notice.message, 1500) or str(notice.event)))
    if len(notice.hosts) > _NAMED:
        lines.append(f"- and {len(notice.hosts) - _NAMED} more")
    if notice.hint:
        lines += ["", f"`{notice.hint}`"]
    fields = [{"short": True, "title": "Rollout", "value": _markdown(notice.rollout)}]
    if notice.wave:
        fields.append({"short": True, "title": "Wave", "value": _markdown(notice.wave)})
    if sums := _sums(notice):
        fields.append({"short": False, "title": "Hosts", "value": _markdown(sums)})
    colour = _COLOURS[notice.event]
    if notice.event is NotifyEvent.FINISHED and notice.outcome != "done":
        colour = "#c9252d"
    return {
        "text": f"**{_markdown(_title(notice))}**",
        "attachments": [
            {
                "fallback": _title(notice),
                "color": colour,
                "text": _cut(lines, _MATTERMOST),
                "fields": fields,
            }
        ],
    }


#: What Mattermost's Markdown lets be escaped and would obey; a dash only where a line begins.
_MARKED = re.compile(r"[\\`*_{}\[\]()#+!|~>]|^-")


def _markdown(text: str) -> str:
    """Words that are no markup, and no mention of anybody."""
    return _MARKED.sub(r"\\\g<0>", text).replace("@", "@\N{ZERO WIDTH SPACE}")


def _said(one: FailedHost) -> str:
    fault = f" ({one.fault})" if one.fault else ""
    return f"{one_line(one.host, 80)}: {one_line(one.message or one.phase, 160)}{fault}"


def _cut(lines: list[str], most: int) -> str:
    """As many whole lines as there is room for."""
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > most:
            kept.append("…")
            break
        kept.append(line)
    return "\n".join(kept)
