"""The rollouts in the ledger: looked at, and asked to pause, go on, start a wave, or end.

A request is an entry of the journal.  The controller, wherever it runs, takes it in when it
next looks, so that any process that reaches the ledger may ask.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_journal import (
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
    RolloutSummary,
)
from bootcfleet.domain.rollout_replay import apply, replay
from bootcfleet.domain.rollout_standing import Controller, Standing, controller_of, standing_of
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError
from bootcfleet.ops.audit import Record, current_actor, open_ledger, project_commit, recorder_into
from bootcfleet.ops.project import LoadedProject

#: What a request is called in the ledger.
ACTIONS = {
    EntryKind.PAUSED: "rollout.pause",
    EntryKind.UNPAUSED: "rollout.resume",
    EntryKind.APPROVED: "rollout.approve",
    EntryKind.ABORTED: "rollout.abort",
    EntryKind.RETRY: "rollout.retry",
}


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of a project, or of the user outside of one."""

    ledger: Ledger
    store: RolloutStore
    record: Record
    actor: str
    clock: Callable[[], datetime] = _now


@contextmanager
def open_rollouts(loaded: LoadedProject | None) -> Iterator[Rollouts]:
    """The rollouts in the ledger, which is open as long.  Raises `FleetError`."""
    commit = project_commit(loaded)
    ledger = open_ledger(loaded)
    try:
        store = RolloutStore.open(ledger.db)
        yield Rollouts(ledger, store, recorder_into(ledger, commit), current_actor())
    finally:
        ledger.close()


@dataclass(frozen=True)
class Look:
    """A rollout as its journal has it now; `held`: a living controller carries it out."""

    record: RolloutRecord
    rollout: Rollout
    entries: tuple[JournalEntry, ...]
    held: bool
    summary: RolloutSummary = field(default_factory=RolloutSummary)

    @property
    def standing(self) -> Standing:
        """Where it stands."""
        return standing_of(self.summary, held=self.held)

    @property
    def controller(self) -> Controller | None:
        """Who carries it out, or did last."""
        return controller_of(self.summary)


def look(rollouts: Rollouts, text: str) -> Look:
    """A rollout by its id, the beginning of it, or ``last``.

    Raises `UsageError` where there is none, `FleetError` for a journal that cannot be read.
    """
    record = rollouts.store.find(text)
    # Asked first: who ends in between has written its end by then.
    held = rollouts.store.held(record.id)
    entries = tuple(rollouts.store.entries(record.id))
    return Look(record, replay(record, entries), entries, held, RolloutSummary.of(entries))


def request(
    rollouts: Rollouts, found: Look, make: Callable[[Rollout], NewEntry]
) -> tuple[JournalEntry, Rollout]:
    """Append what `make` says of the rollout as it is then, and record it; both or neither.

    Returns the entry and the rollout with it.  Raises what `make` raises, and `FleetError`.
    """
    store, rollout_id = rollouts.store, found.record.id
    with rollouts.ledger.db.write():
        # The long journal was read before; what came since is little, and nobody adds to it now.
        rollout = apply(found.rollout, store.entries(rollout_id, after=found.rollout.number))
        (entry,) = store.append(
            rollout_id, [make(rollout)], at=rollouts.clock(), actor=rollouts.actor
        )
        details = {key: value for key, value in entry.body.items() if value not in ("", False)}
        rollouts.record(
            ACTIONS[entry.kind],
            rollout_id,
            "done",
            digests={},
            details=details | ({"host": entry.host} if entry.host else {}),
        )
        return entry, apply(rollout, [entry])


def require_here(rollouts: Rollouts, found: Look) -> None:
    """Raise `FleetError` for a rollout that must not be taken up on this machine.

    The lock of a ledger that is a file is seen on one machine alone: elsewhere, a living
    controller would look dead.
    """
    last = found.controller
    if rollouts.store.shared or last is None or last.machine == socket.gethostname():
        return
    stopped = found.summary.number(EntryKind.STOPPED) > found.summary.number(EntryKind.STARTED)
    if stopped:
        return
    raise FleetError(
        f"the rollout {found.record.id} was begun on {last.machine}, and this ledger is a file: "
        f"whether that controller still lives cannot be seen from {socket.gethostname()}",
        hint=f"resume it on {last.machine}; for rollouts that several machines may take up, put "
        "the ledger into PostgreSQL (docs/ledger.md)",
    )
