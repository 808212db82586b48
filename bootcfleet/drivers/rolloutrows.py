"""The tables of rollouts and their journals, and their rows as what they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from bootcfleet.domain.rollout_journal import MANY, EntryKind, JournalEntry, RolloutRecord
from bootcfleet.errors import FleetError

#: A row by the names of its columns: what a query returned, or what is written.
Row = sa.RowMapping | Mapping[str, Any]

SCHEMA_VERSION = 1

METADATA = sa.MetaData()
SCHEMA = sa.Table("rollout_schema", METADATA, sa.Column("version", sa.Integer, nullable=False))
ROLLOUTS = sa.Table(
    "rollout",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("operation", sa.String(32), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    # The whole plan: of a large fleet it is megabytes, and lists do without it.
    sa.Column("body", sa.Text, nullable=False),
)
ENTRIES = sa.Table(
    "rollout_entry",
    METADATA,
    sa.Column("rollout", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
# SQLite uses a partial index for a query that has its condition, to the letter.
FEW = sa.text("kind NOT IN ({})".format(", ".join(f"'{kind}'" for kind in sorted(MANY))))
sa.Index(
    "rollout_entry_few",
    ENTRIES.c.rollout,
    ENTRIES.c.kind,
    ENTRIES.c.number,
    sqlite_where=FEW,
    postgresql_where=FEW,
)

_IN_ORDER = {
    "rollout": "(SELECT coalesce(max(number), 0) + 1 FROM rollout)",
    "rollout_entry": (
        "(SELECT coalesce(max(number), 0) + 1 FROM rollout_entry WHERE rollout = NEW.rollout)"
    ),
}
TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for table in _IN_ORDER
        for verb in ("UPDATE", "DELETE")
    ]
    + [
        # REPLACE INTO removes a row without a DELETE: by its number, or by a record's id.
        f"CREATE TRIGGER IF NOT EXISTS {table}_in_order BEFORE INSERT ON {table} "
        f"WHEN NEW.number IS NOT {expected} {also} "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: this does not follow'); END"
        for (table, expected), also in zip(
            _IN_ORDER.items(), ("OR NEW.id IN (SELECT id FROM rollout)", ""), strict=True
        )
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION rollout_append_only() RETURNS trigger AS $$ BEGIN "
        "RAISE EXCEPTION 'the ledger is append-only'; END $$ LANGUAGE plpgsql",
        *(
            statement
            for table, expected in _IN_ORDER.items()
            for statement in (
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table} EXECUTE FUNCTION rollout_append_only()",
                f"CREATE OR REPLACE FUNCTION {table}_in_order() RETURNS trigger AS $$ BEGIN "
                f"IF NEW.number <> {expected} "
                "THEN RAISE EXCEPTION 'the ledger is append-only: this does not follow'; END IF; "
                "RETURN NEW; END $$ LANGUAGE plpgsql",
                f"CREATE TRIGGER {table}_in_order BEFORE INSERT ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {table}_in_order()",
            )
        ),
    ],
}


class DamagedJournalError(FleetError):
    """What is in the database cannot be what was written."""


def stamp(at: datetime) -> str:
    """A moment as it is written: UTC, to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def dump(body: Mapping[str, Any]) -> str:
    """A body as it is written.  Raises `TypeError` for what JSON cannot hold."""
    # ASCII: every text of a host can be written so, and every database takes it.
    return json.dumps(body, separators=(",", ":"))


def record_of(row: Row) -> RolloutRecord:
    """The record of a row, without a body when it was not asked for.

    Raises `DamagedJournalError`.
    """
    try:
        return RolloutRecord(
            id=row["id"],
            operation=row["operation"],
            at=datetime.fromisoformat(row["at"]),
            actor=row["actor"],
            body=_object(row.get("body", "{}")),
            about=_object(row["about"]),
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise DamagedJournalError(
            f"the rollout {row['id']} was changed after it was written: its plan cannot be read",
            hint="look at its hosts: bootcfleet fleet status",
        ) from error


def entry_of(row: Row) -> JournalEntry:
    """The entry of a row.  Raises `DamagedJournalError`."""
    where = f"entry {row['number']} of the rollout {row['rollout']}"
    try:
        kind = EntryKind(row["kind"])
    except ValueError as error:
        raise DamagedJournalError(
            f"{where} is of a kind that this bootcfleet does not know: {row['kind']!r}",
            hint="a newer bootcfleet wrote it: upgrade this one",
        ) from error
    try:
        return JournalEntry(
            number=row["number"],
            at=datetime.fromisoformat(row["at"]),
            kind=kind,
            host=row["host"],
            actor=row["actor"],
            body=_object(row["body"]),
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise DamagedJournalError(
            f"{where} was changed after it was written: it cannot be read",
            hint="look at its hosts: bootcfleet fleet status",
        ) from error


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
