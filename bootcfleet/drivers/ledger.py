"""The ledger in a SQL database: append-only and hash-chained.

SQLite (one file, WAL, synchronous FULL: an entry that was recorded survives a
power cut) or PostgreSQL for a team.  Writers take turns, so that there is one
chain; triggers refuse to change or delete entries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bootcfleet.domain.audit import GENESIS, AuditEntry, ChainReport, check_chain
from bootcfleet.drivers.ledgerdb import LedgerDb
from bootcfleet.errors import FleetError

SCHEMA_VERSION = 1

_metadata = sa.MetaData()
_schema = sa.Table("ledger_schema", _metadata, sa.Column("version", sa.Integer, nullable=False))
_entries = sa.Table(
    "audit_entry",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False, index=True),
    sa.Column("subject", sa.Text, nullable=False, index=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("git_commit", sa.Text),
    sa.Column("digests", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
)

_TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS audit_entry_no_{verb.lower()} BEFORE {verb} ON audit_entry "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ]
    + [
        # REPLACE INTO would remove an entry without a DELETE: what is inserted follows the newest.
        "CREATE TRIGGER IF NOT EXISTS audit_entry_in_order BEFORE INSERT ON audit_entry "
        "WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM audit_entry) "
        "OR NEW.previous IS NOT coalesce("
        "(SELECT hash FROM audit_entry ORDER BY number DESC LIMIT 1), printf('%064d', 0)) "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: this does not follow'); END"
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION audit_entry_append_only() RETURNS trigger AS $$ BEGIN "
        "RAISE EXCEPTION 'the ledger is append-only'; END $$ LANGUAGE plpgsql",
        "DROP TRIGGER IF EXISTS audit_entry_append_only ON audit_entry",
        "CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry "
        "EXECUTE FUNCTION audit_entry_append_only()",
        "CREATE OR REPLACE FUNCTION audit_entry_in_order() RETURNS trigger AS $$ BEGIN "
        "IF NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit_entry) "
        "OR NEW.previous <> coalesce("
        "(SELECT hash FROM audit_entry ORDER BY number DESC LIMIT 1), repeat('0', 64)) "
        "THEN RAISE EXCEPTION 'the ledger is append-only: this does not follow'; END IF; "
        "RETURN NEW; END $$ LANGUAGE plpgsql",
        "DROP TRIGGER IF EXISTS audit_entry_in_order ON audit_entry",
        "CREATE TRIGGER audit_entry_in_order BEFORE INSERT ON audit_entry "
        "FOR EACH ROW EXECUTE FUNCTION audit_entry_in_order()",
    ],
}


class DamagedEntryError(FleetError):
    """An entry that cannot be what was recorded."""


class Ledger:
    """An open ledger.  Safe to use from several threads and processes."""

    def __init__(self, db: LedgerDb) -> None:
        self.db = db

    @classmethod
    def open(cls, url: str, *, base: Path) -> Ledger:
        """Open the ledger at an SQLAlchemy URL, making it where there is none.

        A relative SQLite path is under `base`.  Raises `FleetError` when it
        cannot be opened, `UsageError` for a URL that is none.
        """
        db = LedgerDb.connect(url, base=base)
        db.prepare(_metadata, _schema, SCHEMA_VERSION, _TRIGGERS)
        return cls(db)

    def record(
        self,
        action: str,
        subject: str,
        outcome: str,
        *,
        actor: str,
        now: datetime,
        git_commit: str | None = None,
        digests: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        """Append an entry; it is on disk when this returns.  Raises `FleetError`."""
        with self.db.write() as connection:
            last = connection.execute(
                sa.select(_entries.c.number, _entries.c.hash)
                .order_by(_entries.c.number.desc())
                .limit(1)
            ).first()
            entry = AuditEntry(
                number=(last.number if last else 0) + 1,
                at=now.astimezone(UTC),
                actor=storable(actor),
                action=storable(action),
                subject=storable(subject),
                outcome=storable(outcome),
                git_commit=git_commit,
                digests=dict(digests or {}),
                # What JSON makes of the details is what is hashed, now and when it is read again.
                details=json.loads(json.dumps(details or {}, default=str)),
                previous=last.hash if last else GENESIS,
            ).sealed()
            connection.execute(_entries.insert().values(**_row(entry)))
            return entry

    def entries(
        self,
        *,
        action: str | None = None,
        subject: str | None = None,
        digest: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[AuditEntry]:
        """Entries, oldest first; with `limit` the newest ones.

        `action` takes its sub-actions; `digest` is any of an entry's digests.

        Raises `FleetError`, and `DamagedEntryError` for an entry that cannot be what was recorded.
        """
        query = sa.select(_entries).order_by(_entries.c.number.desc())
        if action is not None:
            query = query.where(
                sa.or_(
                    _entries.c.action == action,
                    _entries.c.action.startswith(f"{action}.", autoescape=True),
                )
            )
        if subject is not None:
            query = query.where(_entries.c.subject == subject)
        if digest is not None:
            query = query.where(_entries.c.digests.contains(json.dumps(digest), autoescape=True))
        if since is not None:
            text = since.astimezone(UTC).isoformat(timespec="microseconds")
            query = query.where(_entries.c.at >= text)
        with self.db.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
        return [_entry(dict(row._mapping)) for row in reversed(rows)]

    def check(self, *, noted: str | None = None) -> ChainReport:
        """Walk along the whole chain (see `check_chain`).  Raises `FleetError`."""
        readable = ChainReport()

        def walk(rows: Iterable[sa.Row[Any]]) -> Iterator[AuditEntry]:
            nonlocal readable
            for row in rows:
                entry = _entry(dict(row._mapping))
                yield entry
                readable = ChainReport(entry.number, entry.hash)

        query = sa.select(_entries).order_by(_entries.c.number)
        with self.db.read() as connection:
            # Not all at once: a ledger of years has many entries.
            rows = connection.execution_options(yield_per=1000).execute(query)
            try:
                return check_chain(walk(rows), noted=noted)
            except DamagedEntryError as error:
                return replace(readable, broken=error.message)

    def verify(self) -> str | None:
        """Why the chain is broken, or None.  Raises `FleetError`."""
        return self.check().broken

    def close(self) -> None:
        """Close the connections."""
        self.db.close()


def storable(text: str) -> str:
    """Text that every database takes: words of a command line need be no UTF-8, and hold NUL."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return whole.replace("\0", "\\x00")


def _entry(row: Mapping[str, Any]) -> AuditEntry:
    """The entry of a row.

    Raises `DamagedEntryError` for a row that is not, to the letter, what `record`
    writes: the hash covers the meaning only, and SQLite keeps any type in any column.
    """
    damaged = DamagedEntryError(
        f"entry {row['number']} was changed after it was written",
        hint="`bootcfleet audit --verify` says how far the ledger holds",
    )
    texts = [value for name, value in row.items() if name != "number" and value is not None]
    if not all(isinstance(value, str) for value in texts):
        raise damaged
    try:
        entry = AuditEntry(
            **{
                **row,
                "at": datetime.fromisoformat(row["at"]),
                "digests": json.loads(row["digests"]),
                "details": json.loads(row["details"]),
            }
        )
        same = _row(entry) == row
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise damaged from error
    if not same:
        raise damaged
    return entry


def _row(entry: AuditEntry) -> dict[str, Any]:
    """What is written for an entry."""
    row = entry.to_json()
    return row | {key: json.dumps(row[key], sort_keys=True) for key in ("digests", "details")}
