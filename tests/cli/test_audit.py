"""`bootcfleet audit`: what it shows, filters, and the chain that it checks."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers.ledger import Ledger


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No project around, and the user's ledger in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/bootcfleet/ledger.db"


@pytest.fixture
def two(database: Path) -> None:
    """Two entries, the first ten days old."""
    ledger = Ledger.open("sqlite:///ledger.db", base=database.parent)
    for number, outcome in enumerate(("updated", "failed")):
        ledger.record(
            ("fleet.upgrade.host", "fleet.rollback.host")[number],
            f"h{number}",
            outcome,
            actor="me@here",
            now=datetime.now(UTC) - timedelta(days=10 * (1 - number)),
            git_commit="c" * 40 + ("-dirty" if number else ""),
            digests={"before": "sha256:" + "a" * 64, "after": "sha256:" + "b" * 64},
        )
    ledger.close()


def outcomes(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert run(["audit", "--json", *words]) == 0
    return [entry["outcome"] for entry in json.loads(capsys.readouterr().out)]


def test_nothing_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit"]) == 0
    assert capsys.readouterr().out == "no entries\n"
    assert run(["audit", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["audit", "--verify"]) == 0
    assert capsys.readouterr().out == "the chain holds: 0 entries\n"


def test_the_table(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "--subject", "h1"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["WHEN", "WHO", "ACTION", "SUBJECT", "OUTCOME", "DIGEST", "COMMIT"]
    assert "aaaaaaaaaaaa → bbbbbbbbbbbb" in row
    assert row.endswith(" " + "c" * 12 + "-dirty")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["updated", "failed"]),
        (["--action", "fleet"], ["updated", "failed"]),
        (["--action", "fleet.upgrade"], ["updated"]),
        (["--action", "fleet.up"], []),
        (["--action", "fleet.%"], []),
        (["--subject", "h0"], ["updated"]),
        (["--since", "2d"], ["failed"]),
        (["--since", "2w"], ["updated", "failed"]),
        (["--since", "9999-01-01"], []),
        (["--since", "2020-01-01T00:00:00+02:00"], ["updated", "failed"]),
        (["--limit", "1"], ["failed"]),
    ],
)
def test_filters(
    two: None, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    assert outcomes(capsys, *words) == expected


@pytest.mark.parametrize("since", ["soon", "2y", "-1d", "9999-12-31T23:59:59-14:00", ""])
def test_times_that_are_none(since: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "--since", since]) == 2
    assert f"{since!r} is not a time" in capsys.readouterr().err


def test_the_chain_holds(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "--json"]) == 0
    last = json.loads(capsys.readouterr().out)[-1]["hash"]
    assert run(["audit", "--verify"]) == 0
    assert capsys.readouterr().out == f"the chain holds: 2 entries, the last one {last}\n"
    assert run(["audit", "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "entries": 2, "last": last}


def tamper(database: Path, statement: str) -> None:
    """As somebody with every right on the database can."""
    with sqlite3.connect(database) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (name,) in connection.execute(query).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM audit_entry WHERE number = 1", "entry 1 is missing"),
        ("UPDATE audit_entry SET number = 9 WHERE number = 2", "entry 2 is missing"),
        ("UPDATE audit_entry SET previous = hash WHERE number = 2", "entry 2 does not follow"),
        ("UPDATE audit_entry SET outcome = 'done' WHERE number = 2", "entry 2 was changed"),
        # What cannot be read, or reads the same and is not what was written.
        ("UPDATE audit_entry SET details = '{' WHERE number = 2", "entry 2 was changed"),
        ("UPDATE audit_entry SET details = '[]' WHERE number = 2", "entry 2 was changed"),
        ("UPDATE audit_entry SET details = '{ }' WHERE number = 2", "entry 2 was changed"),
        ("UPDATE audit_entry SET at = 'yesterday' WHERE number = 2", "entry 2 was changed"),
        ("UPDATE audit_entry SET at = replace(at, 'T', ' ')", "entry 1 was changed"),
        ("UPDATE audit_entry SET subject = x'00ff' WHERE number = 2", "entry 2 was changed"),
        ("UPDATE audit_entry SET git_commit = x'63' WHERE number = 2", "entry 2 was changed"),
    ],
)
def test_the_chain_is_broken(
    two: None,
    database: Path,
    capsys: pytest.CaptureFixture[str],
    statement: str,
    words: str,
) -> None:
    tamper(database, statement)
    assert run(["audit", "--verify"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert run(["audit", "--verify", "--json"]) == 3
    assert json.loads(capsys.readouterr().err)["error"]["exit_code"] == 3
    # The entries that can be read are shown; one that cannot is named.
    code = run(["audit"])
    shown = capsys.readouterr()
    assert (code == 0 and shown.out) or (code == 1 and words in shown.err)


def test_a_cut_end_shows_against_a_noted_hash(
    two: None, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "--verify", "--json"]) == 0
    noted = json.loads(capsys.readouterr().out)["last"]
    assert run(["audit", "--verify", "--noted", noted]) == 0
    tamper(database, "DELETE FROM audit_entry WHERE number = 2")
    assert run(["audit", "--verify"]) == 0
    capsys.readouterr()
    assert run(["audit", "--verify", "--noted", noted]) == 3
    assert f"no entry has the hash {noted}" in capsys.readouterr().err
    assert run(["audit", "--noted", noted]) == 2
    assert "--verify --noted" in capsys.readouterr().err


def test_the_table_says_what_it_leaves_out_and_json_leaves_out_nothing(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger.open("sqlite:///ledger.db", base=database.parent)
    for number in range(51):
        ledger.record("fleet.exec", f"h{number}", "done", actor="me", now=datetime.now(UTC))
    ledger.close()
    assert run(["audit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 50 + 1
    assert " h50 " in lines[-2]
    assert "--limit" in lines[-1]
    assert len(outcomes(capsys)) == 51
    assert run(["audit", "--limit", "51"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 52


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://db:port/x", "is not a database URL"),
        ("mysql://db/x", "a ledger cannot be in mysql"),
        ("postgresql+asyncpg://db/x", "a ledger cannot be in postgresql+asyncpg"),
        ("sqlite:////proc/none/ledger.db", "cannot be made"),
    ],
)
def test_a_projects_ledger_that_cannot_be_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, words: str
) -> None:
    text = f"version: 1\nname: acme\nregistry: r.example/a\nledger: {url}\n"
    (tmp_path / "bootcfleet.yaml").write_text(text)
    assert run(["audit"]) in {1, 2}
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
