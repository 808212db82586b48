"""Hosts that speak by themselves, behind a real sshd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootcfleet.drivers import ssh
from bootcfleet.drivers.bootc import HostFacts
from bootcfleet.drivers.hostwatch import HostWatch, News
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.fleetwatch import FleetWatch
from tests.integration.onehost import one_host
from tests.integration.opensshd import Sshd, keygen, processes_of
from tests.integration.sshworld import Account, World, throwaway_account
from tests.machines import Machine
from tests.tools import need_root

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with throwaway_account() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    key = keygen(tmp_path / "home" / "key")
    with Sshd(tmp_path / "sshd", "127.0.23.1") as server:
        server.authorize(key.with_suffix(".pub"))
        made = World(tmp_path / "home", server, account)
        made.know()
        yield made


@pytest.fixture
def marks(account: Account) -> Path:
    """A folder that the hosts look at."""
    folder = account.folder / "ostree"
    folder.mkdir(exist_ok=True)
    (folder / "bootc").touch()
    return folder


def until(what: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def loops_of(account: Account) -> list[int]:
    """The processes of our loop that a user has."""
    need_root()
    found = []
    for pid in processes_of(account.name):
        try:
            # Not the login shell, which has the whole line as one word.
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[1:2] == [b"-c"] and words[2].startswith(b"beat="):
                found.append(pid)
        except OSError:
            continue
    return found


def test_a_host_tells_changes_and_nothing_else(world: World, marks: Path) -> None:
    executor = world.executor()
    with_nothing = marks / "staged-deployment"
    watch = HostWatch(pause=1, paths=(str(marks / "bootc"), str(with_nothing)))
    assert watch.follow("web1", executor)
    assert watch.news(2.5) == {}
    (marks / "bootc").touch()
    assert watch.news(60) == {"web1": News.CHANGED}
    with_nothing.touch()
    assert watch.news(60) == {"web1": News.CHANGED}
    with_nothing.unlink()
    assert watch.news(60) == {"web1": News.CHANGED}
    # Commands go on beside it, and it beside them.
    assert executor.run(["echo", "hello"]).stdout == "hello\n"
    (marks / "bootc").touch()
    assert executor.run(["sh", "-c", "sleep 3; echo slept"]).stdout == "slept\n"
    assert watch.news(60) == {"web1": News.CHANGED}
    watch.close()
    executor.close()


def test_a_host_without_the_paths_is_asked_instead(world: World) -> None:
    executor = world.executor()
    watch = HostWatch(pause=1, paths=("/nowhere/at/all",))
    assert not watch.follow("web1", executor)
    assert not watch.follow("web2", object())
    assert watch.news(0) == {}
    executor.close()


def test_a_lost_connection_is_told_and_leaves_no_loop(
    world: World, marks: Path, account: Account
) -> None:
    watch = HostWatch(pause=1, beat=2, paths=(str(marks / "bootc"),))
    executors = {f"web{n}": world.executor() for n in range(3)}
    assert all(watch.follow(name, executor) for name, executor in executors.items())
    assert until(lambda: len(loops_of(account)) == 3)
    # One says goodbye, one is dropped as by a crash of the controller, one loses its server side.
    watch.forget("web0")
    transport = executors["web1"]._transport
    assert transport is not None
    transport.close()
    told: dict[str, News] = {}
    assert until(lambda: bool(told.update(watch.news(0.2)) or told))
    assert told == {"web1": News.LOST}
    assert until(lambda: len(loops_of(account)) == 1)
    world.server.cut()
    assert until(lambda: bool(told.update(watch.news(0.2)) or "web2" in told))
    assert told["web2"] is News.LOST
    assert until(lambda: not loops_of(account))
    # It can be followed again.
    assert watch.follow("web2", executors["web2"])
    watch.close()
    for executor in executors.values():
        executor.close()


def test_a_host_that_says_nothing_any_more_is_lost(world: World, marks: Path) -> None:
    executor = world.executor()
    watch = HostWatch(pause=600, beat=1, paths=(str(marks / "bootc"),))
    assert watch.follow("web1", executor)
    assert watch.news(60) == {"web1": News.LOST}
    executor.close()


def test_a_server_with_one_session_is_asked_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_SESSION_TIMEOUT", 0.5)
    with one_host(tmp_path, monkeypatch, "127.0.23.2", ["MaxSessions 1"]) as host:
        (host.bin / "status.json").write_text(Machine("web1").status())
        version = '[ "$1" = --version ] && exec echo bootc 1.16.9'
        host.program("bootc", f'{version}\nexec cat "{host.bin}/status.json"')
        host.program("systemctl", "echo Version=252")
        fleet = Fleet([host.host], lambda _: host.executor())
        listen = HostWatch(pause=1, paths=(str(tmp_path),))
        watch = FleetWatch(fleet, every=1.0, watch=listen)
        for _ in range(2):
            assert isinstance(watch.facts()["web1"], HostFacts)
            # It is not listened to, and so is due as often as is wished.
            assert until(lambda: watch.wait(1.0))
        watch.close()
        fleet.close()
