"""Webhooks and metrics listen to a rollout, and are no part of it."""

from __future__ import annotations

import http.client
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import EntryKind
from bootcfleet.domain.rollout_policy import NotifyEvent, NotifyTarget, RolloutPolicy
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.rollout_listen import Metrics, beside, listening
from tests.ops.test_notify import SECRET, Chat, chat  # noqa: F401 - a fixture
from tests.rolloutjournal import BEGAN, plan, played


def until(true: Callable[[], bool]) -> None:
    """Wait for it; a busy machine has a minute."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_everything_is_passed_on_told_and_measured(chat: Chat, tmp_path: Path) -> None:  # noqa: F811
    record, entries = played(20, bad=0.2)
    events = JournalEvents(record)
    history = list(events.all([]))
    passed: list[Event] = []
    file = tmp_path / "rollout.prom"
    with listening(
        passed.append,
        history,
        targets=(NotifyTarget(url=chat.url),),
        metrics=Metrics(file),
        clock=lambda: (BEGAN + timedelta(hours=1)).timestamp(),
    ) as emit:
        until(file.exists)
        said = [event for entry in entries if (event := events.of(entry)) is not None]
        for event in said:
            emit(event)
    assert passed == said
    assert chat.bodies[0]["event"] == "started"
    assert chat.bodies[-1]["event"] == "finished"
    assert chat.bodies[-1]["counts"]["refused"] == 1
    text = file.read_text()
    assert 'bootcfleet_rollout_state{rollout="20261121-020000-ab12",state="failed"} 1' in text
    assert 'bootcfleet_rollout_finished{rollout="20261121-020000-ab12"} 1' in text


def test_what_fails_is_an_event_and_a_note_and_never_the_rollout(tmp_path: Path) -> None:
    passed: list[Event] = []
    notes: list[str] = []
    folder = tmp_path / "gone"
    folder.mkdir()
    file = folder / "rollout.prom"

    with listening(
        passed.append,
        JournalEvents(plan([["a"]])).all([]),
        targets=(NotifyTarget(url_env="MISSING"), NotifyTarget(url=f"http://127.0.0.1:1/{SECRET}",
                                                               events=(NotifyEvent.FINISHED,))),
        metrics=Metrics(file),
        note=notes.append,
        environ={},
    ) as emit:  # fmt: skip
        until(file.exists)
        shutil.rmtree(folder)
        folder.write_text("a file in its place")
        emit(Event("host.failed", "a", "failed: x", {"wave": 1}))
        until(lambda: len(notes) >= 2)
        emit(Event("rollout.finished", "", "done", {"outcome": "done"}))
    kinds = [event.kind for event in passed]
    assert kinds.count("notify.failed") == len(notes) == 3
    assert "MISSING is not set" in notes[0]
    assert str(file) in notes[1]
    assert "127.0.0.1:1" in notes[2]
    assert not any(SECRET in said for said in (*notes, *(event.message for event in passed)))
    assert passed[0].data == {"rollout": "20261121-020000-ab12"}
    assert kinds.count("rollout.finished") == 1


def test_a_failure_that_nobody_hears_is_a_note_and_ends_no_thread(tmp_path: Path) -> None:
    """The reader of the output is gone, and the folder of the metrics as well."""
    notes: list[str] = []
    file = tmp_path / "folder" / "rollout.prom"
    file.parent.mkdir()

    def unheard(event: Event) -> None:
        if event.kind == "notify.failed":
            raise KeyboardInterrupt("nobody reads its output any more")

    targets = (NotifyTarget(url_env="MISSING"),)
    with listening(
        unheard, JournalEvents(plan([["a"]])).all([]), targets=targets, metrics=Metrics(file),
        note=notes.append, environ={},
    ) as emit:  # fmt: skip
        until(file.exists)
        shutil.rmtree(file.parent)
        file.parent.write_text("a file in its place")
        emit(Event("host.failed", "a", "failed: x", {"wave": 1}))
        until(lambda: len(notes) == 2)
        file.parent.unlink()
        emit(Event("rollout.finished", "", "done", {"outcome": "done"}))
    assert "MISSING is not set" in notes[0]
    assert str(file) in notes[1]
    assert "bootcfleet_rollout_finished" in file.read_text()


@pytest.mark.parametrize("error", [FleetError("busy"), RuntimeError("surprise")])
def test_a_note_that_cannot_be_written_is_kept_until_the_start(error: Exception) -> None:
    notes: list[str] = []
    errors = [error]

    def note(message: str) -> None:
        if errors:
            raise errors.pop()
        notes.append(message)

    targets = (NotifyTarget(url_env="ONE"), NotifyTarget(url="ftp://x"))
    with listening(lambda _: None, [], targets=targets, note=note, environ={}) as emit:
        emit(Event("rollout.started"))
        emit(Event("rollout.started"))
    assert len(notes) == 2
    assert "ONE is not set" in notes[0]


def test_what_the_policy_names_is_told_and_notes_come_into_the_journal(tmp_path: Path) -> None:
    store = RolloutStore.open_url("sqlite:///ledger.db", base=tmp_path)
    policy = RolloutPolicy(notify=(NotifyTarget(url_env="MISSING_IN_THIS_TEST"),))
    record = plan([["a"]], policy=policy)
    passed: list[Event] = []
    with closing(Ledger.open("sqlite:///ledger.db", base=tmp_path)) as ledger:
        with beside(ledger, record, passed.append) as emit:
            # Before the start there is no journal that a note could be written into.
            store.create(record)
            assert store.entries(record.id) == []
            emit(Event("rollout.started"))
            [entry] = store.entries(record.id)
    assert entry.kind is EntryKind.NOTE
    assert entry.body["kind"] == "notify.failed"
    assert "MISSING_IN_THIS_TEST is not set" in entry.body["message"]
    assert [event.kind for event in passed] == ["notify.failed", "rollout.started"]
    store.close()


def test_metrics_over_http_are_of_now() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    record = plan([["a"], ["b"]])
    with listening(
        lambda _: None, JournalEvents(record).all([]), metrics=Metrics(listen=f"127.0.0.1:{port}")
    ) as emit:

        def phase(name: str) -> str:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
            [line] = [one for one in text.splitlines() if f'phase="{name}"' in one]
            return line.rpartition(" ")[2]

        assert (phase("pending"), phase("staging")) == ("2", "0")
        emit(Event("host.staging", "a", "", {"wave": 1}))
        assert (phase("pending"), phase("staging")) == ("1", "1")


@pytest.mark.parametrize(
    "metrics", [Metrics(Path("x.txt")), Metrics(listen="nowhere"), Metrics(Path("/no/x.prom"))]
)
def test_metrics_that_can_go_nowhere_are_refused_before_the_start(metrics: Metrics) -> None:
    with pytest.raises(UsageError):
        with listening(lambda _: None, [], metrics=metrics):
            pytest.fail("it began")


def test_an_error_of_the_rollout_passes_and_listeners_end(chat: Chat, tmp_path: Path) -> None:  # noqa: F811
    chat.hold.clear()
    file = tmp_path / "rollout.prom"
    began = time.monotonic()
    listeners = listening(
        lambda _: None,
        JournalEvents(plan([["a"]])).all([]),
        targets=(NotifyTarget(url=chat.url),),
        metrics=Metrics(file),
    )

    def go() -> None:
        with listeners as emit:
            emit(Event("rollout.started"))
            assert chat.asked.acquire(timeout=30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go()
    assert time.monotonic() - began < 30
    assert "bootcfleet_rollout_finished" in file.read_text()
