"""SshExecutor and real OpenSSH servers when it gets hard: many, slow, silent, gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_REQUEST

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.bootc import BootcHost
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from bootcfleet.drivers.sshcommand import ask_for
from bootcfleet.drivers.sshidle import IDLE
from bootcfleet.drivers.sshpump import PumpedTransport
from bootcfleet.errors import HostError, HostFault
from tests.integration.opensshd import Sshd, descendants
from tests.integration.sshworld import Account, World, fault, throwaway_account, until, worlds
from tests.tools import need, need_root

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with throwaway_account() as made:
        yield made


@pytest.fixture
def world(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """Makes a world with a server of its own: address, lines of its sshd_config."""
    with worlds(tmp_path, account, monkeypatch) as make:
        yield make


def transport_of(executor: SshExecutor) -> PumpedTransport:
    transport = executor._transport
    assert isinstance(transport, PumpedTransport)
    return transport


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("127.0.22.1", ("Ciphers aes128-gcm@openssh.com",)),
        ("127.0.22.2", ("Ciphers aes256-ctr", "MACs hmac-sha2-256-etm@openssh.com")),
        # The length of a packet is hidden: reading has to wait for its rest.
        ("127.0.22.3", ("Ciphers aes256-ctr", "MACs hmac-sha2-512")),
    ],
    ids=["gcm", "etm", "encrypt-and-mac"],
)
def test_every_kind_of_cipher(
    world: Callable[..., World], address: str, settings: tuple[str, ...]
) -> None:
    # New keys every megabyte: both directions ask for them while data flows.
    made = world(address, *settings, "RekeyLimit 1M")
    executor = made.executor()
    data = os.urandom(2_500_000).hex().encode()
    assert executor.run(["cat"], stdin=data).stdout == data.decode()
    transport = transport_of(executor)
    assert transport.packetizer.blind is ("MACs hmac-sha2-512" in settings)
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: executor.run(["echo", str(n)]).stdout, range(40)))
    assert said == [f"{n}\n" for n in range(40)]
    assert executor._transport is transport, "one connection carried everything"
    # Nobody drives now: what happens to the connection is noticed all the same.
    made.server.cut()
    assert until(lambda: not transport.is_active())
    executor.close()


@pytest.mark.parametrize(
    "kind", [MSG_CHANNEL_EOF, MSG_CHANNEL_DATA, MSG_CHANNEL_REQUEST], ids=["eof", "data", "request"]
)
def test_what_comes_too_late_for_a_channel_is_not_sent(
    world: Callable[..., World], kind: int
) -> None:
    """paramiko's threads overtake each other; OpenSSH ends the connection for it."""
    executor = world("127.0.22.1").executor()
    assert executor.run(["true"]).ok
    transport = transport_of(executor)
    channel = transport.open_session()
    with transport.driven():
        ask_for(channel, b"true")
        assert transport.wait(channel.status_event, 60)
        assert until(lambda: transport.wait(threading.Event(), 0.1) or channel.closed)
    late = paramiko.Message()
    late.add_byte(bytes([kind]))
    late.add_int(channel.remote_chanid)
    late.add_string("signal")
    late.add_boolean(False)
    late.add_string("TERM")
    transport._send_user_message(late)
    assert executor.run(["echo", "goes on"]).stdout == "goes on\n"
    assert executor._transport is transport
    executor.close()


def test_kept_connections_have_no_threads(world: Callable[..., World]) -> None:
    made = world("127.0.22.4")
    shared = made.shared()
    # Other tests of this process may have left threads that wait for nothing.
    before = threading.active_count()
    executors = [made.executor(shared) for _ in range(60)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda executor: executor.run(["true"]), executors))
    assert threading.active_count() < before + 10
    assert all(transport_of(executor).is_active() for executor in executors)
    for executor in executors:
        executor.close()
    assert until(lambda: not [p for p in descendants_of(made.server) if is_session(p)])


def test_two_commands_at_once_on_one_connection(world: Callable[..., World]) -> None:
    # The driver is the first; the second is served by it, and then on its own.
    executor = world("127.0.22.5").executor()
    heard = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(
            executor.run,
            ["sh", "-c", "echo begun; sleep 3; echo over"],
            on_line=lambda _stream, _line: heard.set(),
        )
        assert heard.wait(60)
        assert executor.run(["echo", "meanwhile"]).stdout == "meanwhile\n"
        assert not long.done()
        other = pool.submit(executor.run, ["sh", "-c", "sleep 5; echo later"])
        assert long.result().stdout == "begun\nover\n"
        assert other.result().stdout == "later\n"
    executor.close()


def test_more_commands_than_sessions(world: Callable[..., World]) -> None:
    # The server refuses the third at once: it waits its turn, and nobody else suffers.
    executor = world("127.0.22.9", "MaxSessions 2").executor()
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda n: executor.run(["echo", str(n)]).stdout, range(30)))
    assert said == [f"{n}\n" for n in range(30)]
    executor.close()


def test_a_host_that_hangs_is_noticed(world: Callable[..., World]) -> None:
    made = world("127.0.22.6")
    made.config("Host *\n ServerAliveInterval 1\n ServerAliveCountMax 2\n")
    idle, busy = made.executor(), made.executor()
    assert idle.run(["true"]).ok
    assert busy.run(["true"]).ok
    # Signs of life are answered: nothing happens to a connection that is only quiet.
    time.sleep(5)
    assert transport_of(idle).is_active()
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()
        long = pool.submit(
            busy.run,
            ["sh", "-c", "echo begun; sleep 600"],
            timeout=300,
            on_line=lambda _stream, _line: begun.set(),
        )
        assert begun.wait(60)
        # The kernel there still answers TCP; only sshd is still.
        for pid in descendants_of(made.server):
            os.kill(pid, signal.SIGSTOP)
        error = fault(long.result)
    assert error.fault is HostFault.CONNECTION_LOST
    assert "sign of life" in error.message
    kept = transport_of(idle)
    assert until(lambda: not kept.is_active())


def test_a_key_that_changes_with_a_reboot_is_refused(world: Callable[..., World]) -> None:
    made = world("127.0.22.7")
    executor = made.executor()
    assert executor.run(["true"]).ok
    made.server.stop()
    for key in made.server.host_keys:
        for path in (key, key.with_suffix(".pub")):
            path.unlink()
    made.server.start()
    error = fault(lambda: executor.run(["touch", str(made.account.folder / "reached")]))
    assert error.fault is HostFault.HOST_KEY_CHANGED
    assert not error.transient
    assert "ssh-keygen" in str(error.hint)
    assert not (made.account.folder / "reached").exists()
    # Neither does waiting for a boot go on with another machine.
    host = BootcHost(executor, "web1")
    with pytest.raises(HostError) as caught:
        host.wait_for_boot("another", 60, sleep=time.sleep, monotonic=time.monotonic)
    assert caught.value.fault is HostFault.HOST_KEY_CHANGED


def test_five_hundred_at_once(world: Callable[..., World], account: Account) -> None:
    made = world("127.0.22.8", "MaxStartups 1000", "LogLevel ERROR")
    shared = made.shared()
    before = threading.active_count()
    executors = [SshExecutor(f"web{n}", made.connection(), shared) for n in range(500)]
    with ThreadPoolExecutor(50) as pool:
        said = list(
            pool.map(lambda one: one[1].run(["echo", str(one[0])]).stdout, enumerate(executors))
        )
        assert said == [f"{n}\n" for n in range(500)]
        assert threading.active_count() < before + 60, "no thread for a connection"
        # All of them are there at once, and each still answers.
        assert all(transport_of(executor).is_active() for executor in executors)
        again = list(pool.map(lambda executor: executor.run(["id", "-un"]).stdout, executors))
    assert set(again) == {f"{account.name}\n"}
    # The machine behind them goes: every one is noticed, none is taken for another.
    made.server.stop()
    assert until(lambda: not any(transport_of(one).is_active() for one in executors))
    with ThreadPoolExecutor(50) as pool:
        errors = list(pool.map(lambda one: fault(lambda: one.run(["true"])), executors))
    assert {error.fault for error in errors} == {HostFault.UNREACHABLE}
    assert [error.host for error in errors] == [f"web{n}" for n in range(500)]


def in_another_process(connection: Connection) -> tuple[str, list[str], int]:
    """What a worker process says, its threads, and how many connections they listen to."""
    executor = SshExecutor("web1", connection, SshShared(ask=lambda question: question))
    said = executor.run(["echo", "hi"]).stdout
    return said, [thread.name for thread in threading.enumerate()], len(IDLE._quiet)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_listens_to_its_own_connections(world: Callable[..., World]) -> None:
    made = world("127.0.22.10")
    executor = made.executor()
    assert executor.run(["true"]).ok
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        said, threads, quiet = pool.submit(in_another_process, made.connection()).result(60)
    assert said == "hi\n"
    assert "ssh-idle" in threads, "who else notices a host that hangs?"
    assert quiet == 1
    assert executor.run(["echo", "still here"]).stdout == "still here\n"
    executor.close()


def descendants_of(server: Sshd) -> list[int]:
    assert server._process is not None
    return descendants(server._process.pid)


def is_session(pid: int) -> bool:
    try:
        return b"sshd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_sudo_is_understood_on_a_host_of_another_language(
    world: Callable[..., World], account: Account
) -> None:
    """A server need not accept our locale (AcceptEnv), and LANGUAGE goes before it."""
    need_root()
    need("sudo")
    rule = Path(f"/etc/sudoers.d/{account.name}")
    rule.write_text(f"{account.name} ALL=(ALL) ALL\n")
    rule.chmod(0o440)
    try:
        here = world("127.0.31.1", "SetEnv LANGUAGE=de")
        error = fault(lambda: here.executor().run(["true"], as_root=True))
        assert error.fault is HostFault.SUDO_REFUSED
        assert account.password
        here.answers = {"sudo password": account.password}
        executor = here.executor(become_password=True)
        said = executor.run(["sh", "-c", "id -un; echo $LC_ALL,$LANGUAGE"], as_root=True)
        assert said.stdout == "root\nC.UTF-8,\n"
    finally:
        rule.unlink()
