"""What `kickstart serve` remembers: machines, what they fetched, and tokens (SQLite).

Several processes may have it open: the server, and `kickstart hosts`.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bootcfleet.domain.bootprogress import BootRow, Fetched, Step
from bootcfleet.domain.boottoken import Token, TokenUse, token_digest
from bootcfleet.errors import FleetError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS machine (
    name TEXT PRIMARY KEY, known INTEGER NOT NULL, address TEXT NOT NULL,
    first REAL NOT NULL, last REAL NOT NULL, installed REAL,
    keys TEXT NOT NULL DEFAULT '[]', problem TEXT);
CREATE TABLE IF NOT EXISTS fetched (
    name TEXT NOT NULL, step TEXT NOT NULL, at REAL NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (name, step));
CREATE TABLE IF NOT EXISTS token (
    digest TEXT PRIMARY KEY, use TEXT NOT NULL, host TEXT NOT NULL,
    expires REAL NOT NULL, used REAL);
"""
#: Machines that nobody knows are remembered for the table; a flood of invented ones is not.
_MOST_UNKNOWN = 1000
#: Tokens of one use that a machine may have at a time.
_TOKENS = 4


class BootState:
    """The state's file.  May be used from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(
                path, timeout=10, isolation_level=None, check_same_thread=False
            )
            # A power cut may cost the last second's table rows, never the file.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise FleetError(f"{path} cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def seen(
        self,
        name: str,
        address: str,
        now: datetime,
        *,
        known: bool,
        step: Step | None = None,
        problem: str | None = None,
    ) -> None:
        """A machine asked for something; `problem` is why it did not get it."""
        at = now.timestamp()
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO machine (name, known, address, first, last, problem) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET known=excluded.known, "
                "address=excluded.address, last=excluded.last, problem=excluded.problem",
                (name, known, address, at, at, problem),
            )
            if step is not None:
                self._db.execute(
                    "INSERT INTO fetched VALUES (?, ?, ?, 1) ON CONFLICT (name, step) DO UPDATE "
                    "SET at=excluded.at, count=count + 1",
                    (name, step, at),
                )
            if not known:
                self._db.execute(
                    "DELETE FROM machine WHERE NOT known AND name NOT IN (SELECT name FROM "
                    "machine WHERE NOT known ORDER BY last DESC LIMIT ?)",
                    (_MOST_UNKNOWN,),
                )

    def new_token(
        self,
        use: TokenUse,
        host: str,
        now: datetime,
        seconds: float,
        token: str | None = None,
    ) -> str:
        """A new token for `host` (or this one, of `make_token`), good for so long.

        A boot loader may read its menu twice, so the last few stay good; older ones do not.
        """
        token = token or make_token()
        expires = (now + timedelta(seconds=seconds)).timestamp()
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "DELETE FROM token WHERE expires < ?1 OR (use = ?2 AND host = ?3 AND used IS NULL "
                "AND digest NOT IN (SELECT digest FROM token WHERE use = ?2 AND host = ?3 AND "
                "used IS NULL ORDER BY expires DESC LIMIT ?4))",
                (now.timestamp() - 86400, use, host, _TOKENS - 1),
            )
            self._db.execute(
                "INSERT INTO token VALUES (?, ?, ?, ?, NULL)",
                (token_digest(token), use, host, expires),
            )
        return token

    def token(self, text: str) -> Token | None:
        """What is known of a token."""
        with self._lock:
            row = self._db.execute(
                "SELECT digest, use, host, expires, used FROM token WHERE digest = ?",
                (token_digest(text),),
            ).fetchone()
        if row is None:
            return None
        used = _time(row[4]) if row[4] is not None else None
        return Token(row[0], TokenUse(row[1]), row[2], _time(row[3]), used)

    def claim(self, token: Token, now: datetime) -> bool:
        """Use a token up.  False when somebody was faster."""
        with self._lock:
            changed = self._db.execute(
                "UPDATE token SET used = ? WHERE digest = ? AND used IS NULL AND expires > ?",
                (now.timestamp(), token.digest, now.timestamp()),
            ).rowcount
        return changed == 1

    def give_back(self, token: Token) -> None:
        """Let a token be used again: what it was for did not arrive."""
        with self._lock:
            self._db.execute("UPDATE token SET used = NULL WHERE digest = ?", (token.digest,))

    def installed(self, name: str, now: datetime, keys: Sequence[str]) -> None:
        """A machine called back; its tokens are void."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM token WHERE host = ? AND used IS NULL", (name,))
            self._db.execute(
                "UPDATE machine SET installed = ?, keys = ? WHERE name = ?",
                (now.timestamp(), json.dumps(list(keys)), name),
            )

    def rename(self, old: str, new: str) -> None:
        """A machine has another name from now on."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for table in ("machine", "fetched"):
                self._db.execute(f"DELETE FROM {table} WHERE name = ?", (new,))  # noqa: S608
                self._db.execute(f"UPDATE {table} SET name = ? WHERE name = ?", (new, old))  # noqa: S608

    def again(self, name: str) -> bool:
        """Let a machine be installed again.  False when it is not known here."""
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM fetched WHERE name = ?", (name,))
            found = self._db.execute(
                "UPDATE machine SET installed = NULL, keys = '[]', problem = NULL WHERE name = ?",
                (name,),
            )
        return found.rowcount == 1

    def row(self, name: str) -> BootRow | None:
        """One machine."""
        return next(iter(self._rows("WHERE name = ?", (name,))), None)

    def rows(self) -> list[BootRow]:
        """All machines, known ones first, in the order of their names."""
        return self._rows("ORDER BY known DESC, name", ())

    def _rows(self, rest: str, values: Sequence[str]) -> list[BootRow]:
        with self._lock:
            found = self._db.execute(
                "SELECT name, known, address, first, last, installed, keys, problem "  # noqa: S608 - constant
                f"FROM machine {rest}",
                values,
            ).fetchall()
            steps: dict[str, dict[Step, Fetched]] = {}
            where = "WHERE name = ?" if values else ""
            for name, step, at, count in self._db.execute(
                f"SELECT name, step, at, count FROM fetched {where} ORDER BY at",  # noqa: S608
                values,
            ):
                steps.setdefault(name, {})[Step(step)] = Fetched(_time(at), count)
        return [
            BootRow(
                name,
                bool(known),
                address,
                _time(first),
                _time(last),
                steps.get(name, {}),
                _time(installed) if installed is not None else None,
                tuple(json.loads(keys)),
                problem,
            )
            for name, known, address, first, last, installed, keys, problem in found
        ]


def make_token() -> str:
    """A token that nobody guesses (192 bits)."""
    return secrets.token_urlsafe(24)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
