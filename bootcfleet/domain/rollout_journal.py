"""The journal of a rollout: what is written down before each act, and what was judged after it.

Entries are only ever appended.  The state of a rollout is its record and all its entries,
one after the other (`domain/rollout_replay.py`): whoever reads them knows as much as the
controller that wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class EntryKind(StrEnum):
    """What an entry says.  The bodies' keys are stable."""

    #: A host came to a state; body: the fields of `HostState` as JSON.
    HOST = "host"
    #: What a host is to become, found when it returned; body: the fields of `Target`.
    TARGET = "target"
    #: A wave came to a phase; body: ``wave`` (number), ``phase``, ``message``.
    WAVE = "wave"
    #: The policy stopped the rollout; body: ``reason``.
    HALTED = "halted"
    #: A controller took the rollout up; body: ``controller``, ``pid``, ``version``.
    STARTED = "started"
    #: A controller let go of it before its end; body: ``reason``.
    STOPPED = "stopped"
    #: What people ask of the controller; bodies: ``reason``; for APPROVED ``wave`` as well.
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    APPROVED = "approved"
    ABORTED = "aborted"
    #: A host that ended badly is to be taken up again.
    RETRY = "retry"
    #: What was found out about a host; body: the fields of `HostEvidence`.
    EVIDENCE = "evidence"
    #: Something to be known, and not to be decided from; body: ``message``, ``kind``.
    NOTE = "note"
    #: All hosts have ended; body: ``outcome`` (done, failed, halted, aborted).
    FINISHED = "finished"


#: What other processes than the controller may write.
REQUESTS = frozenset(
    {
        EntryKind.PAUSED,
        EntryKind.UNPAUSED,
        EntryKind.APPROVED,
        EntryKind.ABORTED,
        EntryKind.RETRY,
    }
)


class WavePhase(StrEnum):
    """Where a wave stands."""

    WAITING = "waiting"
    RUNNING = "running"
    BAKING = "baking"
    DONE = "done"
    #: The rollout ended before it did.
    HALTED = "halted"


#: Where entries about the whole rollout bring its waves, without an entry of their own.
_WITH_ROLLOUT = {
    EntryKind.FINISHED: {WavePhase.RUNNING: WavePhase.HALTED, WavePhase.BAKING: WavePhase.HALTED},
    # What is well again has not been watched yet: a wave that baked will bake anew.
    EntryKind.RETRY: {WavePhase.HALTED: WavePhase.RUNNING, WavePhase.BAKING: WavePhase.RUNNING},
}


def wave_with(kind: EntryKind, phase: WavePhase) -> WavePhase:
    """Where a wave stands after an entry of `kind` about the whole rollout."""
    return _WITH_ROLLOUT.get(kind, {}).get(phase, phase)


@dataclass(frozen=True)
class JournalEntry:
    """One entry.  `number` counts from 1 within the rollout; `at` is in UTC."""

    number: int
    at: datetime
    kind: EntryKind
    host: str = ""
    actor: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NewEntry:
    """An entry that is to be appended; `body` must be what JSON can hold, and gives back."""

    kind: EntryKind
    host: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


#: The operation of a rollout in pull mode; those of the others are `Operation`'s.
PULL = "pull"


@dataclass(frozen=True)
class RolloutRecord:
    """What is written once, when a rollout is begun.

    `body` is the plan as JSON (`domain/rollout_replay.py` reads and writes it): policy, waves,
    targets, the hosts' connections, the states of hosts that stay out.  `about` are the few facts
    of it that a list of rollouts shows (`about_of`): ``hosts`` and ``waves`` (how many),
    ``image`` (where to), ``policy`` (its name).
    """

    id: str
    operation: str
    at: datetime
    actor: str
    body: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def about_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a list shows of a plan, from the plan's JSON."""
    resolved = body.get("resolved") or {}
    image = body.get("reference") or (next(iter(resolved)) if len(resolved) == 1 else None)
    about = {
        "hosts": len(body.get("hosts") or body.get("targets") or ()),
        "waves": len(body.get("waves") or ()),
        "image": image,
        "policy": (body.get("policy") or {}).get("name"),
    }
    return {key: value for key, value in about.items() if value}


#: Entries of which there are many; a summary of a rollout does without them.
MANY = frozenset({EntryKind.HOST, EntryKind.TARGET, EntryKind.EVIDENCE, EntryKind.NOTE})


@dataclass(frozen=True)
class RolloutSummary:
    """The newest entry of each kind but `MANY`, and the number of the newest entry of all."""

    entries: int = 0
    newest: Mapping[EntryKind, JournalEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[JournalEntry]) -> Self:
        """The summary of a whole journal."""
        last, newest = 0, {}
        for entry in entries:
            last = entry.number
            if entry.kind not in MANY:
                newest[entry.kind] = entry
        return cls(last, newest)

    def number(self, *kinds: EntryKind) -> int:
        """The number of the newest entry of `kinds`; 0 where there is none."""
        return max((self.newest[kind].number for kind in kinds if kind in self.newest), default=0)

    @property
    def unfinished(self) -> bool:
        """Whether there is something left to do: not finished, or taken up again since."""
        finished = self.number(EntryKind.FINISHED)
        return not finished or self.number(EntryKind.STARTED, EntryKind.RETRY) > finished
