"""SshExecutor when servers and wires misbehave: one host's `HostError`, of the right kind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootcfleet.domain.inventory import Connection, Host
from bootcfleet.drivers.ssh import SshExecutor
from bootcfleet.drivers.sshpump import PumpedTransport
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.connect import over_ssh
from tests.integration.badwire import BadWire
from tests.integration.opensshd import keygen
from tests.integration.sshworld import Account, World, fault, throwaway_account, until, worlds
from tests.tools import need

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with throwaway_account() as made:
        yield made


@pytest.fixture
def world(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    with worlds(tmp_path, account, monkeypatch) as make:
        yield make


@contextlib.contextmanager
def behind(made: World, **settings: object) -> Iterator[SshExecutor]:
    """An executor behind a bad wire."""
    with BadWire((made.server.address, made.server.port), **settings) as wire:  # type: ignore[arg-type]
        made.know(made.server.known_hosts(f"[{made.server.address}]:{wire.port}"))
        executor = made.executor(port=wire.port, connect_timeout=5)
        try:
            yield executor
        finally:
            executor.close()


def test_lines_before_the_greeting_are_passed_over(world: Callable[..., World]) -> None:
    with behind(world("127.0.23.1"), before=b"Welcome\r\nto this host\n") as executor:
        assert executor.run(["echo", "hi"]).stdout == "hi\n"


def test_what_a_server_says_instead_of_a_greeting_is_told(world: Callable[..., World]) -> None:
    with behind(world("127.0.23.2"), before=b"Exceeded MaxStart\x1b[1mups\r\n", cut=0) as executor:
        error = fault(lambda: executor.run(["true"]))
    assert error.fault is HostFault.UNREACHABLE
    assert error.message.endswith("; it says 'Exceeded MaxStartups'")


def test_a_connection_that_breaks_at_any_byte(world: Callable[..., World]) -> None:
    made = world("127.0.23.3")
    faults = set()
    for cut in range(0, 3500, 97):
        with behind(made, cut=cut) as executor:
            try:
                assert executor.run(["echo", "hi"]).stdout == "hi\n"
            except HostError as error:
                faults.add(error.fault)
                assert error.transient, f"cut at {cut}: {error.message}"
                assert ": )" not in error.message
    assert faults == {HostFault.UNREACHABLE, HostFault.CONNECTION_LOST}


def test_a_damaged_byte_anywhere_is_the_hosts_own_failure(world: Callable[..., World]) -> None:
    made = world("127.0.23.4")
    faults = []
    # From the first byte of the server's key exchange to the end of a command's answer.
    for flip in range(45, 3200, 97):
        with behind(made, flip=flip) as executor:
            try:
                assert executor.run(["echo", "hi"], timeout=20).stdout == "hi\n"
            except HostError as error:
                faults.append(error)
                # A packet's length may be what is damaged: then its end never comes.
                assert error.transient, f"flipped at {flip}: {error.message}"
    assert any("cannot be read (InvalidTag)" in error.message for error in faults)


def test_a_server_that_falls_silent_at_a_key_is_not_one_that_refuses_it(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = threading.Event()
    answer = PumpedTransport._answer

    def unheard(self: PumpedTransport, done: threading.Event) -> list[str]:
        silent.set()
        self.auth_timeout = 2.0
        return answer(self, done)

    monkeypatch.setattr(PumpedTransport, "_answer", unheard)
    with behind(world("127.0.23.5"), silent=silent) as executor:
        error = fault(lambda: executor.run(["true"]))
    assert error.fault is HostFault.UNREACHABLE
    assert "no answer to a key within 2 s" in error.message


@pytest.fixture(params=["does not greet", "does not answer"])
def silent(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A port where a connection comes to nothing."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.23.7", 0))
        if request.param == "does not greet":
            server.listen(100)
        else:
            server.listen(0)
            # Its queue is full: the kernel lets the next ones wait.
            for _ in range(4):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(server.getsockname())
        yield server.getsockname()


def test_a_fleet_that_is_closed_while_it_connects(silent: tuple[str, int]) -> None:
    address, port = silent
    where = Connection().over({"address": address, "port": port, "connect_timeout": 900})
    fleet = over_ssh([Host(f"web{n}", connection=where) for n in range(40)], ask=str)

    def fails(name: str) -> HostError:
        return fault(lambda: fleet.executor(name).run(["true"]))

    before = sockets_to(silent)
    with ThreadPoolExecutor(40) as pool:
        running = [pool.submit(fails, name) for name in fleet.names]
        # All of them wait for the other side.
        assert until(lambda: sockets_to(silent) == before + 40)
        # As on ^C: nobody waits for the time limits.
        fleet.close()
        errors = [one.result(60) for one in running]
    assert {error.fault for error in errors} == {HostFault.UNREACHABLE}


def sockets_to(peer: tuple[str, int]) -> int:
    """How many sockets of this process are connected to a port, or try to be."""
    address = socket.inet_aton(peer[0])[::-1].hex().upper()
    wanted = f"{address}:{peer[1]:04X}"
    ours = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            ours.add(entry.readlink().name)
    found = 0
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        found += words[2] == wanted and f"socket:[{words[9]}]" in ours
    return found


def test_more_keys_than_the_server_hears(
    world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world("127.0.23.6", "MaxAuthTries 3")
    made.config("Host *\n User " + made.account.name + "\n")
    socket_path = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
    agent = subprocess.Popen(
        [need("ssh-agent"), "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL
    )
    try:
        assert until(socket_path.exists)
        for number in range(4):
            key = keygen(tmp_path / f"other{number}")
            subprocess.run([need("ssh-add"), "-q", str(key)], check=True)
        subprocess.run([need("ssh-add"), "-q", str(made.key)], check=True)
        where = Connection().over({"address": made.server.address, "port": made.server.port})
        error = fault(lambda: SshExecutor("web1", where, made.shared()).run(["true"]))
    finally:
        agent.terminate()
        agent.wait()
    # Trying again helps nobody: it is said what would.
    assert error.fault is HostFault.AUTH_FAILED
    assert "hung up after 3 keys" in error.message
    assert "Too many authentication failures" in error.message
    assert "identity_file" in str(error.hint)
    assert len(error.details) == 3
