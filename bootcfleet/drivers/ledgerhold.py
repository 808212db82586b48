"""A lock that its holder keeps for as long as it lives, and no longer.

It tells work that goes on from work that was left behind by a process that was killed: no
clock, no process id that another machine could not look up.  For SQLite a locked file beside
the database (flock ends with the process), for PostgreSQL a lock of the session (it ends
with the connection).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from bootcfleet.drivers.ledgerdb import LedgerDb
from bootcfleet.errors import FleetError


class Hold(Protocol):
    """A lock that is held."""

    def lost(self) -> bool:
        """Whether it is no longer held, so that somebody else may believe us dead."""
        ...

    def retake(self) -> bool:
        """Take it again after it was lost; False when somebody else has it by now.

        Raises `FleetError` when the database cannot be reached.
        """
        ...


class _FileHold:
    """A locked file; it cannot be lost but with the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def lost(self) -> bool:
        return False

    def retake(self) -> bool:
        return True

    def release(self) -> None:
        # Removed while it is still locked: who opens it from now on makes a new one.
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)


class _SessionHold:
    """A lock of a connection to PostgreSQL; `pid` is that of the server's process for it."""

    def __init__(self, db: LedgerDb, name: str, connection: sa.Connection, pid: int) -> None:
        self._db, self._name = db, name
        self._connection, self._pid = connection, pid

    def lost(self) -> bool:
        if self._connection.closed or self._connection.invalidated:
            return True
        try:
            self._connection.exec_driver_sql("SELECT 1")
            self._connection.commit()
        except sa.exc.DBAPIError:
            return True
        return False

    def retake(self) -> bool:
        self.release()
        taken = _take_session(self._db, self._name)
        if taken is None:
            if _holder(self._db, self._name) == self._pid:
                raise FleetError(
                    f"the ledger {self._db.where} has not noticed yet that our connection is gone",
                    hint="it does within a minute",
                )
            return False
        self._connection, self._pid = taken
        return True

    def release(self) -> None:
        with contextlib.suppress(sa.exc.DBAPIError):
            if not (self._connection.closed or self._connection.invalidated):
                # At once, and not when the server sees that the session has ended.
                self._connection.execute(_UNLOCK, {"key": _key(self._name)})
                self._connection.commit()
        with contextlib.suppress(sa.exc.DBAPIError):
            if not self._connection.closed:
                # Not back into the pool: its settings are a holder's.
                self._connection.invalidate()
        self._connection.close()


#: Settings of the session that holds a lock, where the server knows them: it finds out within a
#: minute that the holder's machine is gone, and does not end the session for being idle.
_KEEP = (
    "SELECT set_config(name, value, false) FROM (VALUES ('tcp_keepalives_idle', '30'), "
    "('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'), "
    "('idle_session_timeout', '0')) AS wanted (name, value) JOIN pg_settings USING (name)"
)

_LOCK = sa.text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:key)")
# The server shows the two halves of a key of 64 bits, with objsubid 1.
_WHO = sa.text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND classid::bigint = :high AND objid::bigint = :low"
)

#: How often a locked file is tried: who only looks (`held`) has it for microseconds.
_TRIES = 5


def _take(db: LedgerDb, name: str) -> _FileHold | _SessionHold | None:
    if db.engine.dialect.name == "sqlite":
        return _take_file(_path(db, name))
    taken = _take_session(db, name)
    return _SessionHold(db, name, *taken) if taken is not None else None


def _take_session(db: LedgerDb, name: str) -> tuple[sa.Connection, int] | None:
    with db.errors():
        connection = db.engine.connect()
        if connection.execute(_LOCK, {"key": _key(name)}).scalar():
            pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            connection.exec_driver_sql(_KEEP)
            connection.commit()
            return connection, pid
        connection.close()
        return None


def _holder(db: LedgerDb, name: str) -> int | None:
    """The server's process that has the lock `name`, or None."""
    key = _key(name) & 0xFFFF_FFFF_FFFF_FFFF
    with db.read() as connection:
        found = connection.execute(_WHO, {"high": key >> 32, "low": key & 0xFFFF_FFFF}).scalar()
        return None if found is None else int(found)


def _path(db: LedgerDb, name: str) -> Path:
    return Path(f"{db.where}.{name}.lock")


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _take_file(path: Path) -> _FileHold | None:
    tries = 0
    while True:
        try:
            # To read is enough for a lock: what another user's killed process left is no obstacle.
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FleetError(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(descriptor, path):
                return _FileHold(path, descriptor)
            # Its holder removed it between our opening and our locking: a new one may be there.
        except BlockingIOError:
            tries += 1
            if tries == _TRIES:
                os.close(descriptor)
                return None
            time.sleep(0.01)
        os.close(descriptor)


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def held(db: LedgerDb, name: str) -> bool:
    """Whether a living process holds the lock `name`; nothing is taken or made.

    Raises `FleetError` when the database or the disk refuses.
    """
    if db.engine.dialect.name == "sqlite":
        path = _path(db, name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise FleetError(f"{path} cannot be read: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
    return _holder(db, name) is not None


@contextmanager
def hold(db: LedgerDb, name: str) -> Iterator[Hold | None]:
    """Hold the lock `name` (letters, digits, '-') inside; None when a living process has it.

    Raises `FleetError` when the database or the disk refuses.
    """
    taken = _take(db, name)
    if taken is None:
        yield None
        return
    try:
        yield taken
    finally:
        taken.release()
