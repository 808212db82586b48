"""The ledger: a chain that holds under many writers, crashes and tampering."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.audit import GENESIS, AuditEntry, verify_chain
from bootcfleet.drivers import ledgerdb
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.errors import FleetError, UsageError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def write(ledger: Ledger, subject: str = "h1", action: str = "fleet.upgrade") -> AuditEntry:
    return ledger.record(
        action,
        subject,
        "done",
        actor="me@here",
        now=NOW,
        git_commit="c" * 40,
        digests={"before": "sha256:a", "after": "sha256:b"},
        details={"text": "ü \U0001f600", "number": 1, "when": NOW},
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open("sqlite:///state/ledger.db", base=tmp_path)


def test_what_is_recorded_is_read_again(ledger: Ledger) -> None:
    first, second = write(ledger), write(ledger, "h2", "fleet.upgrade.host")
    assert ledger.entries() == [first, second]
    assert (first.previous, second.previous) == (GENESIS, first.hash)
    assert ledger.verify() is None
    assert ledger.entries(action="fleet.upgrade") == [first, second]
    assert ledger.entries(action="fleet.upgrade.host") == [second]
    assert ledger.entries(action="fleet") == [first, second]
    assert ledger.entries(action="fle") == []
    assert ledger.entries(subject="h2") == [second]
    assert ledger.entries(limit=1) == [second]
    assert ledger.entries(since=datetime(2027, 1, 1, tzinfo=UTC)) == []


def test_it_is_durable_sqlite(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.db.engine.connect() as connection:
        mode = connection.execute(sa.text("PRAGMA journal_mode")).scalar()
        synchronous = connection.execute(sa.text("PRAGMA synchronous")).scalar()
    assert (mode, synchronous) == ("wal", 2)


COPY = "INSERT INTO audit_entry"
COLUMNS = "at, actor, action, subject, outcome, git_commit, digests, details"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor = 'x'",
        "DELETE FROM audit_entry",
        f"{COPY.replace('INSERT', 'REPLACE')} SELECT 1, {COLUMNS}, previous, hash FROM audit_entry",
        f"{COPY.replace('INSERT', 'INSERT OR REPLACE')} "
        f"SELECT 2, {COLUMNS}, previous, hash FROM audit_entry",
        f"{COPY} SELECT 2, {COLUMNS}, previous, 'h' FROM audit_entry",  # a fork
        f"{COPY} SELECT 3, {COLUMNS}, hash, 'h' FROM audit_entry",  # a gap
    ],
)
def test_entries_cannot_be_changed_or_removed(
    ledger: Ledger, tmp_path: Path, statement: str
) -> None:
    write(ledger)
    with (
        sqlite3.connect(tmp_path / "state/ledger.db") as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)


def test_tampering_behind_the_triggers_is_found(ledger: Ledger, tmp_path: Path) -> None:
    for _ in range(3):
        write(ledger)
    with sqlite3.connect(tmp_path / "state/ledger.db") as connection:
        connection.execute("DROP TRIGGER audit_entry_no_update")
        connection.execute("UPDATE audit_entry SET actor = 'somebody' WHERE number = 2")
    assert ledger.verify() == "entry 2 was changed after it was written"


entries = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), min_size=1, max_size=6)


@given(entries, st.data())
def test_any_change_breaks_the_chain(texts: list[tuple[str, str]], data: st.DataObject) -> None:
    chain: list[AuditEntry] = []
    for number, (subject, outcome) in enumerate(texts, 1):
        previous = chain[-1].hash if chain else GENESIS
        entry = AuditEntry(number, NOW, "me", "a", subject, outcome, previous=previous)
        chain.append(entry.sealed())
    assert verify_chain(chain) is None
    at = data.draw(st.integers(0, len(chain) - 1))
    changed = AuditEntry(**{**chain[at].__dict__, "outcome": chain[at].outcome + "x"})
    assert verify_chain([*chain[:at], changed, *chain[at + 1 :]]) is not None
    # An entry that was re-sealed after the change breaks the one after it.
    if at < len(chain) - 1:
        resealed = [*chain[:at], changed.sealed(), *chain[at + 1 :]]
        assert verify_chain(resealed) == f"entry {at + 2} does not follow the entry before it"
        assert verify_chain([*chain[:at], *chain[at + 1 :]]) is not None


def hammer(base: str, count: int) -> None:
    ledger = Ledger.open("sqlite:///ledger.db", base=Path(base))
    for _ in range(count):
        write(ledger, str(os.getpid()))


def test_threads_and_processes_keep_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=hammer, args=(str(tmp_path), 15)) for _ in range(3)]
    for worker in workers:
        worker.start()
    ledger = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    threads = [
        threading.Thread(target=lambda: [write(ledger) for _ in range(10)]) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for task in (*threads, *workers):
        task.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(ledger.entries()) == 75
    assert ledger.verify() is None


def test_a_writer_that_is_killed_leaves_a_whole_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=hammer, args=(str(tmp_path), 100_000))
    worker.start()
    ledger = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    deadline = time.monotonic() + 30
    while len(ledger.entries(limit=20)) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    assert ledger.verify() is None
    write(ledger, "after")
    assert ledger.verify() is None
    assert len(ledger.entries()) > 20


def test_a_new_ledger_while_another_process_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses the change to WAL at once while somebody writes, whatever the timeout is."""
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        other.execute("COMMIT")

    monkeypatch.setattr(ledgerdb.time, "sleep", sleep)
    ledger = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    other.close()
    assert len(waited) == 1
    write(ledger)
    assert ledger.verify() is None


def test_a_ledger_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgerdb, "_PATIENCE", 0.0)
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(FleetError, match="database is locked") as caught:
            Ledger.open("sqlite:///ledger.db", base=tmp_path)
    assert "another process may hold it" in (caught.value.hint or "")


def test_a_ledger_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(FleetError, match="unable to open database file") as caught:
        Ledger.open("sqlite:///ledger.db", base=tmp_path)
    assert caught.value.hint == f"see whether you may write there: ls -ld {tmp_path}"


@pytest.mark.parametrize("text", ["\udcff", "a\0b", "\u00fc \U0001f600", "'; DROP TABLE x; --", ""])
def test_any_text_is_kept(ledger: Ledger, text: str) -> None:
    """Words of a command line are bytes: they need be no UTF-8."""
    entry = ledger.record(
        text, text, text, actor=text, now=NOW, digests={text: text}, details={text: [text]}
    )
    assert ledger.entries() == [entry]
    assert ledger.verify() is None


def test_signs_of_a_pattern_mean_themselves(ledger: Ledger) -> None:
    write(ledger, action="imageXbuild.push")
    assert ledger.entries(action="image_build") == []
    assert ledger.entries(action="image%") == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all, " * 100)
    with pytest.raises(FleetError, match="file is not a database") as caught:
        Ledger.open("sqlite:///ledger.db", base=tmp_path)
    assert "damaged" in (caught.value.hint or "")


def test_a_newer_schema(ledger: Ledger, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state/ledger.db") as connection:
        connection.execute("UPDATE ledger_schema SET version = 99")
    with pytest.raises(FleetError, match="newer bootcfleet"):
        Ledger.open("sqlite:///state/ledger.db", base=tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense-hunter2",
        "postgresql://me:hunter2@db:port/x",
        "mysql://me:hunter2@db/x",
        "sqlite+other:///x",
    ],
)
def test_urls_that_are_no_ledger(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Ledger.open(url, base=tmp_path)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
    assert list(tmp_path.iterdir()) == []


def test_two_writes_in_one_transaction(ledger: Ledger) -> None:
    """What stands in one database can be written together, or not at all."""
    with ledger.db.write():
        write(ledger)
        assert len(ledger.entries()) == 1
        write(ledger)
    assert len(ledger.entries()) == 2
    with contextlib.suppress(RuntimeError), ledger.db.write():
        write(ledger)
        raise RuntimeError
    assert len(ledger.entries()) == 2
    write(ledger)
    assert (ledger.verify(), len(ledger.entries())) == (None, 3)


def test_entries_of_a_digest(ledger: Ledger) -> None:
    one, other = ("sha256:" + digit * 64 for digit in "12")
    made = [
        ledger.record("image.check", "web", "passed", actor="a", now=NOW, digests=digests)
        for digests in ({"image": one}, {"image": other, "base": one}, {"image": other}, {})
    ]
    assert ledger.entries(digest=one) == made[:2]
    assert ledger.entries(digest=other, action="image.check", limit=1) == [made[2]]
    assert ledger.entries(digest=one[:20]) == []
