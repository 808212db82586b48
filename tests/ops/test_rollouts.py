"""Requests that meet each other, and the controller: the journal decides, in its order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootcfleet.domain import rollout_request
from bootcfleet.domain.inventory import Connection, Host
from bootcfleet.domain.rollout import HostPhase, Rollout
from bootcfleet.domain.rollout_journal import NewEntry
from bootcfleet.domain.rollout_replay import replay
from bootcfleet.domain.rollout_request import RequestRefusedError
from bootcfleet.errors import UsageError
from bootcfleet.ops.rollouts import Rollouts, look, open_rollouts, reached_by, request
from tests.rolloutmaker import Writer, a_rollout

Make = Callable[[Rollout], NewEntry]


@pytest.fixture
def rollouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollouts]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with open_rollouts(None) as rollouts:
        yield rollouts


def test_of_several_that_ask_the_same_one_is_heard(rollouts: Rollouts) -> None:
    """All looked before any of them wrote."""
    writer = Writer(rollouts.store)
    writer.start()
    writer.first_wave()
    start = threading.Barrier(4)
    heard: list[int] = []
    refused: list[str] = []

    def ask() -> None:
        with open_rollouts(None) as own:
            found = look(own, "last")
            start.wait(30)
            try:
                entry, rollout = request(
                    own, found, lambda now: rollout_request.approve(now, None, "")
                )
                heard.append(entry.number)
                assert rollout.approved == {2}
                assert rollout.number == entry.number
            except RequestRefusedError as error:
                refused.append(error.message)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert heard == [8]
    assert refused == [f"no wave of the rollout {writer.id} waits for approval"] * 3
    assert len(rollouts.ledger.entries(action="rollout")) == 1
    assert rollouts.ledger.verify() is None


def test_a_rollout_that_ended_since_it_was_looked_at(rollouts: Rollouts) -> None:
    writer = Writer(rollouts.store)
    writer.start()
    found = look(rollouts, "last")
    writer.host("web1", HostPhase.UPDATED)
    writer.end()
    with pytest.raises(RequestRefusedError, match=r"has ended \(done\): there is nothing to pause"):
        request(rollouts, found, lambda now: rollout_request.pause(now, ""))
    assert len(rollouts.store.entries(writer.id)) == 3
    assert rollouts.ledger.entries(action="rollout") == []


REQUESTS: dict[str, Make] = {
    "pause": lambda now: rollout_request.pause(now, "p"),
    "unpause": lambda now: rollout_request.unpause(now, "u"),
    "approve": lambda now: rollout_request.approve(now, None, ""),
    "approve 2": lambda now: rollout_request.approve(now, 2, ""),
    "approve 9": lambda now: rollout_request.approve(now, 9, ""),
    "abort": lambda now: rollout_request.abort(now, "a", unwind=False),
    "abort --rollback": lambda now: rollout_request.abort(now, "b", unwind=True),
    "retry": lambda now: rollout_request.retry(now, None, ""),
    "retry web1": lambda now: rollout_request.retry(now, "web1", ""),
}
EVENTS = ["start", "fail", "update", "end"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from([*REQUESTS, *EVENTS]), max_size=12))
def test_any_order_of_requests_and_events(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """What is refused writes nothing; what is not is in both the journal and the ledger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with open_rollouts(None) as rollouts:
            writer = Writer(rollouts.store)
            heard = 0
            for step in steps:
                before = len(rollouts.store.entries(writer.id))
                found = look(rollouts, "last")
                if step in REQUESTS:
                    try:
                        _, rollout = request(rollouts, found, REQUESTS[step])
                    except (RequestRefusedError, UsageError) as error:
                        assert error.message  # noqa: PT017 - what happens is told below
                        assert len(rollouts.store.entries(writer.id)) == before
                        continue
                    heard += 1
                    assert found.rollout.outcome is None or step.startswith("retry")
                    whole = replay(found.record, rollouts.store.entries(writer.id))
                    assert rollout == whole
                else:
                    _happen(writer, step)
                assert len(rollouts.store.entries(writer.id)) == before + 1
            assert len(rollouts.ledger.entries(action="rollout")) == heard
            assert rollouts.ledger.verify() is None


def _happen(writer: Writer, step: str) -> None:
    match step:
        case "start":
            writer.start()
        case "fail":
            writer.host("web1", HostPhase.FAILED, "no answer")
        case "update":
            writer.host("web1", HostPhase.UPDATED)
        case "end":
            writer.end("failed")


def test_hosts_reached_in_another_way() -> None:
    mine = Connection(address="10.1.1.1")
    rollout = reached_by(a_rollout(), [Host("web1", connection=mine), Host("other")])
    assert rollout.hosts["web1"].connection == mine
    assert rollout.hosts["web2"] == a_rollout().hosts["web2"]
    assert list(rollout.hosts) == list(a_rollout().hosts)
