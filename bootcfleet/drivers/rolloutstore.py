"""Rollouts and their journals, in the ledger's database.

Append-only: a rollout's record is written once, its entries are numbered from 1 without gaps.
An entry that was appended survives a power cut; a batch of entries is there as a whole, or not
at all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bootcfleet.domain.rollout_journal import (
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
    RolloutSummary,
    about_of,
)
from bootcfleet.drivers import ledgerhold
from bootcfleet.drivers.ledger import storable
from bootcfleet.drivers.ledgerdb import LedgerDb
from bootcfleet.drivers.ledgerhold import Hold
from bootcfleet.drivers.rolloutrows import (
    ENTRIES,
    FEW,
    METADATA,
    ROLLOUTS,
    SCHEMA,
    SCHEMA_VERSION,
    TRIGGERS,
    DamagedJournalError,
    dump,
    entry_of,
    record_of,
    stamp,
)
from bootcfleet.errors import FleetError, UsageError


class RolloutTakenError(FleetError):
    """Another controller has taken the rollout up."""


class RolloutStore:
    """The rollouts.  Safe to use from several threads and processes."""

    def __init__(self, db: LedgerDb) -> None:
        self.db = db

    @classmethod
    def open(cls, db: LedgerDb) -> RolloutStore:
        """The store in a ledger's database, its tables made where there are none.

        Raises `FleetError`.
        """
        db.prepare(METADATA, SCHEMA, SCHEMA_VERSION, TRIGGERS)
        return cls(db)

    @classmethod
    def open_url(cls, url: str, *, base: Path) -> RolloutStore:
        """The store at a ledger's URL.  Raises as `Ledger.open` does."""
        return cls.open(LedgerDb.connect(url, base=base))

    def close(self) -> None:
        """Close the connections."""
        self.db.close()

    def create(self, record: RolloutRecord) -> None:
        """Write a new rollout down.  Raises `FleetError`, also for an id that is there."""
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", record.id):
            raise UsageError(f"{record.id!r} cannot be a rollout's id")
        with self.db.write() as connection:
            if connection.execute(_has(record.id)).first() is not None:
                raise FleetError(f"there is a rollout {record.id} already")
            last = connection.execute(sa.select(sa.func.max(ROLLOUTS.c.number))).scalar()
            connection.execute(
                ROLLOUTS.insert().values(
                    number=(last or 0) + 1,
                    id=record.id,
                    operation=str(record.operation),
                    at=stamp(record.at),
                    actor=storable(record.actor),
                    about=dump(record.about or about_of(record.body)),
                    body=dump(record.body),
                )
            )

    def append(
        self,
        rollout_id: str,
        entries: Sequence[NewEntry],
        *,
        at: datetime,
        actor: str,
        started: int | None = None,
    ) -> list[JournalEntry]:
        """Append all of `entries`, or none; they are on disk when this (or an outer write) ends.

        `started` is the number of the caller's own entry STARTED: a controller that was
        believed dead, and whose rollout another one has taken up, must not go on writing.

        Raises `RolloutTakenError` then, `FleetError` when it cannot be written.
        """
        if not entries:
            return []
        with self.db.write() as connection:
            last = connection.execute(_newest(rollout_id)).scalar()
            if last is None and connection.execute(_has(rollout_id)).first() is None:
                raise self._unknown(rollout_id)
            if started is not None:
                self._require_own(connection, rollout_id, started)
            when, who = stamp(at), storable(actor)
            rows = [
                {
                    "rollout": rollout_id,
                    "number": number,
                    "at": when,
                    "kind": str(entry.kind),
                    "host": storable(entry.host),
                    "actor": who,
                    "body": dump(entry.body),
                }
                for number, entry in enumerate(entries, (last or 0) + 1)
            ]
            connection.execute(ENTRIES.insert(), rows)
        return [entry_of(row) for row in rows]

    def entries(self, rollout_id: str, *, after: int = 0) -> list[JournalEntry]:
        """The entries with a number above `after`, in order.

        Raises `DamagedJournalError` when one is missing or cannot be read.
        """
        query = (
            sa.select(ENTRIES)
            .where(ENTRIES.c.rollout == rollout_id, ENTRIES.c.number > after)
            .order_by(ENTRIES.c.number)
        )
        with self.db.read() as connection:
            rows = connection.execute(query).mappings().all()
        for expected, row in enumerate(rows, after + 1):
            if row["number"] != expected:
                raise DamagedJournalError(
                    f"entry {expected} of the rollout {rollout_id} is missing: entry "
                    f"{row['number']} stands in its place",
                    hint="look at its hosts: bootcfleet fleet status",
                )
        return [entry_of(row) for row in rows]

    def record(self, rollout_id: str) -> RolloutRecord:
        """What was written when the rollout was begun.

        Raises `UsageError` when there is none of that id, `DamagedJournalError`.
        """
        query = sa.select(ROLLOUTS).where(ROLLOUTS.c.id == rollout_id)
        with self.db.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise self._unknown(rollout_id)
        return record_of(row)

    def find(self, text: str = "last") -> RolloutRecord:
        """The rollout of an id, of the beginning of one id only, or ``last`` for the newest.

        Raises `UsageError` when it is none, or several; `DamagedJournalError`.
        """
        with self.db.read() as connection:
            query = sa.select(ROLLOUTS.c.id).order_by(ROLLOUTS.c.number.desc())
            ids = list(connection.execute(query).scalars())
        if not ids:
            raise UsageError(
                f"there is no rollout in the ledger {self.db.where}", hint=self._elsewhere()
            )
        if text == "last":
            return self.record(ids[0])
        if text in ids:
            return self.record(text)
        matching = [one for one in ids if text and one.startswith(text)]
        if len(matching) == 1:
            return self.record(matching[0])
        if matching:
            raise UsageError(
                f"{text!r} is the beginning of {len(matching)} rollouts",
                hint="one of " + ", ".join(matching[:5]),
            )
        near = difflib.get_close_matches(text, ids, 1)
        raise self._unknown(text, near[0] if near else None)

    def all(
        self, limit: int | None = None, *, open_only: bool = False
    ) -> list[tuple[RolloutRecord, RolloutSummary]]:
        """The newest rollouts, newest first, each with the newest entries of its life.

        The records have no body.  Raises `FleetError`.
        """
        with self.db.read() as connection:
            columns = [column for column in ROLLOUTS.c if column.name != "body"]
            query = sa.select(
                *columns, _newest(ROLLOUTS.c.id).scalar_subquery().label("entries")
            ).order_by(ROLLOUTS.c.number.desc())
            if open_only:
                query = query.where(ROLLOUTS.c.id.in_(self._open_ids(connection)))
            rows = connection.execute(query.limit(limit)).mappings().all()
            newest = self._newest_of(connection, [row["id"] for row in rows])
        return [
            (record_of(row), RolloutSummary(row["entries"] or 0, newest.get(row["id"], {})))
            for row in rows
        ]

    def hold(self, rollout_id: str) -> AbstractContextManager[Hold | None]:
        """Hold the rollout inside; None when a living controller, wherever it is, has it.

        Raises `FleetError` when the database or the disk refuses.
        """
        return ledgerhold.hold(self.db, f"rollout-{rollout_id}")

    def held(self, rollout_id: str) -> bool:
        """Whether a living controller holds the rollout; with SQLite, one on this machine."""
        return ledgerhold.held(self.db, f"rollout-{rollout_id}")

    @property
    def shared(self) -> bool:
        """Whether controllers on other machines can use it: a file is this machine's alone."""
        return self.db.engine.dialect.name != "sqlite"

    def _require_own(self, connection: sa.Connection, rollout_id: str, started: int) -> None:
        kinds = (EntryKind.STARTED,)
        query = _few(rollout_id).where(ENTRIES.c.kind.in_(kinds)).limit(1)
        row = connection.execute(query).mappings().first()
        if row is not None and row["number"] != started:
            newest = entry_of(row)
            where = newest.body.get("controller", newest.actor)
            raise RolloutTakenError(
                f"the rollout {rollout_id} was taken up by {where}",
                hint=f"follow it: bootcfleet rollout watch {rollout_id}",
            )

    def _open_ids(self, connection: sa.Connection) -> list[str]:
        ended = (EntryKind.FINISHED, EntryKind.STARTED, EntryKind.RETRY)
        query = (
            sa.select(ENTRIES.c.rollout, ENTRIES.c.kind, sa.func.max(ENTRIES.c.number))
            .where(FEW, ENTRIES.c.kind.in_(ended))
            .group_by(ENTRIES.c.rollout, ENTRIES.c.kind)
        )
        last: dict[str, dict[str, int]] = {}
        for rollout, kind, number in connection.execute(query):
            last.setdefault(rollout, {})[kind] = number
        finished = {
            rollout
            for rollout, numbers in last.items()
            if numbers.get("finished", 0) > max(numbers.get("started", 0), numbers.get("retry", 0))
        }
        ids = connection.execute(sa.select(ROLLOUTS.c.id)).scalars()
        return [one for one in ids if one not in finished]

    def _newest_of(
        self, connection: sa.Connection, ids: Sequence[str]
    ) -> dict[str, dict[EntryKind, JournalEntry]]:
        """Of each rollout, the newest entry of each kind but the many."""
        newest = (
            sa.select(ENTRIES.c.rollout, sa.func.max(ENTRIES.c.number).label("number"))
            .where(FEW, ENTRIES.c.rollout.in_(ids))
            .group_by(ENTRIES.c.rollout, ENTRIES.c.kind)
            .subquery()
        )
        query = sa.select(ENTRIES).join(
            newest,
            sa.and_(ENTRIES.c.rollout == newest.c.rollout, ENTRIES.c.number == newest.c.number),
        )
        found: dict[str, dict[EntryKind, JournalEntry]] = {}
        for row in connection.execute(query).mappings():
            entry = entry_of(row)
            found.setdefault(row["rollout"], {})[entry.kind] = entry
        return found

    def _unknown(self, text: str, near: str | None = None) -> UsageError:
        hint = f"did you mean {near}? " if near else ""
        return UsageError(
            f"there is no rollout {text!r} in the ledger {self.db.where}",
            hint=f"{hint}bootcfleet rollout list shows them; {self._elsewhere()}",
        )

    def _elsewhere(self) -> str:
        if self.shared:
            return "`ledger:` in bootcfleet.yaml says which ledger it is"
        return (
            "a rollout that was begun on another machine or in another project is in that one's "
            "ledger: this one is a file (for a ledger that machines share, see docs/ledger.md)"
        )


def _has(rollout_id: str) -> sa.Select[Any]:
    return sa.select(ROLLOUTS.c.number).where(ROLLOUTS.c.id == rollout_id)


def _newest(rollout_id: Any) -> sa.Select[Any]:
    return sa.select(sa.func.max(ENTRIES.c.number)).where(ENTRIES.c.rollout == rollout_id)


def _few(rollout_id: str) -> sa.Select[Any]:
    return (
        sa.select(ENTRIES)
        .where(ENTRIES.c.rollout == rollout_id, FEW)
        .order_by(ENTRIES.c.number.desc())
    )
