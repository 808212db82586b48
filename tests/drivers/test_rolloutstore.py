"""Rollouts and journals in the ledger's database: append-only, whole batches, no gaps."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootcfleet.domain.rollout_journal import (
    MANY,
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
)
from bootcfleet.drivers import ledgerhold
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.ledgerhold import held, hold
from bootcfleet.drivers.rolloutrows import DamagedJournalError
from bootcfleet.drivers.rolloutstore import RolloutStore, RolloutTakenError
from bootcfleet.errors import FleetError, UsageError

NOW = datetime(2026, 11, 21, 3, 1, tzinfo=UTC)
ID = "20261121-030100-a1b2"


def a_record(rollout_id: str = ID, **more: Any) -> RolloutRecord:
    body = {"waves": [["web1"], ["web2"]], "odd": "ü \0 \udc80"}
    return RolloutRecord(rollout_id, "upgrade", NOW, "ann@here", body=body, **more)


def a_host(host: str, phase: str = "staging", **more: Any) -> NewEntry:
    return NewEntry(EntryKind.HOST, host, {"phase": phase, **more})


@pytest.fixture
def store(tmp_path: Path) -> RolloutStore:
    store = RolloutStore.open_url("sqlite:///ledger.db", base=tmp_path)
    store.create(a_record(about={"hosts": 2, "waves": 2}))
    return store


def append(store: RolloutStore, *entries: NewEntry, rollout: str = ID) -> list[JournalEntry]:
    return store.append(rollout, entries, at=NOW, actor="ann@here")


def test_what_is_written_is_read_again(store: RolloutStore) -> None:
    assert store.record(ID) == a_record(about={"hosts": 2, "waves": 2})
    assert store.entries(ID) == []
    first = append(store, NewEntry(EntryKind.STARTED, body={"controller": "here"}))
    more = append(store, a_host("web1", note="ü \0 \udc80"), a_host("web2", at=None, n=[1, 2]))
    assert [entry.number for entry in first + more] == [1, 2, 3]
    assert more[0] == JournalEntry(
        2, NOW, EntryKind.HOST, "web1", "ann@here", {"phase": "staging", "note": "ü \0 \udc80"}
    )
    assert store.entries(ID) == first + more
    assert store.entries(ID, after=2) == more[1:]
    assert store.entries(ID, after=3) == []
    assert append(store) == []
    store.create(a_record("other"))
    assert [e.number for e in append(store, a_host("web1"), rollout="other")] == [1]


def test_what_cannot_be_written(store: RolloutStore) -> None:
    with pytest.raises(FleetError, match=f"^there is a rollout {ID} already$"):
        store.create(a_record())
    for bad in ("", "a b", "a/b", "ü", "x" * 65):
        with pytest.raises(UsageError, match="cannot be a rollout's id"):
            store.create(a_record(bad))
    with pytest.raises(UsageError, match=r"^there is no rollout 'gone' in the ledger /"):
        append(store, a_host("web1"), rollout="gone")
    with pytest.raises(TypeError):
        append(store, a_host("web1"), a_host("web2", at=NOW))
    assert store.entries(ID) == []


def test_a_batch_is_part_of_an_outer_write(store: RolloutStore, tmp_path: Path) -> None:
    """Of the audit entry and the journal's, both are there or neither."""
    ledger = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    store = RolloutStore.open(ledger.db)

    def both(number: int) -> int:
        ledger.record("rollout.pause", ID, "done", actor="ann@here", now=NOW)
        append(store, NewEntry(EntryKind.PAUSED))
        return 1 // number

    with pytest.raises(ZeroDivisionError), ledger.db.write():
        both(0)
    assert (store.entries(ID), ledger.entries()) == ([], [])
    with ledger.db.write():
        both(1)
    assert (len(store.entries(ID)), len(ledger.entries())) == (1, 1)


def test_finding(store: RolloutStore, tmp_path: Path) -> None:
    store.create(a_record("20261121-040100-c3d4"))
    store.create(a_record("20261122-040100-e5f6"))
    assert store.find().id == store.find("last").id == "20261122-040100-e5f6"
    assert store.find(ID).id == store.find("20261121-03").id == ID
    where = tmp_path / "ledger.db"
    with pytest.raises(UsageError) as caught:
        store.find("20261121")
    assert caught.value.message == "'20261121' is the beginning of 2 rollouts"
    assert caught.value.hint == f"one of 20261121-040100-c3d4, {ID}"
    with pytest.raises(UsageError) as caught:
        store.find("20261121-030100-a1b3")
    assert (
        caught.value.message == f"there is no rollout '20261121-030100-a1b3' in the ledger {where}"
    )
    assert (caught.value.hint or "").startswith(
        f"did you mean {ID}? bootcfleet rollout list shows them; a rollout that was begun on "
        "another machine"
    )
    with pytest.raises(UsageError, match=r"^there is no rollout '' in the ledger "):
        store.find("")
    empty = RolloutStore.open_url("sqlite:///empty.db", base=tmp_path)
    with pytest.raises(UsageError, match=f"^there is no rollout in the ledger {tmp_path}/empty.db"):
        empty.find()
    assert empty.all() == []


def test_listing(store: RolloutStore) -> None:
    append(
        store,
        NewEntry(EntryKind.STARTED, body={"controller": "one"}),
        a_host("web1"),
        NewEntry(EntryKind.STARTED, body={"controller": "two"}),
        NewEntry(EntryKind.HALTED, body={"reason": "bad"}),
        a_host("web1", "failed"),
    )
    store.create(a_record("second"))
    (second, nothing), (first, summary) = store.all()
    assert (second.id, nothing.entries, nothing.newest, nothing.unfinished) == (
        "second",
        0,
        {},
        True,
    )
    assert (first.id, first.body, first.about) == (ID, {}, {"hosts": 2, "waves": 2})
    assert summary.entries == 5
    assert set(summary.newest) == {EntryKind.STARTED, EntryKind.HALTED}
    assert summary.newest[EntryKind.STARTED].body == {"controller": "two"}
    assert summary.number(EntryKind.STARTED, EntryKind.HALTED) == 4
    assert summary.number(EntryKind.FINISHED) == 0
    assert summary.unfinished
    assert [record.id for record, _ in store.all(1)] == ["second"]


def test_what_is_open(store: RolloutStore) -> None:
    def ids() -> list[str]:
        listed = [record.id for record, _ in store.all(open_only=True)]
        assert listed == [record.id for record, summary in store.all() if summary.unfinished]
        return listed

    store.create(a_record("second"))
    assert ids() == ["second", ID]
    append(store, NewEntry(EntryKind.STARTED))
    assert ids() == ["second", ID]
    append(store, NewEntry(EntryKind.FINISHED, body={"outcome": "failed"}))
    assert ids() == ["second"]
    append(store, NewEntry(EntryKind.NOTE), a_host("web1"))
    assert ids() == ["second"]
    append(store, NewEntry(EntryKind.RETRY, "web1"))
    assert ids() == ["second", ID]
    assert [record.id for record, _ in store.all(1, open_only=True)] == ["second"]


def test_reading_and_listing_use_indexes(store: RolloutStore, tmp_path: Path) -> None:
    """Of a journal of a million entries, a poll and a list must not read them all."""
    said: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            said.append(statement)

    sa.event.listen(store.db.engine, "before_cursor_execute", note)
    store.entries(ID, after=3)
    store.all()
    store.all(open_only=True)
    store.append(ID, [NewEntry(EntryKind.STARTED)], at=NOW, actor="me", started=1)
    sa.event.remove(store.db.engine, "before_cursor_execute", note)
    assert len(said) > 6
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        for statement in said:
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN {statement}", ["x"] * statement.count("?")
            )
            for *_, step in plan:
                if "rollout_entry" in step:
                    assert "SEARCH" in step or "rollout_entry_few" in step, (statement, step)


def test_a_controller_that_was_believed_dead_writes_no_more(store: RolloutStore) -> None:
    (mine,) = append(store, NewEntry(EntryKind.STARTED, body={"controller": "one"}))
    store.append(ID, [a_host("web1")], at=NOW, actor="a", started=mine.number)
    (theirs,) = append(store, NewEntry(EntryKind.STARTED, body={"controller": "two"}))
    with pytest.raises(RolloutTakenError, match=f"^the rollout {ID} was taken up by two$"):
        store.append(ID, [a_host("web1")], at=NOW, actor="a", started=mine.number)
    store.append(ID, [a_host("web1")], at=NOW, actor="b", started=theirs.number)
    assert len(store.entries(ID)) == 4


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rollout SET body = '{}'",
        "UPDATE rollout_entry SET body = '{}'",
        "DELETE FROM rollout",
        "DELETE FROM rollout_entry",
        "REPLACE INTO rollout SELECT * FROM rollout",
        "REPLACE INTO rollout SELECT 2, id, operation, at, actor, about, '{}' FROM rollout",
        "REPLACE INTO rollout_entry SELECT * FROM rollout_entry",
        "INSERT INTO rollout SELECT 3, 'x', operation, at, actor, about, body FROM rollout",
        "INSERT INTO rollout_entry SELECT rollout, 4, at, kind, host, actor, body "
        "FROM rollout_entry WHERE number = 1",
        "INSERT INTO rollout_entry SELECT 'y', 2, at, kind, host, actor, body "
        "FROM rollout_entry WHERE number = 1",
    ],
)
def test_nothing_can_be_changed(store: RolloutStore, tmp_path: Path, statement: str) -> None:
    append(store, a_host("web1"), a_host("web2"))
    with (
        sqlite3.connect(tmp_path / "ledger.db") as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)
    assert len(store.entries(ID)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("body = 'no JSON'", "was changed after it was written: it cannot be read"),
        ("body = '[]'", "was changed after it was written: it cannot be read"),
        ("at = 'noon'", "was changed after it was written: it cannot be read"),
        ("kind = 'new'", "is of a kind that this bootcfleet does not know: 'new'"),
    ],
)
def test_damage(store: RolloutStore, tmp_path: Path, change: str, message: str) -> None:
    append(store, a_host("web1"), NewEntry(EntryKind.PAUSED), a_host("web2"))
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DROP TRIGGER rollout_entry_no_update")
        connection.execute("DROP TRIGGER rollout_entry_no_delete")
        connection.execute(f"UPDATE rollout_entry SET {change} WHERE number = 2")
    with pytest.raises(DamagedJournalError) as caught:
        store.entries(ID)
    assert caught.value.message == f"entry 2 of the rollout {ID} {message}"
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DELETE FROM rollout_entry WHERE number = 2")
    with pytest.raises(DamagedJournalError) as caught:
        store.entries(ID)
    assert caught.value.message == (
        f"entry 2 of the rollout {ID} is missing: entry 3 stands in its place"
    )
    assert [entry.number for entry in store.entries(ID, after=2)] == [3]


def test_a_damaged_plan(store: RolloutStore, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DROP TRIGGER rollout_no_update")
        connection.execute("UPDATE rollout SET body = '{'")
    with pytest.raises(DamagedJournalError, match="its plan cannot be read"):
        store.record(ID)
    assert [record.id for record, _ in store.all()] == [ID]


def test_a_newer_schema_is_said_while_its_controller_writes(
    store: RolloutStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootcfleet.drivers.ledgerdb._PATIENCE", 0.1)
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("UPDATE rollout_schema SET version = 9")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(FleetError, match=r"a newer bootcfleet \(schema 9\)"):
            RolloutStore.open_url("sqlite:///ledger.db", base=tmp_path)
        other.execute("ROLLBACK")


def test_a_newer_schema(store: RolloutStore, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE rollout_schema SET version = 9")
    with pytest.raises(FleetError, match=r"a newer bootcfleet \(schema 9\)"):
        RolloutStore.open_url("sqlite:///ledger.db", base=tmp_path)


def test_to_read_nobody_needs_a_turn(store: RolloutStore, tmp_path: Path) -> None:
    """However long somebody writes."""
    append(store, a_host("web1"))
    with store.db.write():
        other = RolloutStore.open_url("sqlite:///ledger.db", base=tmp_path)
        assert len(other.entries(ID)) == 1
        assert other.find().id == ID
        other.close()


# --- many writers, and writers that are killed --------------------------------------------


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(1, 4), max_size=6), min_size=1, max_size=4))
def test_any_interleaving_of_appenders(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    """Each thread is a controller of its own, with a database connection of its own."""
    base = tmp_path_factory.mktemp("many")
    store = RolloutStore.open_url("sqlite:///l.db", base=base)
    for rollout in ("one", "two"):
        store.create(a_record(rollout))
    start = threading.Barrier(len(batches))
    wrong: list[BaseException] = []

    def work(writer: int, sizes: list[int]) -> None:
        try:
            own = RolloutStore.open_url("sqlite:///l.db", base=base)
            start.wait(30)
            for batch, size in enumerate(sizes):
                rollout = ("one", "two")[(writer + batch) % 2]
                entries = [a_host(f"w{writer}", batch=batch, part=part) for part in range(size)]
                got = own.append(rollout, entries, at=NOW, actor="me")
                assert [dict(e.body) for e in got] == [dict(e.body) for e in entries]
                assert own.entries(rollout, after=got[0].number - 1)[:size] == got
            own.close()
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            wrong.append(error)

    threads = [
        threading.Thread(target=work, args=(number, sizes)) for number, sizes in enumerate(batches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    seen = {rollout: store.entries(rollout) for rollout in ("one", "two")}
    assert sum(len(entries) for entries in seen.values()) == sum(map(sum, batches))
    for entries in seen.values():
        # Numbers without gaps are checked by `entries`; batches are whole and in order.
        latest: dict[str, int] = {}
        at = 0
        while at < len(entries):
            first = entries[at]
            size = batches[int(first.host[1:])][first.body["batch"]]
            block = entries[at : at + size]
            assert [(e.host, e.body["batch"]) for e in block] == [
                (first.host, first.body["batch"])
            ] * size
            assert [e.body["part"] for e in block] == list(range(size))
            assert latest.get(first.host, -1) < first.body["batch"]
            latest[first.host] = first.body["batch"]
            at += size
    store.close()


def append_for_ever(url: str, base: Path, told: Any, seed: int) -> None:
    store = RolloutStore.open_url(url, base=base)
    chance = random.Random(seed)
    batch = 0
    while True:
        size = chance.choice((1, 3, 40))
        entries = [a_host(f"w{seed}", batch=batch, part=n, size=size) for n in range(size)]
        store.append(ID, entries, at=NOW, actor="me")
        # What was said to be written must be there, whatever comes.
        os.write(told.fileno(), b".")
        batch += 1


def kill_appenders(url: str, base: Path, rounds: int) -> None:
    """Two processes that append to a rollout, killed at random, again and again.

    Batches are whole, and none that was told is lost.
    """
    chance = random.Random(5)
    context = multiprocessing.get_context("spawn")
    told: dict[int, int] = {}
    for round_ in range(rounds):
        writers = []
        for seed in (round_ * 2, round_ * 2 + 1):
            reader, sender = context.Pipe(duplex=False)
            process = context.Process(target=append_for_ever, args=(url, base, sender, seed))
            process.start()
            sender.close()
            writers.append((seed, reader, process))
        wanted = chance.randrange(3, 15)
        for seed, reader, _ in writers:
            told[seed] = 0
            while told[seed] < wanted:
                told[seed] += len(os.read(reader.fileno(), 1))
        for _, _, process in writers:
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join(30)
        for seed, reader, _ in writers:
            while more := os.read(reader.fileno(), 4096):
                told[seed] += len(more)
        again = RolloutStore.open_url(url, base=base)
        # Its turn comes when the server knows that the killed ones are gone.
        again.append(ID, [NewEntry(EntryKind.NOTE)], at=NOW, actor="me")
        check_whole(again.entries(ID), told)
        again.close()


def check_whole(entries: list[JournalEntry], told: dict[int, int]) -> None:
    """No number is missing, and of each writer all batches that it told, or one more."""
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    batches: dict[str, list[tuple[int, int, int]]] = {}
    for entry in entries:
        if entry.kind is EntryKind.HOST:
            body = entry.body
            batches.setdefault(entry.host, []).append((body["batch"], body["part"], body["size"]))
    for seed, count in told.items():
        parts = batches[f"w{seed}"]
        at = batch = 0
        while at < len(parts):
            size = parts[at][2]
            assert parts[at : at + size] == [(batch, n, size) for n in range(size)]
            at, batch = at + size, batch + 1
        assert batch in (count, count + 1)


@pytest.mark.usefixtures("store")
def test_kill_9_in_the_middle_of_appends(tmp_path: Path) -> None:
    kill_appenders("sqlite:///ledger.db", tmp_path, rounds=4)


def test_a_batch_of_500_is_one_transaction(store: RolloutStore) -> None:
    statements: list[tuple[str, bool]] = []

    def note(_c: Any, _cursor: Any, statement: str, _p: Any, _x: Any, many: bool) -> None:
        statements.append((statement.split()[0], many))

    append(store, a_host("web1"))
    sa.event.listen(store.db.engine, "before_cursor_execute", note)
    append(store, *(a_host(f"h{number}") for number in range(500)))
    assert statements == [("BEGIN", False), ("SELECT", False), ("INSERT", True)]
    assert len(store.entries(ID)) == 501


# --- who holds a rollout ------------------------------------------------------------------


def test_a_hold_ends_with_its_process(store: RolloutStore, tmp_path: Path) -> None:
    assert not store.held(ID)
    script = (
        "import sys, time; from pathlib import Path\n"
        "from bootcfleet.drivers.rolloutstore import RolloutStore\n"
        "store = RolloutStore.open_url('sqlite:///ledger.db', base=Path(sys.argv[1]))\n"
        "with store.hold(sys.argv[2]) as held:\n"
        "    assert held is not None\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), ID], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert store.held(ID)
        assert not store.held("other")
        with store.hold(ID) as taken:
            assert taken is None
    finally:
        process.kill()
        process.communicate()
    assert not store.held(ID)
    with store.hold(ID) as taken:
        assert taken is not None
        assert not taken.lost()
        assert store.held(ID)
    assert not store.held(ID)
    assert list(tmp_path.glob("*.lock")) == []
    assert not store.held(ID)
    assert list(tmp_path.glob("*.lock")) == [], "to look makes no file"


def test_only_one_holds_while_others_look(store: RolloutStore) -> None:
    """Holders that come and go, and lookers: never two at once, however they meet."""
    inside, most, held_once = 0, 0, 0
    guard, stop = threading.Lock(), threading.Event()

    def take() -> None:
        nonlocal inside, most, held_once
        for _ in range(150):
            with hold(store.db, "x") as taken:
                if taken is None:
                    continue
                with guard:
                    inside += 1
                    held_once += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    def look() -> None:
        while not stop.is_set():
            held(store.db, "x")

    takers = [threading.Thread(target=take) for _ in range(4)]
    looker = threading.Thread(target=look)
    for thread in (*takers, looker):
        thread.start()
    for thread in takers:
        thread.join(60)
    stop.set()
    looker.join(60)
    assert most == 1
    assert held_once > 4


def test_to_look_keeps_nobody_out(
    store: RolloutStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks has the file's lock for a moment: it is tried again, not for ever."""
    path = tmp_path / f"ledger.db.rollout-{ID}.lock"
    looker = os.open(path, os.O_RDONLY | os.O_CREAT)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            fcntl.flock(looker, fcntl.LOCK_UN)

    monkeypatch.setattr(ledgerhold.time, "sleep", wait)
    fcntl.flock(looker, fcntl.LOCK_SH)
    with store.hold(ID) as taken:
        assert taken is not None
        assert len(waits) == 3
    looker = os.open(path, os.O_RDONLY | os.O_CREAT)
    fcntl.flock(looker, fcntl.LOCK_SH)
    waits[:] = [0] * 3
    with store.hold(ID) as taken:
        assert taken is None
    os.close(looker)


def test_the_many_are_those_that_grow_with_the_hosts() -> None:
    assert {EntryKind.STARTED, EntryKind.FINISHED, EntryKind.WAVE, EntryKind.RETRY}.isdisjoint(MANY)
