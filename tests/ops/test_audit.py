"""Recording: who it says that it was, from which commit, and into which ledger."""

from __future__ import annotations

import os
import pwd
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from bootcfleet.errors import FleetError
from bootcfleet.ops.audit import current_actor, open_ledger, recorder
from bootcfleet.ops.project import load_project
from tests.tools import need

MACHINE = socket.gethostname()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    return tmp_path / "state/bootcfleet"


@pytest.mark.parametrize(
    ("uid", "environment", "user"),
    [
        (0, {}, "root"),
        (0, {"SUDO_USER": "alice"}, "alice"),
        (0, {"LOGNAME": "alice", "USER": "alice"}, "root"),
        (4_000_000_001, {}, "4000000001"),
        (4_000_000_001, {"SUDO_USER": "alice"}, "4000000001"),
    ],
)
def test_who_it_was(
    uid: int, environment: dict[str, str], user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: uid)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert current_actor() == f"{user}@{MACHINE}"


def test_it_is_this_process() -> None:
    assert current_actor() == f"{pwd.getpwuid(os.getuid()).pw_name}@{MACHINE}"


def test_without_a_project(state: Path) -> None:
    with recorder(None) as record:
        record("fleet.reboot", "h1", "done", digests={"before": "sha256:a"}, details={"n": 1})
    assert (state / "ledger.db").is_file()
    ledger = open_ledger(None)
    (entry,) = ledger.entries()
    ledger.close()
    assert (entry.actor, entry.git_commit) == (current_actor(), None)
    assert (entry.digests, entry.details) == ({"before": "sha256:a"}, {"n": 1})


def test_in_a_project_with_its_commit(tmp_path: Path, state: Path) -> None:
    root = tmp_path / "acme"
    root.mkdir()
    text = "version: 1\nname: acme\nregistry: r.example/a\nledger: sqlite:///own/l.db\n"
    (root / "bootcfleet.yaml").write_text(text)
    (root / ".gitignore").write_text("own/\n")
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run([need("git"), *words], cwd=root, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    loaded = load_project(root)
    with recorder(loaded) as record:
        record("image.build", "soe", "started", digests={}, details={})
        record("image.build", "soe", "done", digests={}, details={})
    assert (root / "own/l.db").is_file()
    assert not state.exists()
    (root / "new").write_text("not in the commit")
    with recorder(loaded) as record:
        record("image.build", "web", "done", digests={}, details={})
    ledger = open_ledger(loaded)
    commits = [entry.git_commit for entry in ledger.entries()]
    assert commits == [head.stdout.strip()] * 2 + [f"{head.stdout.strip()}-dirty"]
    assert ledger.verify() is None
    ledger.close()


def test_a_ledger_that_cannot_be_written_is_said(state: Path) -> None:
    with recorder(None) as record:
        with sqlite3.connect(state / "ledger.db") as connection:
            connection.execute("DROP TABLE audit_entry")
        with pytest.raises(FleetError, match="cannot be used: no such table"):
            record("fleet.reboot", "h1", "done", digests={}, details={})
