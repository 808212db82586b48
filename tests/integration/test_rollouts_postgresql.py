"""Rollouts in a real PostgreSQL: several writers, kill -9, and who holds what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.ledgerhold import _SessionHold
from bootcfleet.drivers.rolloutstore import RolloutStore, RolloutTakenError
from bootcfleet.errors import FleetError
from bootcfleet.ops.audit import current_actor
from tests.drivers.test_rolloutstore import ID, NOW, a_host, a_record, append, kill_appenders
from tests.integration.postgresqlserver import PASSWORD, wait_until

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
        wait_until(lambda: not other.held(ID))
        # The connection is gone and another takes it up: the first one writes no more.
        (first,) = append(store, NewEntry(EntryKind.STARTED, body={"controller": "one"}))
        with other.hold(ID) as theirs:
            assert theirs is not None
            append(other, NewEntry(EntryKind.STARTED, body={"controller": "two"}))
            with pytest.raises(RolloutTakenError, match=r"was taken up by two$"):
                store.append(ID, [a_host("h")], at=NOW, actor="me", started=first.number)
    assert not other.held(ID)
    other.close()


def test_a_dead_machine_is_noticed_within_a_minute(
    store: RolloutStore, empty_database: str, tmp_path: Path
) -> None:
    """On both sides; the server's own settings are of two hours, and may end idle sessions."""
    with store.hold(ID) as held:
        assert isinstance(held, _SessionHold)
        connection = held._connection
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count",
                 "idle_session_timeout")  # fmt: skip
        found = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
        assert found == ["30", "10", "3", "0"]
        told = connection.connection.driver_connection.info.get_parameters()
        assert (told["keepalives_idle"], told["tcp_user_timeout"]) == ("30", "60000")
    own = RolloutStore.open_url(f"{empty_database}?keepalives_idle=5", base=tmp_path)
    with own.db.read() as connection:
        told = connection.connection.driver_connection.info.get_parameters()
        assert (told["keepalives_idle"], told["keepalives_interval"]) == ("5", "10")
    own.close()


@pytest.mark.parametrize("taken", [False, True])
def test_a_lock_that_was_lost_is_taken_again(
    store: RolloutStore, empty_database: str, tmp_path: Path, taken: bool
) -> None:
    """Unless somebody else has it by then; letting go of what was lost harms nobody."""
    other = RolloutStore.open_url(empty_database, base=tmp_path)
    with store.hold(ID) as mine:
        assert mine is not None
        with other.db.engine.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        assert mine.lost()
        assert mine.lost()
        wait_until(lambda: not other.held(ID))
        if taken:
            with other.hold(ID) as theirs:
                assert theirs is not None
                assert not mine.retake()
                assert mine.lost()
                assert not mine.retake()
                assert not theirs.lost()
        else:
            assert mine.retake()
            assert not mine.lost()
            assert other.held(ID)
    assert not other.held(ID)
    other.close()


def test_a_server_that_has_not_noticed_yet(
    store: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network broke, and the server still has our own dead session: nobody else's."""
    with store.hold(ID) as mine:
        assert isinstance(mine, _SessionHold)
        dead = mine._connection
        monkeypatch.setattr(mine, "release", lambda: None)
        with pytest.raises(FleetError, match="has not noticed yet that our connection is gone"):
            mine.retake()
        assert store.held(ID)
        monkeypatch.undo()
        assert mine.retake()
        assert dead.closed
        assert not mine.lost()
    assert not store.held(ID)


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


# --- another machine: another process, another checkout, the same ledger ---------------------

CONTROLLER = """
import sys
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase
from bootcfleet.ops.project import load_project
from bootcfleet.ops.rollouts import open_rollouts
from tests.rolloutmaker import Writer

with open_rollouts(load_project()) as rollouts:
    writer = Writer(rollouts.store)
    with rollouts.store.hold(writer.id):
        writer.start("ctl7")
        writer.first_wave()
        print("waits", flush=True)
        after = len(rollouts.store.entries(writer.id))
        for line in sys.stdin:
            if line.startswith("end"):
                writer.end("done")
                print("ended", flush=True)
                break
            for entry in rollouts.store.entries(writer.id, after=after):
                print(entry.kind, entry.actor, dict(entry.body), flush=True)
                after = entry.number
            print("no more", flush=True)
"""


def checkout(folder: Path, url: str) -> Path:
    folder.mkdir()
    (folder / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: localhost:5000/acme\nledger: {url}\n"
    )
    return folder


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def cli(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bootcfleet", "rollout", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_asking_from_another_machine(empty_database: str, tmp_path: Path) -> None:
    mine = checkout(tmp_path / "mine", empty_database)
    theirs = checkout(tmp_path / "theirs", empty_database)
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER],
        cwd=mine,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert controller.stdin is not None
    assert controller.stdout is not None
    watcher = None
    try:
        assert controller.stdout.readline() == "waits\n"
        (row,) = json.loads(cli(theirs, "list", "--json").stdout)
        assert (row["state"], row["controller"]["name"]) == ("running", "ctl7")
        done = cli(theirs, "pause", "-m", "lunch")
        assert (done.returncode, done.stdout) == (
            0,
            f"{ID}: paused: nothing more is begun, and what is under way comes to its end\n"
            "its controller ctl7 takes it in within seconds\n",
        )
        (row,) = json.loads(cli(theirs, "list", "--json").stdout)
        assert row["state"] == "paused"
        done = cli(theirs, "approve")
        assert (done.returncode, done.stdout) == (
            0,
            f"{ID}: wave 2 (rest) is approved\nits controller ctl7 takes it in within seconds\n",
        )
        assert cli(theirs, "approve").returncode == 1
        actor = current_actor()
        controller.stdin.write("look\n")
        controller.stdin.flush()
        assert [controller.stdout.readline() for _ in range(3)] == [
            f"paused {actor} {{'reason': 'lunch'}}\n",
            f"approved {actor} {{'wave': 2, 'reason': ''}}\n",
            "no more\n",
        ]
        audited = Ledger.open(empty_database, base=tmp_path)
        assert [entry.action for entry in audited.entries()] == [
            "rollout.pause",
            "rollout.approve",
        ]
        assert audited.verify() is None
        audited.close()
        watcher = subprocess.Popen(
            [sys.executable, "-m", "bootcfleet", "rollout", "watch", "--interval", "0.2"],
            cwd=theirs,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdout is not None
        assert watcher.stdout.readline().startswith(f"{ID}: paused, carried out by ctl7")
        controller.stdin.write("end\n")
        controller.stdin.flush()
        assert controller.stdout.readline() == "ended\n"
        out, _ = watcher.communicate(timeout=60)
        assert watcher.returncode == 0
        assert out.endswith("Z finished: done\n")
    finally:
        for process in (controller, watcher):
            if process is not None:
                process.kill()
                process.communicate()


def test_a_controller_that_is_killed_is_seen_from_another_machine(
    empty_database: str, tmp_path: Path
) -> None:
    mine = checkout(tmp_path / "mine", empty_database)
    theirs = checkout(tmp_path / "theirs", empty_database)
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER],
        cwd=mine,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "waits\n"
    finally:
        controller.kill()
        controller.communicate()
    other = RolloutStore.open_url(empty_database, base=tmp_path)
    # The server takes a moment to see that the connection is gone.
    wait_until(lambda: not other.held(ID))
    other.close()
    (row,) = json.loads(cli(theirs, "list", "--open", "--json").stdout)
    assert (row["state"], row["controller"]["alive"]) == ("left-behind", False)
    shown = cli(theirs, "show").stdout.splitlines()
    assert shown[2] == (
        "left behind by its controller ctl7 (process 4711), which is gone: "
        f"bootcfleet rollout resume {ID}"
    )
