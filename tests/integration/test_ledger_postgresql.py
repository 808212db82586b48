"""The ledger in a real PostgreSQL: one chain under several writers, and append-only."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from bootcfleet.drivers.ledger import Ledger
from bootcfleet.errors import FleetError
from tests.tools import need_root

pytestmark = pytest.mark.integration

PASSWORD = "correct horse"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed; `make test` installs it")
        pytest.skip("PostgreSQL is not installed; `make test` installs it")
    return found[-1].parent


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
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
    try:
        yield f"postgresql://bootcfleet@127.0.0.1:{port}/postgres"
    finally:
        as_postgres(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def test_one_chain_under_several_writers(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOTCFLEET_LEDGER_PASSWORD", PASSWORD)

    def write() -> None:
        ledger = Ledger.open(url, base=tmp_path)
        for _ in range(10):
            ledger.record("a", "s", "done", actor="me", now=datetime.now(UTC), details={"ü": 1})
        ledger.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    ledger = Ledger.open(url, base=tmp_path)
    assert len(ledger.entries()) == 40
    assert ledger.verify() is None
    for statement in ("UPDATE audit_entry SET actor = 'x'", "TRUNCATE audit_entry"):
        with (
            ledger._engine.connect() as connection,
            pytest.raises(sa.exc.DatabaseError, match="append-only"),
        ):
            connection.execute(sa.text(statement))
    ledger.close()


def test_a_wrong_password_is_an_error_that_does_not_show_it(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOTCFLEET_LEDGER_PASSWORD", "wrong secret")
    with pytest.raises(FleetError, match="cannot be used") as caught:
        Ledger.open(url, base=tmp_path)
    assert "wrong secret" not in str(caught.value) + str(caught.value.hint)
