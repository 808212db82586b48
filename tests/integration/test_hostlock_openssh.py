"""Two controllers at once over a real sshd: exactly one gets the host's lock."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootcfleet.domain.hostlock import LockHolder
from bootcfleet.drivers import hostlock
from bootcfleet.drivers.ssh import SshExecutor
from bootcfleet.errors import HostError, HostFault
from tests.integration.onehost import one_host
from tests.tools import need

pytestmark = pytest.mark.integration

ROUNDS = 100


@pytest.fixture
def controllers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SshExecutor, SshExecutor]]:
    """Two controllers with a connection each to one host; the lock is in a folder of ours."""
    monkeypatch.setattr(hostlock, "DIRECTORY", str(tmp_path / "lib"))
    with one_host(tmp_path, monkeypatch, "127.0.23.1") as host:
        # Writing takes a while, so that without mutual exclusion both would be in the middle of it.
        host.program("dd", f'sleep 0.05\nexec {need("dd")} "$@"')
        made = host.executor(), host.executor()
        yield made
        for executor in made:
            executor.close()


def test_of_two_takers_exactly_one_wins(controllers: tuple[SshExecutor, SshExecutor]) -> None:
    """A free lock and a stale one in turns, a hundred times."""
    path = Path(hostlock.DIRECTORY) / "lock.json"
    start = threading.Barrier(2)

    def attempt(number: int) -> LockHolder | HostError:
        start.wait(60)
        try:
            return hostlock.take(
                controllers[number],
                "web1",
                rollout=f"r{number}",
                owner=f"admin{number}@ctl{number}",
                seconds=600,
                controller=f"ctl{number}",
                break_stale=True,
            )
        except HostError as error:
            return error

    winners = []
    with ThreadPoolExecutor(2) as pool:
        for turn in range(ROUNDS):
            if turn % 2:
                path.write_text('{\n "rollout": "old",\n "taken": 5,\n "expires": 9\n}\n')
            answers = list(pool.map(attempt, range(2)))
            won = [one for one in answers if isinstance(one, LockHolder)]
            lost = [one for one in answers if isinstance(one, HostError)]
            assert len(won) == len(lost) == 1, answers
            winner = won[0].rollout
            assert lost[0].fault is HostFault.LOCKED
            assert f"rollout {winner} of admin{winner[1:]}@ctl{winner[1:]}" in lost[0].message
            assert json.loads(path.read_text())["rollout"] == winner
            winners.append(winner)
            released = [
                hostlock.release(executor, "web1", rollout=f"r{number}")
                for number, executor in enumerate(controllers)
            ]
            assert released == [winner == "r0", winner == "r1"]
            assert not path.exists()
    assert len(winners) == ROUNDS


def test_a_resumed_rollout_takes_it_over(controllers: tuple[SshExecutor, SshExecutor]) -> None:
    one, other = controllers
    first = hostlock.take(one, "web1", rollout="r1", owner="ann@a", seconds=60)
    again = hostlock.take(other, "web1", rollout="r1", owner="bob@b", seconds=60)
    assert again.taken == first.taken
    assert hostlock.release(one, "web1", rollout="r1")
