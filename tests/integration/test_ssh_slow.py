"""SshExecutor over slow, lossy wires to hosts that have addresses of their own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootcfleet.drivers.hostwatch import HostWatch, News
from bootcfleet.errors import HostFault
from tests.integration.opensshd import Sshd, keygen
from tests.integration.slowwire import SlowWire
from tests.integration.sshworld import Account, World, fault, throwaway_account
from tests.tools import need_root

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    need_root()
    with throwaway_account() as made:
        yield made


@contextlib.contextmanager
def behind(wire: SlowWire, folder: Path, account: Account) -> Iterator[World]:
    """A world whose server is at the other end of a wire."""
    key = folder / "key"
    if not key.exists():
        (folder / ".ssh").mkdir(parents=True)
        keygen(key)
    place = folder / wire.there
    with Sshd(place, wire.there, ("UseDNS no",), port=2222, prefix=wire.prefix) as server:
        server.authorize(key.with_suffix(".pub"))
        yield World(folder, server, account)


def test_a_slow_wire_loses_nothing_that_matters(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = os.urandom(60_000)
    with contextlib.ExitStack() as stack:
        wires = [
            stack.enter_context(SlowWire(delay=0.1, loss=0.05, rate=250_000)) for _ in range(3)
        ]
        worlds = [stack.enter_context(behind(wire, tmp_path, account)) for wire in wires]
        worlds[0].know("".join(world.server.known_hosts() for world in worlds))
        shared = worlds[0].shared()
        executors = [world.executor(shared, connect_timeout=60) for world in worlds]

        def work(number: int) -> bytes:
            executor = executors[number]
            path = str(account.folder / f"slow{number}")
            executor.put(data, path)
            lines: list[str] = []
            executor.run(
                ["sh", "-c", "for n in 1 2 3; do echo $n; done"],
                on_line=lambda _stream, line: lines.append(line),
            )
            assert lines == ["1", "2", "3"]
            return executor.get(path)

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(work, range(3))) == [data] * 3
        for executor in executors:
            executor.close()
        for wire in wires:
            assert wire.lost > 0, "the wire was slow, but lost nothing"
            assert wire.carried > 100


def test_a_host_that_vanishes_and_comes_back(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with SlowWire(delay=0.02) as wire, behind(wire, tmp_path, account) as world:
        world.know()
        world.config("Host *\n ServerAliveInterval 1\n ServerAliveCountMax 2\n")
        shared = world.shared()
        busy, quiet = (world.executor(shared, connect_timeout=3) for _ in range(2))
        watch = HostWatch(pause=1, paths=("/etc",))
        assert watch.follow("web1", quiet)
        wire_cut: list[str] = []

        def cut(_stream: str, line: str) -> None:
            wire_cut.append(line)
            wire.loss = 1.0

        # No packet says that it is gone: only its silence.
        error = fault(
            lambda: busy.run(["sh", "-c", "echo begun; sleep 600"], timeout=300, on_line=cut)
        )
        assert (error.fault, wire_cut) == (HostFault.CONNECTION_LOST, ["begun"])
        assert watch.news(60) == {"web1": News.LOST}
        error = fault(lambda: busy.run(["true"]))
        assert error.fault is HostFault.UNREACHABLE
        assert "no answer within 3 s" in error.message

        wire.loss = 0.0
        assert busy.run(["echo", "back"]).stdout == "back\n"
        for executor in (busy, quiet):
            executor.close()
