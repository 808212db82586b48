"""The histories of channels, and the intents of moves, in the ledger's database.

Both are append-only.  An intent is written before the first tag moves and claims all its
channels in one transaction; it is closed in the transaction that writes the entries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bootcfleet.domain.audit import GENESIS
from bootcfleet.domain.channel import ChannelEntry, Intent, Move, Pair, check_history
from bootcfleet.drivers.ledgerdb import LedgerDb
from bootcfleet.errors import FleetError

SCHEMA_VERSION = 1

_metadata = sa.MetaData()
_schema = sa.Table("channel_schema", _metadata, sa.Column("version", sa.Integer, nullable=False))
_entries = sa.Table(
    "channel_entry",
    _metadata,
    sa.Column("image", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(80), nullable=False, index=True),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    # The whole entry, as it is hashed and mirrored.
    sa.Column("body", sa.Text, nullable=False),
)
_intents = sa.Table(
    "channel_intent",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("train", sa.String(64), nullable=False, index=True),
    # open, then done or undone: a closing is a row of its own.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

_LAST = (
    "(SELECT {what} FROM channel_entry WHERE image = NEW.image AND channel = NEW.channel "
    "ORDER BY number DESC LIMIT 1)"
)
_TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for table in ("channel_entry", "channel_intent")
        for verb in ("UPDATE", "DELETE")
    ]
    + [
        "CREATE TRIGGER IF NOT EXISTS channel_entry_in_order BEFORE INSERT ON channel_entry "
        f"WHEN NEW.number IS NOT coalesce({_LAST.format(what='number')}, 0) + 1 "
        f"OR NEW.previous IS NOT coalesce({_LAST.format(what='hash')}, printf('%064d', 0)) "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: this does not follow'); END",
        "CREATE TRIGGER IF NOT EXISTS channel_intent_in_order BEFORE INSERT ON channel_intent "
        "WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM channel_intent) "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: this does not follow'); END",
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION channel_append_only() RETURNS trigger AS $$ BEGIN "
        "RAISE EXCEPTION 'the ledger is append-only'; END $$ LANGUAGE plpgsql",
        *(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "EXECUTE FUNCTION channel_append_only()"
            for table in ("channel_entry", "channel_intent")
        ),
        "CREATE OR REPLACE FUNCTION channel_entry_in_order() RETURNS trigger AS $$ BEGIN "
        f"IF NEW.number <> coalesce({_LAST.format(what='number')}, 0) + 1 "
        f"OR NEW.previous <> coalesce({_LAST.format(what='hash')}, repeat('0', 64)) "
        "THEN RAISE EXCEPTION 'the ledger is append-only: this does not follow'; END IF; "
        "RETURN NEW; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER channel_entry_in_order BEFORE INSERT ON channel_entry "
        "FOR EACH ROW EXECUTE FUNCTION channel_entry_in_order()",
    ],
}


class ChannelTakenError(FleetError):
    """Somebody else moves, or has moved, a channel that was to be moved."""


class ChannelStore:
    """The histories and intents.  Safe to use from several threads and processes.

    Of each image and channel, the history is a chain of its own.
    """

    def __init__(self, db: LedgerDb) -> None:
        self.db = db

    @classmethod
    def of(cls, db: LedgerDb) -> ChannelStore:
        """The store in a ledger's database, its tables made where there are none.

        Raises `FleetError`.
        """
        db.prepare(_metadata, _schema, SCHEMA_VERSION, _TRIGGERS)
        return cls(db)

    @classmethod
    def open_url(cls, url: str, *, base: Path) -> ChannelStore:
        """The store at a ledger's URL.  Raises as `Ledger.open` does."""
        return cls.of(LedgerDb.connect(url, base=base))

    def close(self) -> None:
        """Close the connections."""
        self.db.close()

    def history(self, image: str, channel: str) -> tuple[ChannelEntry, ...]:
        """The entries of an image in a channel, oldest first.  Raises `FleetError`."""
        query = (
            sa.select(_entries.c.body)
            .where(_entries.c.image == image, _entries.c.channel == channel)
            .order_by(_entries.c.number)
        )
        return self._read(query)

    def current(self, image: str, channel: str) -> ChannelEntry | None:
        """The newest entry, or None.  Raises `FleetError`."""
        query = (
            sa.select(_entries.c.body)
            .where(_entries.c.image == image, _entries.c.channel == channel)
            .order_by(_entries.c.number.desc())
            .limit(1)
        )
        return next(iter(self._read(query)), None)

    def all(self) -> dict[Pair, tuple[ChannelEntry, ...]]:
        """Every history, by image and channel.  Raises `FleetError`."""
        found: dict[Pair, tuple[ChannelEntry, ...]] = {}
        order = (_entries.c.image, _entries.c.channel, _entries.c.number)
        for entry in self._read(sa.select(_entries.c.body).order_by(*order)):
            found[entry.pair] = (*found.get(entry.pair, ()), entry)
        return found

    def open_intents(self) -> tuple[Intent, ...]:
        """Moves that were begun and are not closed, oldest first.  Raises `FleetError`."""
        with self.db.read() as connection:
            return self._open_intents(connection)

    def claim(self, intent: Intent) -> None:
        """Write an intent down, if nobody else moves or has moved any of its channels.

        All of them are claimed in one transaction.  Raises `ChannelTakenError` that says
        who and when.
        """
        with self.db.write() as connection:
            for other in self._open_intents(connection):
                for pair in set(other.pairs) & set(intent.pairs):
                    raise _busy(pair, other)
            for move in intent.moves:
                last = self.current(*move.pair)
                if (last.number if last else 0) + 1 != move.number:
                    raise _overtaken(move, last)
            body = {"moves": [move.to_json() for move in intent.moves]}
            self._note(connection, intent.train, "open", intent.at, intent.actor, body)

    def finish(self, intent: Intent) -> tuple[ChannelEntry, ...]:
        """Close an intent as done and append the entries of its moves, in one transaction.

        Raises `ChannelTakenError` when somebody else has closed it.
        """
        with self.db.write() as connection:
            self._require_open(connection, intent)
            entries = []
            for move in intent.moves:
                last = self.current(*move.pair)
                entry = move.entry(intent, last.hash if last else GENESIS)
                self._append(connection, entry)
                entries.append(entry)
            self._note(connection, intent.train, "done", intent.at, intent.actor, {})
            return tuple(entries)

    def undo(self, intent: Intent, *, at: datetime, actor: str, left: Mapping[str, str]) -> None:
        """Close an intent as not done; `left`: tags that could not be put back, and why.

        Raises `ChannelTakenError` when somebody else has closed it.
        """
        with self.db.write() as connection:
            self._require_open(connection, intent)
            self._note(connection, intent.train, "undone", at, actor, {"left": dict(left)})

    def restore(self, entries: Sequence[ChannelEntry]) -> int:
        """Append what is missing of a whole history from elsewhere; how many that were.

        What is there must be its beginning.  Raises `FleetError` when it is not, or
        when the history does not hold.
        """
        if not entries:
            return 0
        with self.db.write() as connection:
            lacks = self.lacks(entries)
            for entry in entries[len(entries) - lacks :]:
                self._append(connection, entry)
        return lacks

    def lacks(self, entries: Sequence[ChannelEntry]) -> int:
        """How many entries `restore` would append; raises what it raises, and writes nothing."""
        if not entries:
            return 0
        if broken := check_history(entries):
            raise FleetError(f"the history does not hold: {broken}")
        there = self.history(*entries[0].pair)
        if tuple(entries[: len(there)]) != there:
            image, channel = entries[0].pair
            raise FleetError(
                f"the ledger has another history of {image} {channel}",
                hint=f"compare: bootcfleet channel history {image} {channel} [--from-registry]",
            )
        return len(entries) - len(there)

    def _append(self, connection: sa.Connection, entry: ChannelEntry) -> None:
        names = ("image", "channel", "number", "digest", "previous", "hash")
        row = {name: getattr(entry, name) for name in names}
        body = json.dumps(entry.to_json(), sort_keys=True)
        connection.execute(_entries.insert().values(**row, body=body))

    def _note(
        self,
        connection: sa.Connection,
        train: str,
        state: str,
        at: datetime,
        actor: str,
        body: Mapping[str, Any],
    ) -> None:
        last = connection.execute(sa.select(sa.func.max(_intents.c.number))).scalar()
        connection.execute(
            _intents.insert().values(
                number=(last or 0) + 1,
                train=train,
                state=state,
                at=at.astimezone(UTC).isoformat(timespec="microseconds"),
                actor=actor,
                body=json.dumps(body, sort_keys=True),
            )
        )

    def _open_intents(self, connection: sa.Connection) -> tuple[Intent, ...]:
        closed = sa.select(_intents.c.train).where(_intents.c.state != "open")
        query = (
            sa.select(_intents)
            .where(_intents.c.state == "open", _intents.c.train.not_in(closed))
            .order_by(_intents.c.number)
        )
        return tuple(_intent(row) for row in connection.execute(query))

    def _require_open(self, connection: sa.Connection, intent: Intent) -> None:
        if all(one.train != intent.train for one in self._open_intents(connection)):
            raise ChannelTakenError(
                f"the moves {intent.train} were settled by somebody else meanwhile",
                hint="look at what came of them: bootcfleet channel verify",
            )

    def _read(self, query: sa.Select[Any]) -> tuple[ChannelEntry, ...]:
        with self.db.read() as connection:
            bodies: Iterable[str] = connection.execute(query).scalars().all()
        return tuple(_entry(body) for body in bodies)


def _entry(body: str) -> ChannelEntry:
    try:
        return ChannelEntry.from_json(json.loads(body))
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise FleetError(
            "an entry of a channel's history was changed after it was written",
            hint="bootcfleet channel history --from-registry shows the copy in the registry",
        ) from error


def _intent(row: sa.Row[Any]) -> Intent:
    try:
        moves = tuple(Move.from_json(one) for one in json.loads(row.body)["moves"])
        return Intent(row.train, datetime.fromisoformat(row.at), row.actor, moves)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise FleetError(
            f"the moves {row.train} cannot be read: a newer bootcfleet wrote them, or they were "
            "changed",
            hint="upgrade this bootcfleet",
        ) from error


def _busy(pair: Pair, other: Intent) -> ChannelTakenError:
    image, channel = pair
    return ChannelTakenError(
        f"{other.actor} is moving {image} in {channel} since {when(other.at)}; nothing was changed",
        hint="wait for it to end; if it was killed, `bootcfleet channel verify --repair` settles "
        "what it left",
    )


def _overtaken(move: Move, last: ChannelEntry | None) -> ChannelTakenError:
    what = f"{move.image} in {move.channel}"
    if last is None:
        return ChannelTakenError(f"the history of {what} is another one than a moment ago")
    return ChannelTakenError(
        f"{last.actor} moved {what} to {last.digest} at {when(last.at)}; nothing was changed",
        hint=f"look at it, then run yours again: bootcfleet channel history {move.image} "
        f"{move.channel}",
    )


def when(at: datetime) -> str:
    """A moment for people, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
