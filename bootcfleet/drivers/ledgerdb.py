"""The database that the ledger is in: how it is opened, and how writers take turns.

The ledger's entries (`drivers/ledger.py`) and the channels' histories
(`drivers/channelstore.py`) are in one database, so that both can be written in one transaction.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bootcfleet.errors import FleetError, ToolMissingError, UsageError

PASSWORD = "BOOTCFLEET_LEDGER_PASSWORD"  # noqa: S105 - the variable's name

#: Seconds that a writer waits for its turn.
_PATIENCE = 30.0

#: Any number of ours, the same for all controllers: who holds it may append.
_ADVISORY_LOCK = 0x626F6F74


#: How a writer on PostgreSQL takes its turn, whatever the server's or the user's settings are:
#: it waits as long as on SQLite, and its entry is on disk when the transaction has ended.
_TURN = (
    f"SET LOCAL lock_timeout = '{_PATIENCE:g}s'",
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') = 'off'",
    f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})",
)


#: How libpq finds out that the server, or the network to it, is gone: within a minute, and not
#: after the hours that TCP waits by itself.  Parameters of the URL go before these.
_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class LedgerDb:
    """An open database.  Safe to use from several threads and processes."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self.engine = engine
        self.where = where
        self._lock = threading.RLock()
        self._joined = threading.local()

    @classmethod
    def connect(cls, url: str, *, base: Path) -> LedgerDb:
        """The database at an SQLAlchemy URL; a relative SQLite path is under `base`.

        Raises `UsageError` for a URL that is none, `FleetError` where its directory
        cannot be made, `ToolMissingError` without the driver of PostgreSQL.
        """
        return cls(*_engine(url, base))

    def prepare(
        self,
        metadata: sa.MetaData,
        schema: sa.Table,
        version: int,
        triggers: Mapping[str, Sequence[str]],
    ) -> None:
        """Make the tables and triggers where they are not there; `schema` holds their version.

        Raises `FleetError`, also for tables that a newer bootcfleet made.
        """
        with self.read() as connection:
            # Who only reads need not wait for a turn, however long somebody writes.
            if sa.inspect(connection).has_table(schema.name):
                found = connection.execute(sa.select(schema.c.version)).scalar()
                self._require_known(found, version)
                if found == version:
                    return
        with self.write() as connection:
            metadata.create_all(connection)
            found = connection.execute(sa.select(schema.c.version)).scalar()
            if found is None:
                connection.execute(schema.insert().values(version=version))
                for statement in triggers[self.engine.dialect.name]:
                    connection.execute(sa.text(statement))
            self._require_known(found, version)

    def _require_known(self, found: int | None, version: int) -> None:
        if found is not None and found > version:
            raise FleetError(
                f"the ledger {self.where} was written by a newer bootcfleet (schema {found})",
                hint="upgrade this bootcfleet",
            )

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read with, within `write` its own.  Raises `FleetError`."""
        outer: sa.Connection | None = getattr(self._joined, "connection", None)
        if outer is not None:
            yield outer
            return
        with self.errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that no other writer is in; on disk when it has ended.

        Within another one of the same thread it is part of that one: both are written, or
        neither.  Raises `FleetError`.
        """
        outer: sa.Connection | None = getattr(self._joined, "connection", None)
        if outer is not None:
            yield outer
            return
        with self.errors(), self._lock, self.engine.connect() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                for statement in _TURN:
                    connection.exec_driver_sql(statement)
            self._joined.connection = connection
            try:
                yield connection
                connection.commit()
            finally:
                self._joined.connection = None

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What the database complains about, as a `FleetError`."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            said = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
            hint = "another process may hold it, or the disk may be full or read-only"
            if "lock timeout" in said:
                hint = "another process holds it: pg_stat_activity on the server says which"
            elif self.engine.dialect.name == "postgresql":
                hint = f"see that the server runs and lets you in; the password is in ${PASSWORD}"
            elif "not a database" in said or "malformed" in said:
                hint = "it is damaged: move it away, and a new one is made (keep it as evidence)"
            elif "readonly" in said or "unable to open" in said:
                hint = f"see whether you may write there: ls -ld {Path(self.where).parent}"
            raise FleetError(
                f"the ledger {self.where} cannot be used: {said}", hint=hint
            ) from error


def _engine(url: str, base: Path) -> tuple[sa.Engine, str]:
    try:
        parsed = sa.make_url(url)
        driver = parsed.drivername
    except (sa.exc.ArgumentError, ValueError) as error:
        # The URL itself is not shown: what cannot be read may have a password in it.
        raise UsageError(
            "the ledger's URL is not a database URL",
            hint="for example sqlite:///.bootcfleet/ledger.db",
        ) from error
    if driver in {"sqlite", "sqlite+pysqlite"}:
        path = base / (parsed.database or "ledger.db")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FleetError(f"{path.parent} cannot be made: {error.strerror}") from error
        engine = sa.create_engine(
            f"sqlite:///{path}", connect_args={"timeout": _PATIENCE}, isolation_level="AUTOCOMMIT"
        )
        sa.event.listen(engine, "connect", _pragmas)
        return engine, str(path)
    if driver in {"postgresql", "postgresql+psycopg"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
        if password := os.environ.get(PASSWORD):
            parsed = parsed.set(password=password)
        try:
            engine = sa.create_engine(
                parsed,
                # A stricter level would still see the chain as it was before the wait for a turn.
                isolation_level="READ COMMITTED",
                # A rollout waits for reboots: by then the server may have cut the connection.
                pool_pre_ping=True,
                connect_args={k: v for k, v in _NETWORK.items() if k not in parsed.query},
            )
            return engine, parsed.render_as_string(hide_password=True)
        except ModuleNotFoundError as error:
            raise ToolMissingError(
                "the PostgreSQL driver is not installed",
                hint="pip install 'bootcfleet[postgresql]'",
            ) from error
    raise UsageError(f"a ledger cannot be in {driver}", hint="use sqlite or postgresql")


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    # While somebody writes, SQLite refuses the change to WAL at once, whatever the timeout is: of
    # several that open a new file together, some would be told that it is locked.
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
