"""Histories and intents in the ledger's database: append-only, claimed whole, chained."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.channel import ChannelAction, ChannelEntry, Intent, Move, check_history
from bootcfleet.drivers.channelstore import ChannelStore, ChannelTakenError
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.ledgerhold import hold
from bootcfleet.errors import FleetError

NOW = datetime(2026, 11, 21, 3, 1, tzinfo=UTC)
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def move(image: str = "web", channel: str = "dev", number: int = 1, digest: str = A) -> Move:
    return Move(
        image=image,
        channel=channel,
        repository=f"r.example/acme/{image}",
        digest=digest,
        media_type="application/vnd.oci.image.manifest.v1+json",
        size=2,
        before=None,
        number=number,
        keep=f"{channel}-20261121T0301Z-aaaaaaaaaaaa",
        keep_before=None,
        action=ChannelAction.PROMOTE,
        why="ü",
        source="build",
    )


def intent(*moves: Move, train: str = "t1", actor: str = "ann@here") -> Intent:
    return Intent(train, NOW, actor, moves)


def done(store: ChannelStore, *moves: Move, train: str) -> tuple[ChannelEntry, ...]:
    one = intent(*moves, train=train)
    store.claim(one)
    return store.finish(one)


@pytest.fixture
def store(tmp_path: Path) -> ChannelStore:
    return ChannelStore.open_url("sqlite:///ledger.db", base=tmp_path)


def test_what_is_written_is_read_again(store: ChannelStore) -> None:
    (first,) = done(store, move(), train="t1")
    second, other = done(store, move(number=2, digest=B), move("db"), train="t2")
    assert store.history("web", "dev") == (first, second)
    assert store.current("web", "dev") == second
    assert store.current("web", "test") is None
    assert store.all() == {("db", "dev"): (other,), ("web", "dev"): (first, second)}
    assert second.previous == first.hash
    assert check_history((first, second)) is None
    assert check_history((second,)) == "entry 1 is missing: entry 2 stands in its place"
    forged = replace(first, actor="bob")
    assert check_history((forged, second)) == "entry 1 was changed after it was written"
    assert check_history((forged.sealed(), second)) == "entry 2 does not follow the entry before it"
    assert store.open_intents() == ()


def test_an_intent_claims_all_its_channels(store: ChannelStore) -> None:
    train = intent(move("web"), move("db"))
    store.claim(train)
    assert store.open_intents() == (train,)
    with pytest.raises(ChannelTakenError) as caught:
        store.claim(intent(move("soe"), move("db"), train="t2", actor="bob@there"))
    assert caught.value.message == (
        "ann@here is moving db in dev since 2026-11-21 03:01:00Z; nothing was changed"
    )
    store.claim(intent(move("soe"), move("db", "test"), train="t3"))
    store.undo(train, at=NOW, actor="ann@here", left={})
    with pytest.raises(ChannelTakenError, match="settled by somebody else"):
        store.finish(train)
    assert [one.train for one in store.open_intents()] == ["t3"]
    assert store.all() == {}


def test_a_plan_that_is_too_old(store: ChannelStore) -> None:
    done(store, move(), train="t1")
    with pytest.raises(ChannelTakenError) as caught:
        store.claim(intent(move("db"), move(digest=B), train="t2"))
    assert caught.value.message == (
        f"ann@here moved web in dev to {A} at 2026-11-21 03:01:00Z; nothing was changed"
    )
    assert store.open_intents() == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE channel_entry SET body = 'x'",
        "DELETE FROM channel_entry",
        "UPDATE channel_intent SET state = 'done'",
        "DELETE FROM channel_intent",
        "REPLACE INTO channel_entry SELECT * FROM channel_entry",
        "REPLACE INTO channel_intent SELECT * FROM channel_intent WHERE number = 1",
        "INSERT INTO channel_entry SELECT image, channel, 3, digest, hash, 'h', body "
        "FROM channel_entry",
        "INSERT INTO channel_entry SELECT image, channel, 2, digest, previous, 'h', body "
        "FROM channel_entry",
    ],
)
def test_entries_cannot_be_changed(store: ChannelStore, tmp_path: Path, statement: str) -> None:
    done(store, move(), train="t1")
    with (
        sqlite3.connect(tmp_path / "ledger.db") as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)


def test_tampering_behind_the_triggers(store: ChannelStore, tmp_path: Path) -> None:
    done(store, move(), train="t1")
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DROP TRIGGER channel_entry_no_update")
        connection.execute("UPDATE channel_entry SET body = replace(body, 'ann@', 'bob@')")
    broken = check_history(store.history("web", "dev"))
    assert broken == "entry 1 was changed after it was written"
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE channel_entry SET body = '{}'")
    with pytest.raises(FleetError, match="was changed after it was written"):
        store.history("web", "dev")


def test_restoring(store: ChannelStore, tmp_path: Path) -> None:
    (first,) = done(store, move(), train="t1")
    (second,) = done(store, move(number=2, digest=B), train="t2")
    empty = ChannelStore.open_url("sqlite:///other.db", base=tmp_path)
    assert empty.restore((first,)) == 1
    assert empty.restore((first, second)) == 1
    assert empty.restore((first, second)) == 0
    assert empty.all() == store.all()
    assert empty.restore(()) == 0
    with pytest.raises(FleetError, match="does not hold: entry 1 is missing"):
        empty.restore((second,))
    with pytest.raises(FleetError, match="another history of web dev"):
        store.restore((replace(first, actor="bob").sealed(),))
    with pytest.raises(FleetError, match="another history of web dev"):
        store.restore((first,))


def test_one_wins_of_many(tmp_path: Path) -> None:
    won: list[str] = []
    lost: list[str] = []

    def claim(number: int) -> None:
        own = ChannelStore.open_url("sqlite:///ledger.db", base=tmp_path)
        try:
            own.claim(intent(move("web"), move("db"), train=f"t{number}", actor=f"p{number}"))
            won.append(f"p{number}")
        except ChannelTakenError as error:
            lost.append(error.message)
        own.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert len(lost) == 5
    assert all(text.startswith(f"{won[0]} is moving ") for text in lost)


def test_in_one_transaction_with_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    store = ChannelStore.of(ledger.db)
    one = intent(move())
    store.claim(one)

    def both(fail: Callable[[], None]) -> None:
        with store.db.write():
            store.finish(one)
            ledger.record("channel.promote", "web", "done", actor="a", now=NOW)
            fail()

    with pytest.raises(ZeroDivisionError):
        both(lambda: print(1 // 0))
    assert (store.all(), ledger.entries(), store.open_intents()) == ({}, [], (one,))
    both(lambda: None)
    assert (len(store.all()), len(ledger.entries()), store.open_intents()) == (1, 1, ())


HOLDER = """
import sys, time
from pathlib import Path
from bootcfleet.drivers.channelstore import ChannelStore
from bootcfleet.drivers.ledgerhold import hold
with hold(ChannelStore.open_url("sqlite:///ledger.db", base=Path(sys.argv[1])).db, "t1") as held:
    print(held is not None, flush=True)
    time.sleep(600)
"""


def test_a_lock_ends_with_its_process(store: ChannelStore, tmp_path: Path) -> None:
    with hold(store.db, "t1") as held, hold(store.db, "t1") as again, hold(store.db, "t2") as other:
        assert held is not None
        assert not held.lost()
        assert (again, other is None) == (None, False)
    assert sorted(path.name for path in tmp_path.glob("*.lock")) == []
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    with hold(store.db, "t1") as held:
        assert held is None
    process.kill()
    process.wait()
    process.stdout.close()
    with hold(store.db, "t1") as held:
        assert held is not None


def test_moves_of_a_newer_version(store: ChannelStore, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute(
            "INSERT INTO channel_intent VALUES (1, 't9', 'open', ?, 'ann', ?)",
            (NOW.isoformat(), '{"moves": [{"gates": [], "teleport": true}]}'),
        )
    with pytest.raises(FleetError, match="the moves t9 cannot be read: a newer bootcfleet"):
        store.open_intents()
