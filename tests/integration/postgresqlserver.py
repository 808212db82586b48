"""A real PostgreSQL server for the tests, and empty databases on it."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.tools import need_root

PASSWORD = "correct horse"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed; `make test` installs it")
        pytest.skip("PostgreSQL is not installed; `make test` installs it")
    return found[-1].parent


#: How the running server is crashed, and started again.
_control: dict[str, Callable[[], None]] = {}


def crash() -> None:
    """End the server as a crash does: at once, with every connection."""
    _control["stop"]()


def start_again() -> None:
    """Start it again after `crash`."""
    _control["start"]()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A server of our own on a free port, run by the user that its package made."""
    need_root()
    programs = _programs()
    user = pwd.getpwnam("postgres")
    folder = Path(tempfile.mkdtemp(prefix="bootcfleet-pg-", dir="/var/tmp"))
    os.chown(folder, user.pw_uid, user.pw_gid)
    (folder / "password").write_text(PASSWORD)
    os.chown(folder / "password", user.pw_uid, user.pw_gid)

    def as_postgres(*words: str | Path) -> None:
        subprocess.run(words, user="postgres", group="postgres", check=True, capture_output=True,
                       cwd=folder)  # fmt: skip

    as_postgres(programs / "initdb", "-D", folder / "data", "--auth=scram-sha-256",
                "--username=bootcfleet", f"--pwfile={folder / 'password'}")  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [programs / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    as_postgres(*control, "-o", options, "start")
    _control.update(
        stop=lambda: as_postgres(*control, "-m", "immediate", "stop"),
        start=lambda: as_postgres(*control, "-o", options, "start"),
    )
    try:
        yield f"postgresql://bootcfleet@127.0.0.1:{port}/postgres"
    finally:
        _control.clear()
        as_postgres(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_database(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new database on that server; the password is in the environment."""
    monkeypatch.setenv("BOOTCFLEET_LEDGER_PASSWORD", PASSWORD)
    name = f"ledger{next(_numbers)}"
    engine = sa.create_engine(
        sa.make_url(postgresql).set(drivername="postgresql+psycopg", password=PASSWORD),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgresql.replace("/postgres", f"/{name}")


_numbers = itertools.count()


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for what comes true by itself; a minute is an error."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("it never came true")
