"""What a controller says while it works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootcfleet.domain.action import Action, ActionKind, GateAnswer, Waiting
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.judgement import Problem
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import JournalEntry
from bootcfleet.domain.rollout_replay import record_of


class RolloutVoice:
    """Turns what happens into events, and says what is waited for once, not every second."""

    def __init__(self, emit: Emit, rollout: Rollout) -> None:
        self._emit = emit
        self._rollout = rollout.id
        self._journal = JournalEvents(record_of(rollout))
        self._waves = {host: wave for wave in rollout.waves for host in wave.hosts}
        self._waiting: dict[str, str] = {}

    def wave_of(self, host: str) -> str:
        """The title of a host's wave; of one that joined late none."""
        wave = self._waves.get(host)
        return wave.title if wave else ""

    def number_of(self, host: str) -> int | None:
        """The number of a host's wave."""
        wave = self._waves.get(host)
        return wave.number if wave else None

    def entries(self, entries: Sequence[JournalEntry]) -> None:
        """What was written down."""
        for entry in entries:
            event = self._journal.of(entry)
            if event is not None:
                self._emit(event)

    def action(self, action: Action) -> None:
        """Something is begun that changes no state."""
        if action.kind in (ActionKind.OBSERVE, ActionKind.EVIDENCE):
            self._say(f"host.{action.kind}", action.host, f"{action.kind}: {action.reason}")

    def problem(self, action: Action, problem: Problem) -> None:
        """An action failed; whether it is tried again the next entry says."""
        self._say(
            "host.problem",
            action.host,
            f"{action.kind}: {problem.message}",
            fault=str(problem.fault),
        )

    def gate(self, action: Action, answer: GateAnswer) -> None:
        """A metric gate answered."""
        word = "holds" if answer.ok else "does not hold" if answer.answered else "did not answer"
        self._say(
            "wave.gate",
            action.when,
            f"{action.when} {word}: {answer.message}",
            wave=action.wave,
            ok=answer.ok,
        )

    def waiting(self, waiting: Sequence[Waiting]) -> None:
        """What is waited for, where that is news; `waits` is all of it, for who counts."""
        now = {one.what: one.why for one in waiting}
        news = {what: why for what, why in now.items() if self._waiting.get(what) != why}
        for what, why in news.items():
            self._say("rollout.waiting", "", f"{what}: {why}", what=what, why=why, waits=now)
        if not news and now != self._waiting:
            # Something is not waited for any longer: nothing to be read, but to be counted.
            self._say("rollout.waiting", "", "", what="", why="", waits=now)
        self._waiting = now

    def _say(self, kind: str, subject: str, message: str, **data: Any) -> None:
        number = self.number_of(subject)
        wave = {} if number is None else {"wave": number}
        body = {"rollout": self._rollout, **wave, **data}
        self._emit(Event(kind, subject, message, body))
