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


class _FileHold:
    """A locked file; it cannot be lost but with the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def lost(self) -> bool:
        return False

    def release(self) -> None:
        # Removed while it is still locked: who opens it from now on makes a new one.
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)


class _SessionHold:
    """A lock of a connection to PostgreSQL."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def lost(self) -> bool:
        try:
            self._connection.exec_driver_sql("SELECT 1")
            self._connection.commit()
        except sa.exc.DBAPIError:
            return True
        return False

    def release(self) -> None:
        # Not back into the pool: the lock belongs to the session.
        with contextlib.suppress(sa.exc.DBAPIError):
            self._connection.invalidate()
        self._connection.close()


def _take(db: LedgerDb, name: str) -> _FileHold | _SessionHold | None:
    if db.engine.dialect.name == "sqlite":
        path = Path(f"{db.where}.{name}.lock")
        try:
            # To read is enough for a lock: what another user's killed process left is no obstacle.
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FleetError(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return _FileHold(path, descriptor)
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    with db.errors():
        connection = db.engine.connect()
        query = sa.text("SELECT pg_try_advisory_lock(:key)")
        if connection.execute(query, {"key": key}).scalar():
            connection.commit()
            return _SessionHold(connection)
        connection.close()
        return None


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
