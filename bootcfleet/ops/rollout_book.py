"""A rollout's journal, with its entries in the audit chain: both are written, or neither."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from bootcfleet import __version__
from bootcfleet.domain.rollout import HostPhase, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry, RolloutRecord
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.ops.audit import Record


@dataclass(frozen=True)
class HostEnd:
    """A host that ends with these entries: what the audit chain keeps of it."""

    host: str
    phase: HostPhase
    message: str
    before: str
    after: str


class Book(Protocol):
    """Where a controller writes before it acts, and reads what people ask of it."""

    def write(
        self, entries: Sequence[NewEntry], rollout: Rollout, ends: Sequence[HostEnd] = ()
    ) -> list[JournalEntry]:
        """Append entries; they are on disk when this returns.

        The end of `rollout` is not written when something was asked of it since: what was asked
        is returned in its place, to be thought over.
        """
        ...

    def read(self, after: int) -> list[JournalEntry]:
        """The entries with a higher number than `after`."""
        ...


class LedgerBook:
    """The book of a rollout in the ledger's database."""

    def __init__(
        self,
        ledger: Ledger,
        rollout_id: str,
        record: Record,
        *,
        actor: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = RolloutStore.open(ledger.db)
        self._db = ledger.db
        self._id = rollout_id
        self._record = record
        self._actor = actor
        self._clock = clock
        self._started: int | None = None

    @property
    def rollout_id(self) -> str:
        """The rollout that it is of."""
        return self._id

    def create(self, record: RolloutRecord, rollout: Rollout) -> None:
        """Write a plan down before anything is done."""
        waves = [list(wave.hosts) for wave in rollout.waves]
        refused = {
            host: state.message
            for host, state in rollout.states.items()
            if state.phase in (HostPhase.REFUSED, HostPhase.DEFERRED)
        }
        digests = {ref: str(found.digest) for ref, found in rollout.resolved.items()}
        with self._db.write():
            self._store.create(record)
            self._record(
                f"fleet.{rollout.operation}",
                rollout.id,
                "started",
                digests=digests,
                details={"waves": waves, "refused": refused},
            )

    def start(self) -> list[JournalEntry]:
        """Take the rollout up: from here on nobody else's controller may write."""
        body = {"controller": socket.gethostname(), "pid": os.getpid(), "version": __version__}
        made = self._append([NewEntry(EntryKind.STARTED, "", body)])
        self._started = made[0].number
        return made

    def write(
        self, entries: Sequence[NewEntry], rollout: Rollout, ends: Sequence[HostEnd] = ()
    ) -> list[JournalEntry]:
        """See `Book.write`; hosts that end, and the rollout's own end, get their audit entries."""
        action = f"fleet.{rollout.operation}"
        ending = any(entry.kind is EntryKind.FINISHED for entry in entries)
        with self._db.write():
            if ending and (news := self.read(rollout.number)):
                return news
            made = self._append(entries)
            for end in ends:
                digests = {"before": end.before}
                if end.after:
                    digests["after"] = end.after
                self._record(
                    f"{action}.host",
                    end.host,
                    str(end.phase),
                    digests=digests,
                    details={"rollout": rollout.id, "message": end.message},
                )
            for entry in entries:
                if entry.kind is EntryKind.FINISHED:
                    self._record(
                        action,
                        rollout.id,
                        str(entry.body["outcome"]),
                        digests={},
                        details={"halted": rollout.halted, "failures": rollout.failures},
                    )
        return made

    def read(self, after: int) -> list[JournalEntry]:
        """See `Book.read`."""
        return self._store.entries(self._id, after=after)

    def _append(self, entries: Sequence[NewEntry]) -> list[JournalEntry]:
        return self._store.append(
            self._id, entries, at=self._clock(), actor=self._actor, started=self._started
        )
