"""Rollouts in a real PostgreSQL: several writers, kill -9, and who holds what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore, RolloutTakenError
from tests.drivers.test_rolloutstore import ID, NOW, a_host, a_record, append, kill_appenders
from tests.integration.postgresqlserver import PASSWORD

pytestmark = pytest.mark.integration


@pytest.fixture
def store(empty_database: str, tmp_path: Path) -> Iterator[RolloutStore]:
    store = RolloutStore.open_url(empty_database, base=tmp_path)
    store.create(a_record(about={"hosts": 2}))
    yield store
    store.close()


def test_written_and_read(store: RolloutStore) -> None:
    assert store.record(ID) == a_record(about={"hosts": 2})
    entries = append(
        store,
        NewEntry(EntryKind.STARTED, body={"controller": "here"}),
        *(a_host(f"h{number}", odd="ü \0 \udc80") for number in range(500)),
        NewEntry(EntryKind.FINISHED, body={"outcome": "done"}),
    )
    assert store.entries(ID) == entries
    assert store.entries(ID, after=400) == entries[400:]
    ((record, summary),) = store.all()
    assert (record.id, record.about, summary.entries) == (ID, {"hosts": 2}, 502)
    assert dict(summary.newest) == {
        EntryKind.STARTED: entries[0],
        EntryKind.FINISHED: entries[-1],
    }
    assert store.all(open_only=True) == []
    (retry,) = append(store, NewEntry(EntryKind.RETRY, "h1"))
    ((_, summary),) = store.all(open_only=True)
    assert summary.newest[EntryKind.RETRY] == retry
    assert store.find(ID[:9]).id == store.find().id == ID


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rollout SET body = '{}'",
        "UPDATE rollout_entry SET body = '{}'",
        "DELETE FROM rollout",
        "DELETE FROM rollout_entry",
        "TRUNCATE rollout",
        "TRUNCATE rollout_entry",
        "INSERT INTO rollout SELECT 3, 'x', operation, at, actor, about, body FROM rollout",
        "INSERT INTO rollout_entry SELECT rollout, 4, at, kind, host, actor, body "
        "FROM rollout_entry WHERE number = 1",
        "INSERT INTO rollout_entry SELECT rollout, 2, at, kind, host, actor, body "
        "FROM rollout_entry WHERE number = 1",
    ],
)
def test_nothing_can_be_changed(store: RolloutStore, statement: str) -> None:
    append(store, a_host("web1"), a_host("web2"))
    with (
        store.db.engine.connect() as connection,
        pytest.raises(sa.exc.DatabaseError, match="append-only"),
    ):
        connection.execute(sa.text(statement))
    assert len(store.entries(ID)) == 2


def test_two_writers_at_once(store: RolloutStore, empty_database: str, tmp_path: Path) -> None:
    wrong: list[BaseException] = []

    def write(name: str) -> None:
        try:
            own = RolloutStore.open_url(empty_database, base=tmp_path)
            for batch in range(20):
                entries = [a_host(name, batch=batch, part=part) for part in range(5)]
                got = own.append(ID, entries, at=NOW, actor=name)
                assert own.entries(ID, after=got[0].number - 1)[:5] == got
            own.close()
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    entries = store.entries(ID)
    assert len(entries) == 300
    for at in range(0, 300, 5):
        block = entries[at : at + 5]
        assert len({(entry.host, entry.actor, entry.body["batch"]) for entry in block}) == 1
    for name in ("a", "b", "c"):
        own = [(e.body["batch"], e.body["part"]) for e in entries if e.host == name]
        assert own == [(batch, part) for batch in range(20) for part in range(5)]


@pytest.mark.usefixtures("store")
def test_kill_9_in_the_middle_of_appends(empty_database: str, tmp_path: Path) -> None:
    kill_appenders(empty_database, tmp_path, rounds=2)


def test_who_holds_a_rollout(store: RolloutStore, empty_database: str, tmp_path: Path) -> None:
    other = RolloutStore.open_url(empty_database, base=tmp_path)
    assert not other.held(ID)
    with store.hold(ID) as mine:
        assert mine is not None
        assert other.held(ID)
        assert store.held(ID)
        assert not other.held("other")
        with other.hold(ID) as theirs:
            assert theirs is None
        with other.db.engine.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        assert mine.lost()
        assert not other.held(ID)
        # The connection is gone and another takes it up: the first one writes no more.
        (first,) = append(store, NewEntry(EntryKind.STARTED, body={"controller": "one"}))
        with other.hold(ID) as theirs:
            assert theirs is not None
            append(other, NewEntry(EntryKind.STARTED, body={"controller": "two"}))
            with pytest.raises(RolloutTakenError, match=r"was taken up by two$"):
                store.append(ID, [a_host("h")], at=NOW, actor="me", started=first.number)
    assert not other.held(ID)
    other.close()


def test_a_hold_of_one_database_is_not_that_of_another(
    store: RolloutStore, postgresql: str, tmp_path: Path
) -> None:
    elsewhere = RolloutStore.open_url(postgresql, base=tmp_path)
    with store.hold(ID):
        assert not elsewhere.held(ID)
        with elsewhere.hold(ID) as held:
            assert held is not None
    elsewhere.close()


def test_a_user_who_may_only_add_and_read(
    store: RolloutStore, empty_database: str, tmp_path: Path
) -> None:
    """The rights of docs/ledger.md, and no others."""
    grants = [
        line.removesuffix(";").replace("admins", "rolloutadmin")
        for line in (Path(__file__).parents[2] / "docs/ledger.md").read_text().splitlines()
        if line.startswith("GRANT ")
    ]
    Ledger.open(empty_database, base=tmp_path).close()
    with store.db.engine.begin() as connection:
        connection.execute(sa.text(f"CREATE ROLE rolloutadmin LOGIN PASSWORD '{PASSWORD}'"))
        for grant in grants:
            if "channel" not in grant:
                connection.execute(sa.text(grant))
    own = RolloutStore.open_url(
        empty_database.replace("bootcfleet@", "rolloutadmin@"), base=tmp_path
    )
    own.create(a_record("mine"))
    append(own, NewEntry(EntryKind.STARTED), rollout="mine")
    with own.hold("mine") as held:
        assert held is not None
        assert own.held("mine")
    assert [record.id for record, _ in own.all()] == ["mine", ID]
    with (
        own.db.engine.connect() as connection,
        pytest.raises(sa.exc.DatabaseError, match="permission denied"),
    ):
        connection.execute(sa.text("DELETE FROM rollout_entry"))
    own.close()
