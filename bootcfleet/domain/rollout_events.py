"""The journal of a rollout told as events: what its controller said, for who comes later.

Downloads and gates are not in the journal, and do not come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Self

from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, RolloutRecord, WavePhase

_ROLLOUT = {
    EntryKind.HALTED: "halted",
    EntryKind.STARTED: "started",
    EntryKind.STOPPED: "stopped",
    EntryKind.PAUSED: "paused",
    EntryKind.UNPAUSED: "resumed",
    EntryKind.APPROVED: "approved",
    EntryKind.ABORTED: "halted",
    EntryKind.RETRY: "retried",
    EntryKind.NOTE: "note",
    EntryKind.FINISHED: "finished",
}
_WAVES = {
    WavePhase.WAITING: "waiting",
    WavePhase.RUNNING: "started",
    WavePhase.BAKING: "baking",
    WavePhase.DONE: "finished",
}
_FOUND_OUT = "what was found out is in `rollout show` and `rollout report`"


class JournalEvents:
    """Turns the entries of one rollout into events."""

    def __init__(self, record: RolloutRecord) -> None:
        self._id = record.id
        self._waves = list(record.body.get("waves") or ())
        self._states = dict(record.body.get("states") or {})
        self._operation = record.operation
        self._at = record.at
        self._wave_of = {
            str(host): int(wave["number"]) for wave in self._waves for host in wave["hosts"]
        }
        self._said: dict[str, tuple[Any, ...]] = {}
        self._bake = {int(wave["number"]): wave.get("bake") for wave in self._waves}

    @classmethod
    def of_rollout(cls, rollout: Rollout) -> Self:
        """The same for one who has the rollout and not its record; make it once, not an entry."""
        waves = [
            {
                "number": wave.number,
                "title": wave.title,
                "hosts": wave.hosts,
                "bake": wave.bake,
                "approve": wave.approve,
            }
            for wave in rollout.waves
        ]
        at = rollout.began or datetime.min.replace(tzinfo=UTC)
        body = {"waves": waves}
        return cls(RolloutRecord(rollout.id, str(rollout.operation), at, rollout.actor, body))

    def planned(self) -> list[Event]:
        """The plan, and the hosts that stay out of it; they happened at the record's time."""
        waves = [
            {
                "number": wave["number"],
                "title": _title(wave),
                "hosts": list(wave["hosts"]),
                "approve": bool(wave.get("approve")),
            }
            for wave in self._waves
        ]
        data = {"rollout": self._id, "operation": self._operation, "waves": waves}
        events = [Event("rollout.planned", "", f"{self._operation} of {self._id}", data)]
        for host, state in self._states.items():
            phase, message = str(state.get("phase", "pending")), str(state.get("message", ""))
            events.append(Event(f"host.{phase}", host, f"{phase}: {message}", self._data(host)))
        return events

    def of(self, entry: JournalEntry) -> Event | None:
        """What one entry says, or None for what is for the controller alone."""
        body = entry.body
        match entry.kind:
            case EntryKind.HOST:
                phase, message = str(body.get("phase", "")), str(body.get("message", ""))
                more = {key: body[key] for key in ("fault", "evidence", "tries") if body.get(key)}
                said = (phase, message, body.get("tries"))
                if self._said.get(entry.host) == said:
                    return None
                self._said[entry.host] = said
                text = f"{phase}: {message}" if message else phase
                return Event(f"host.{phase}", entry.host, text, self._data(entry.host) | more)
            case EntryKind.EVIDENCE:
                data = self._data(entry.host) | {"evidence": dict(body)}
                return Event("host.evidence", entry.host, _FOUND_OUT, data)
            case EntryKind.WAVE:
                return self._wave(entry)
            case EntryKind.TARGET:
                return None
            case kind:
                return self._request(entry, _ROLLOUT[kind])

    def all(self, entries: Iterable[JournalEntry]) -> Iterator[tuple[datetime, Event]]:
        """The plan and all of `entries`, each with its time."""
        for event in self.planned():
            yield self._at, event
        for entry in entries:
            if (said := self.of(entry)) is not None:
                yield entry.at, said

    def _wave(self, entry: JournalEntry) -> Event:
        number, phase = int(entry.body["wave"]), WavePhase(entry.body["phase"])
        data: dict[str, Any] = {"rollout": self._id, "wave": number}
        if phase is WavePhase.BAKING and self._bake.get(number):
            data["seconds"] = self._bake[number]
        message = str(entry.body.get("message", ""))
        return Event(f"wave.{_WAVES[phase]}", "", message, data)

    def _request(self, entry: JournalEntry, word: str) -> Event:
        body = entry.body
        data = {"rollout": self._id, **body}
        if entry.actor:
            data["actor"] = entry.actor
        said = body.get("reason") or body.get("message") or body.get("outcome") or word
        if entry.kind is EntryKind.STARTED and body.get("controller"):
            said = f"started by {body['controller']}"
        who = f" by {entry.actor}" if entry.actor and word in {"paused", "approved"} else ""
        return Event(f"rollout.{word}", entry.host, f"{said}{who}", data)

    def _data(self, host: str) -> dict[str, Any]:
        wave = self._wave_of.get(host)
        return {"rollout": self._id} | ({"wave": wave} if wave is not None else {})


def _title(wave: Any) -> str:
    return str(wave.get("title") or f"wave {wave['number']}")


def event_of(entry: JournalEntry, rollout: Rollout) -> Event | None:
    """What one entry of a rollout says, or None (see `JournalEvents.of`)."""
    return JournalEvents.of_rollout(rollout).of(entry)
