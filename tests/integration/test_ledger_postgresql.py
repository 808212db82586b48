"""The ledger in a real PostgreSQL: one chain under several writers, and append-only."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.channel import Intent, check_history
from bootcfleet.drivers import ledgerdb, ledgerhold
from bootcfleet.drivers.channelstore import ChannelStore, ChannelTakenError
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.ledgerhold import hold
from bootcfleet.errors import FleetError
from tests.drivers.test_channelstore import NOW
from tests.drivers.test_channelstore import move as a_move
from tests.integration.postgresqlserver import PASSWORD, wait_until

pytestmark = pytest.mark.integration


def record(ledger: Ledger) -> AuditEntry:
    return ledger.record("a", "s", "done", actor="me", now=datetime.now(UTC), details={"ü": 1})


@pytest.mark.parametrize("level", ["read committed", "serializable"])
def test_one_chain_under_several_writers(empty_database: str, tmp_path: Path, level: str) -> None:
    """Whatever isolation the server gives by itself: the first write makes the tables."""
    name = urlsplit(empty_database).path[1:]
    engine = sa.create_engine(
        sa.make_url(empty_database).set(drivername="postgresql+psycopg", password=PASSWORD)
    )
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
        )
    engine.dispose()
    url = empty_database

    def write() -> None:
        ledger = Ledger.open(url, base=tmp_path)
        for _ in range(10):
            record(ledger)
        ledger.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    ledger = Ledger.open(url, base=tmp_path)
    assert len(ledger.entries()) == 40
    assert ledger.verify() is None
    for statement in (
        "UPDATE audit_entry SET actor = 'x'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        # A fork of the chain, and a gap in it.
        "INSERT INTO audit_entry SELECT 41, at, actor, action, subject, outcome, git_commit, "
        "digests, details, previous, 'h' FROM audit_entry WHERE number = 40",
        "INSERT INTO audit_entry SELECT 42, at, actor, action, subject, outcome, git_commit, "
        "digests, details, hash, 'h' FROM audit_entry WHERE number = 40",
    ):
        with (
            ledger.db.engine.connect() as connection,
            pytest.raises(sa.exc.DatabaseError, match="append-only"),
        ):
            connection.execute(sa.text(statement))
    ledger.close()


def test_a_connection_that_the_server_cut(empty_database: str, tmp_path: Path) -> None:
    """A rollout waits for reboots, and firewalls and restarts cut what is idle."""
    ledger = Ledger.open(empty_database, base=tmp_path)
    record(ledger)
    other = Ledger.open(empty_database, base=tmp_path)
    with other.db.engine.connect() as connection:
        cut = connection.execute(
            sa.text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        ).scalar()
    assert cut == 1
    record(ledger)
    assert len(ledger.entries()) == 2
    for one in (ledger, other):
        one.close()


def test_a_writer_that_never_ends_its_turn(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger.open(empty_database, base=tmp_path)
    short = [text.replace("30s", "50ms") for text in ledgerdb._TURN]
    assert short != list(ledgerdb._TURN)
    monkeypatch.setattr(ledgerdb, "_TURN", short)
    with ledger.db.write():
        # To read, nobody needs a turn.
        other = Ledger.open(empty_database, base=tmp_path)
        assert other.entries() == []
        with pytest.raises(FleetError, match="lock timeout") as caught:
            record(other)
    assert "another process holds it" in (caught.value.hint or "")
    for one in (ledger, other):
        one.close()


def test_a_user_who_may_only_add_and_read(empty_database: str, tmp_path: Path) -> None:
    """The rights that a team gives: the tables belong to somebody else."""
    owner = Ledger.open(empty_database, base=tmp_path)
    record(owner)
    with owner.db.engine.begin() as connection:
        for statement in (
            f"CREATE ROLE teller LOGIN PASSWORD '{PASSWORD}'",
            "GRANT SELECT, INSERT ON audit_entry TO teller",
            "GRANT SELECT ON ledger_schema TO teller",
        ):
            connection.execute(sa.text(statement))
    teller = Ledger.open(empty_database.replace("bootcfleet@", "teller@"), base=tmp_path)
    record(teller)
    assert teller.verify() is None
    assert len(teller.entries()) == 2
    with pytest.raises(sa.exc.DatabaseError, match="permission denied"):
        with teller.db.engine.connect() as connection:
            connection.execute(sa.text("DELETE FROM audit_entry"))
    for ledger in (owner, teller):
        ledger.close()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        # Bound and not listening: refused.
        with pytest.raises(FleetError, match=rf"127.0.0.1:{port}/x cannot be used") as caught:
            Ledger.open(f"postgresql://me@127.0.0.1:{port}/x", base=tmp_path)
    assert "the server runs" in (caught.value.hint or "")


def test_a_wrong_password_is_an_error_that_does_not_show_it(
    postgresql: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOTCFLEET_LEDGER_PASSWORD", "wrong secret")
    with pytest.raises(FleetError, match="cannot be used") as caught:
        Ledger.open(postgresql, base=tmp_path)
    assert "wrong secret" not in str(caught.value) + str(caught.value.hint)


def test_channels(empty_database: str, tmp_path: Path) -> None:
    """Of many claims one wins; entries cannot be changed; a lock ends with its session."""
    won: list[int] = []
    lost: list[str] = []

    def claim(number: int) -> None:
        store = ChannelStore.open_url(empty_database, base=tmp_path)
        try:
            store.claim(Intent(f"t{number}", NOW, f"p{number}", (a_move("web"), a_move("db"))))
            won.append(number)
        except ChannelTakenError as error:
            lost.append(error.message)
        store.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(won), len(lost)) == (1, 3)
    assert all(text.startswith(f"p{won[0]} is moving ") for text in lost)
    store, other = (ChannelStore.open_url(empty_database, base=tmp_path) for _ in range(2))
    (intent,) = store.open_intents()
    entries = store.finish(intent)
    assert other.history("web", "dev") == (entries[0],)
    assert check_history(other.history("db", "dev")) is None
    for statement in (
        "UPDATE channel_entry SET body = 'x'",
        "DELETE FROM channel_entry",
        "TRUNCATE channel_entry",
        "UPDATE channel_intent SET state = 'open'",
        "DELETE FROM channel_intent",
        "INSERT INTO channel_entry SELECT image, channel, 2, digest, previous, 'h', body "
        "FROM channel_entry WHERE image = 'web'",
        "INSERT INTO channel_entry SELECT image, channel, 3, digest, hash, 'h', body "
        "FROM channel_entry WHERE image = 'web'",
    ):
        with (
            store.db.engine.connect() as connection,
            pytest.raises(sa.exc.DatabaseError, match="append-only"),
        ):
            connection.execute(sa.text(statement))
    with hold(store.db, "t1") as held:
        assert held is not None
        with hold(other.db, "t1") as again:
            assert again is None
        assert not held.lost()
        with other.db.engine.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        assert held.lost()
        # The server tells the client first, and lets go of its locks then.
        wait_until(lambda: not ledgerhold.held(other.db, "t1"))
        with hold(other.db, "t1") as again:
            assert again is not None
    with hold(other.db, "t1") as again:
        assert again is not None
    for one in (store, other):
        one.close()
