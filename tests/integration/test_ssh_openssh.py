"""SshExecutor against real OpenSSH servers on loopback."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bootcfleet.domain.inventory import Connection, Host
from bootcfleet.drivers.checkprobe import PROGRAM
from bootcfleet.drivers.command import CommandResult
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from bootcfleet.drivers.sshpump import PumpedTransport
from bootcfleet.errors import HostError, HostFault, UsageError
from bootcfleet.ops.connect import over_ssh
from tests.integration.opensshd import Sshd, keygen, sign
from tests.integration.sshworld import Account, World, fault, throwaway_account
from tests.tools import need, need_root

pytestmark = pytest.mark.integration

PASSPHRASE = "correct horse"


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with throwaway_account() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of our own, with an empty ~/.ssh and no agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), "127.0.21.1") as running:
        yield running


@pytest.fixture
def world(home: Path, server: Sshd, account: Account) -> World:
    made = World(home, server, account)
    keygen(made.key)
    server.authorized.write_text(made.key.with_suffix(".pub").read_text())
    made.know()
    return made


def start(folder: Path, address: str, **more: object) -> Sshd:
    started = Sshd(folder, address, **more)  # type: ignore[arg-type]
    started.start()
    return started


# Commands


def test_words_arrive_as_they_are(world: World) -> None:
    words = ["a b", "$HOME", "`id`", "'", '"', "*", "\\", "", "ünïcode", "line\nbreak", "-n", ";"]
    result = world.executor().run(["printf", "%s\\0", *words])
    assert result.stdout.split("\0")[:-1] == words
    assert result.argv[0] == "printf"


def test_the_probe_of_checks_runs_over_ssh(world: World, tmp_path: Path) -> None:
    odd = tmp_path / "it's $(odd) `name`"
    odd.write_text("content\n")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)
    lines = f"content\t{odd}\nuser\troot\nkernels\n".encode()
    result = world.executor().run(["sh", "-c", PROGRAM], stdin=lines)
    assert result.ok, result.stderr
    said = [line.split("\t") for line in result.stdout.split("\n") if line]
    assert said[0] == ["1", "content", base64.b64encode(b"content\n").decode()]
    assert [words[:2] for words in said[1:3]] == [["2", "passwd"], ["2", "groups"]]
    assert said[-1] == ["3 END"]


def test_exit_code_streams_and_signal(world: World) -> None:
    executor = world.executor()
    result = executor.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert executor.run(["sh", "-c", "kill -KILL $$"]).exit_code == 128 + 9
    assert executor.run(["no-such-program"]).exit_code == 127
    assert executor.run(["printf", "\\377"]).stdout == "\\xff"


def test_lines_are_told_as_they_come(world: World) -> None:
    told: list[tuple[str, str]] = []
    world.executor().run(
        ["sh", "-c", "echo one; echo two >&2; printf 'three\\r\\nrest'"],
        on_line=lambda stream, line: told.append((stream, line)),
    )
    assert [line for stream, line in told if stream == "stdout"] == ["one", "three", "rest"]
    assert ("stderr", "two") in told


def test_input_larger_than_any_window_comes_back(world: World) -> None:
    data = os.urandom(3_000_000).hex().encode()
    executor = world.executor()
    assert executor.run(["cat"], stdin=data).stdout == data.decode()
    assert executor.run(["cat"]).stdout == ""
    # A command that does not listen is not waited for.
    assert executor.run(["true"], stdin=data).ok


def test_ten_megabytes_of_output(world: World) -> None:
    result = world.executor().run(["sh", "-c", "head -c 10485760 /dev/zero | tr '\\0' x"])
    assert result.stdout == "x" * 10485760


def test_output_without_end_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootcfleet.drivers.sshcommand.MAX_OUTPUT", 1_000_000)
    executor = world.executor()
    error = fault(lambda: executor.run(["yes"], timeout=60))
    assert error.fault is HostFault.GARBAGE_OUTPUT
    assert executor.run(["echo", "still here"]).stdout == "still here\n"


def test_what_a_command_leaves_running_is_not_waited_for(world: World) -> None:
    result = world.executor().run(["sh", "-c", "sleep 50 & echo done"], timeout=40)
    assert (result.exit_code, result.stdout) == (0, "done\n")


def test_a_command_over_time(world: World) -> None:
    executor = world.executor()
    note = world.account.folder / "note"
    # The command is asked to end, rather than left behind on the host.
    script = f"trap 'echo ended > {note}; exit' TERM; sleep 30 & wait"
    error = fault(lambda: executor.run(["sh", "-c", script], timeout=0.5))
    assert error.fault is HostFault.TIMEOUT
    assert "0.5 s" in error.message
    wait = f"until [ -s {note} ]; do sleep 0.05; done; cat {note}"
    assert executor.run(["sh", "-c", wait], timeout=20).stdout == "ended\n"
    assert executor.run(["echo", "next"]).stdout == "next\n"
    slow = world.executor(command_timeout=0.3)
    assert fault(lambda: slow.run(["sleep", "30"])).fault is HostFault.TIMEOUT


def test_one_connection_serves_many_commands(world: World) -> None:
    before = world.server.log.count("Accepted publickey")
    executor = world.executor()
    for number in range(5):
        assert executor.run(["echo", str(number)]).stdout == f"{number}\n"
    assert world.server.log.count("Accepted publickey") == before + 1
    executor.close()
    assert executor.run(["true"]).ok
    assert world.server.log.count("Accepted publickey") == before + 2


def test_the_connection_is_set_for_a_fleet(world: World) -> None:
    executor = world.executor()
    assert executor.run(["true"]).ok
    transport = executor._transport
    assert transport is not None
    # No thread of its own, which would wake ten times a second.
    assert not transport.is_alive()
    assert transport.sock.gettimeout() == 0
    assert isinstance(transport.sock, socket.socket)
    assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert getattr(transport, "remote_cipher") == "aes128-gcm@openssh.com"  # noqa: B009 - no stub


def test_a_hundred_hosts_at_once(world: World) -> None:
    shared = world.shared()
    gate = threading.Barrier(100)

    def work(number: int) -> str:
        executor = SshExecutor(f"web{number}", world.connection(), shared)
        gate.wait(60)
        said = executor.run(["echo", str(number)]).stdout
        executor.close()
        return said

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(work, range(100))) == [f"{n}\n" for n in range(100)]


def test_settings_that_cannot_be_used_are_the_hosts_own_failure(world: World) -> None:
    world.config("Host web1\n Port many\n")
    error = fault(lambda: world.named("web1").run(["true"]))
    assert (error.fault, error.host) == (HostFault.UNREACHABLE, "web1")
    assert "config:2" in error.message
    with pytest.raises(UsageError, match="NUL"):
        world.executor().run(["echo", "a\0b"])


# Files


def test_put_and_get(world: World) -> None:
    folder = world.account.folder / "drop it's"
    folder.mkdir()
    folder.chmod(0o777)
    data = bytes(range(256)) * 5000
    target = folder / "a file"
    executor = world.executor()
    executor.put(data, str(target), mode=0o640)
    assert target.read_bytes() == data
    assert target.stat().st_mode & 0o7777 == 0o640
    executor.put(b"", str(target))
    assert target.read_bytes() == b""
    assert [path.name for path in folder.iterdir()] == ["a file"]
    executor.put(data, str(target))
    assert executor.get(str(target)) == data


def test_put_into_nowhere(world: World) -> None:
    executor = world.executor()
    error = fault(lambda: executor.put(b"x", str(world.account.folder / "none" / "file")))
    assert error.fault is HostFault.COMMAND_FAILED
    assert "none" in error.message
    assert "directory" in fault(lambda: executor.put(b"x", "/")).message
    assert "No such file" in fault(lambda: executor.get("/no/such")).message


# Keys


def test_encrypted_key_asks_once_for_all(world: World) -> None:
    subprocess.run(
        [need("ssh-keygen"), "-q", "-p", "-N", PASSPHRASE, "-P", "", "-f", str(world.key)],
        check=True,
        capture_output=True,
    )
    world.answers = {"Passphrase for": PASSPHRASE}
    shared = world.shared()
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(world.executor(shared).run, ["true"]) for _ in range(8)]
    assert all(run.result().ok for run in runs)
    assert world.questions == [f"Passphrase for {world.key}: "]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_wrong_passphrase(world: World, kind: str) -> None:
    key = keygen(world.home / f"locked_{kind}", kind, passphrase=PASSPHRASE)
    world.server.authorize(key.with_suffix(".pub"))
    world.answers = {"Passphrase for": "battery staple"}
    error = fault(lambda: world.executor(identity_file=str(key)).run(["true"]))
    assert error.fault is HostFault.AUTH_FAILED
    assert "passphrase" in error.message
    assert "battery" not in error.message + (error.hint or "") + str(error.details)
    assert len(world.questions) == 3
    world.answers = {"Passphrase for": PASSPHRASE}
    assert world.executor(identity_file=str(key)).run(["true"]).ok


def test_refused_key_is_named(world: World) -> None:
    other = keygen(world.home / "other")
    error = fault(lambda: world.executor(identity_file=str(other)).run(["true"]))
    assert error.fault is HostFault.AUTH_FAILED
    shown = subprocess.run(
        [need("ssh-keygen"), "-lf", str(other)], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert any(shown in line for line in error.details)
    assert "publickey" in error.message
    assert "ssh -v" in (error.hint or "")


def test_missing_key(world: World) -> None:
    error = fault(lambda: world.executor(identity_file=str(world.home / "none")).run(["true"]))
    assert error.fault is HostFault.AUTH_FAILED
    assert "does not exist" in error.message
    nothing = fault(lambda: world.executor(identity_file=None, user="root").run(["true"]))
    # Without any key named, ~/.ssh has none either.
    assert nothing.fault is HostFault.AUTH_FAILED or world.account.name == "root"


@pytest.fixture
def agent(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    path = world.home / "agent.sock"
    process = subprocess.Popen(
        [need("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.DEVNULL
    )
    try:
        while not path.exists():
            assert process.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield str(path)
    finally:
        process.terminate()
        process.wait()


def add_to_agent(key: Path) -> None:
    subprocess.run([need("ssh-add"), "-q", str(key)], check=True, stdin=subprocess.DEVNULL)


def test_agent(world: World, agent: str) -> None:
    add_to_agent(keygen(world.home / "useless", "rsa"))
    add_to_agent(world.key)
    shared = world.shared()
    connection = Connection(
        address=world.server.address, port=world.server.port, user=world.account.name
    )

    def work(number: int) -> bool:
        return SshExecutor(f"h{number}", connection, shared).run(["true"]).ok

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(work, range(20)))


def test_the_agent_saves_the_passphrase_of_a_named_key(world: World, agent: str) -> None:
    add_to_agent(world.key)
    subprocess.run(
        [need("ssh-keygen"), "-q", "-p", "-N", PASSPHRASE, "-P", "", "-f", str(world.key)],
        check=True,
        capture_output=True,
    )
    assert world.executor().run(["true"]).ok
    world.key.with_suffix(".pub").unlink()
    assert world.executor().run(["true"]).ok
    assert world.questions == []


def test_identity_agent_in_the_configuration(
    world: World, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_to_agent(world.key)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    world.config(
        f"Host *\n User {world.account.name}\n Port {world.server.port}\n IdentityAgent {agent}\n"
    )
    assert world.named(world.server.address).run(["true"]).ok


@pytest.fixture
def certified(world: World, tmp_path: Path) -> Iterator[tuple[Sshd, Path]]:
    """A server that takes certificates of an authority, and no keys."""
    authority = keygen(tmp_path / "authority")
    trusted = f"TrustedUserCAKeys {authority}.pub"
    with Sshd(tmp_path / "sshd-ca", "127.0.21.2", [trusted]) as running:
        world.server = running
        world.know()
        yield running, authority


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_certificate_beside_the_key(world: World, certified: tuple[Sshd, Path], kind: str) -> None:
    _, authority = certified
    key = keygen(world.home / f"id_{kind}", kind)

    def connect() -> CommandResult:
        return world.executor(identity_file=str(key)).run(["true"])

    assert fault(connect).fault is HostFault.AUTH_FAILED
    sign(authority, key.with_suffix(".pub"), "-n", world.account.name, "-V", "+1h")
    assert connect().ok


def test_certificate_file_and_one_for_somebody_else(
    world: World, certified: tuple[Sshd, Path]
) -> None:
    running, authority = certified
    certificate = sign(
        authority, world.key.with_suffix(".pub"), "-n", world.account.name, "-V", "+1h"
    )
    moved = certificate.rename(world.home / "team.pub")
    stranger = sign(
        authority, keygen(world.home / "stranger").with_suffix(".pub"), "-n", world.account.name
    )
    world.config(
        f"Host ca\n HostName {running.address}\n Port {running.port}\n"
        f" User {world.account.name}\n IdentityFile {world.key}\n IdentitiesOnly yes\n"
        f" CertificateFile {stranger}\n CertificateFile {moved}\n"
    )
    assert world.named("ca").run(["true"]).ok


def test_certificate_of_the_agent(world: World, certified: tuple[Sshd, Path], agent: str) -> None:
    _, authority = certified
    key = keygen(world.home / "rsa", "rsa")
    sign(authority, key.with_suffix(".pub"), "-n", world.account.name, "-V", "+1h")
    add_to_agent(key)
    assert world.executor(identity_file=None).run(["true"]).ok


# Host keys


def test_unknown_host_is_refused_with_the_way_to_trust_it(world: World) -> None:
    world.know("")
    error = fault(lambda: world.executor().run(["true"]))
    assert error.fault is HostFault.HOST_KEY_UNKNOWN
    shown = subprocess.run(
        [need("ssh-keygen"), "-lf", str(world.server.host_keys[0])],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[1]
    assert shown in error.message
    assert "ssh-keyscan" in (error.hint or "")
    command = (error.hint or "").split("trust it: ")[1]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert world.executor().run(["true"]).ok


def test_changed_host_key_is_refused(world: World, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other")
    name = f"[{world.server.address}]:{world.server.port}"
    kind, blob = other.with_suffix(".pub").read_text().split()[:2]
    world.know(f"# a comment\n{name} {kind} {blob}\n")
    world.config("Host *\n StrictHostKeyChecking no\n")
    before = world.server.log.count("Accepted")
    error = fault(lambda: world.executor().run(["true"]))
    assert error.fault is HostFault.HOST_KEY_CHANGED
    assert any("known_hosts:2" in line for line in error.details)
    assert "ssh-keygen -f" in (error.hint or "")
    assert world.server.log.count("Accepted") == before
    forget = (error.hint or "").split("then: ")[1]
    subprocess.run(["sh", "-c", forget], check=True, capture_output=True)
    assert world.executor().run(["true"]).ok


def test_hashed_known_hosts(world: World) -> None:
    subprocess.run(
        [need("ssh-keygen"), "-q", "-H", "-f", str(world.home / ".ssh" / "known_hosts")],
        check=True,
        capture_output=True,
    )
    text = (world.home / ".ssh" / "known_hosts").read_text()
    assert text.startswith("|1|")
    assert world.executor().run(["true"]).ok


def test_the_known_one_of_several_host_keys_is_asked_for(world: World, tmp_path: Path) -> None:
    with Sshd(
        tmp_path / "many", "127.0.21.3", key_types=("ed25519", "ecdsa", "rsa")
    ) as world.server:
        world.server.authorize(world.key.with_suffix(".pub"))
        for line in world.server.known_hosts().splitlines():
            world.know(line + "\n")
            assert world.executor().run(["true"]).ok, line


def test_revoked_host_key(world: World) -> None:
    world.know(world.server.known_hosts() + "@revoked " + world.server.known_hosts("*"))
    assert fault(lambda: world.executor().run(["true"])).fault is HostFault.HOST_KEY_CHANGED


def test_host_key_alias_and_named_files(world: World, tmp_path: Path) -> None:
    world.know("")
    (tmp_path / "fleet hosts").write_text(world.server.known_hosts("rack-7"))
    world.config(
        f"Host web\n HostName {world.server.address}\n Port {world.server.port}\n"
        f" User {world.account.name}\n IdentityFile ~/key\n HostKeyAlias rack-7\n"
        f' UserKnownHostsFile "{tmp_path}/fleet hosts" ~/.ssh/known_hosts\n'
    )
    assert world.named("web").run(["true"]).ok


def test_host_certificates(world: World, tmp_path: Path) -> None:
    authority = keygen(tmp_path / "ca")
    folder = tmp_path / "certified-host"
    folder.mkdir()
    key = keygen(folder / "host_ed25519")
    certificate = f"HostCertificate {folder}/host_ed25519-cert.pub"
    line = "@cert-authority *.21.4,[*.21.4]:* " + authority.with_suffix(".pub").read_text()

    def certify(*options: str) -> None:
        sign(authority, key.with_suffix(".pub"), "-h", *options)

    def connect(known: str) -> HostError | None:
        with Sshd(folder, "127.0.21.4", [certificate]) as world.server:
            world.server.authorize(world.key.with_suffix(".pub"))
            world.know(known)
            try:
                assert world.executor().run(["true"]).ok
            except HostError as error:
                return error
        return None

    certify("-n", "127.0.21.4,web4", "-V", "-1h:+1h")
    assert connect(line) is None
    stranger = keygen(tmp_path / "stranger").with_suffix(".pub").read_text()
    refused = connect(line.split("ssh-ed25519")[0] + stranger)
    assert refused is not None
    assert refused.fault is HostFault.HOST_KEY_UNKNOWN
    assert any("no @cert-authority line" in detail for detail in refused.details)
    revoked = connect(line + "@revoked * " + authority.with_suffix(".pub").read_text())
    assert revoked is not None
    assert any("is revoked" in detail for detail in revoked.details)
    certify("-n", "other.example", "-V", "-1h:+1h")
    other = connect(line)
    assert other is not None
    assert any("other.example" in detail for detail in other.details)
    past = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y%m%d%H%M%SZ")
    certify("-n", "127.0.21.4", "-V", f"20200101:{past.rstrip('Z')}")
    late = connect(line)
    assert late is not None
    assert any("valid until" in detail for detail in late.details)


# Ways


def test_proxy_jump_chain_with_include(world: World, tmp_path: Path) -> None:
    first = start(tmp_path / "first", "127.0.21.5")
    second = start(tmp_path / "second", "127.0.21.6")
    try:
        for hop in (first, second):
            hop.authorize(world.key.with_suffix(".pub"))
        world.know(first.known_hosts() + second.known_hosts() + world.server.known_hosts())
        world.config("Include conf.d/*.conf\nHost *\n IdentityFile ~/key\n")
        world.config(
            f"Host first\n HostName {first.address}\n Port {first.port}\n"
            f"Host second\n HostName {second.address}\n Port {second.port}\n ProxyJump first\n"
            f"Host web*\n HostName {world.server.address}\n Port {world.server.port}\n"
            f" ProxyJump second\n"
            f"Host *\n User {world.account.name}\n",
            "conf.d/10-fleet.conf",
        )
        shared = world.shared()
        for name in ("web1", "web2"):
            result = world.named(name, shared).run(["sh", "-c", "echo $SSH_CONNECTION"])
            assert result.stdout.split()[2] == world.server.address
        # Both went through one connection to each jump host.
        assert first.log.count("Accepted publickey") == 1
        assert second.log.count("Accepted publickey") == 1
        # The same, named in the inventory.
        jump = ",".join(f"{world.account.name}@{s.address}:{s.port}" for s in (first, second))
        assert world.executor(proxy_jump=jump).run(["true"]).ok
        second.stop()
        shared = world.shared()
        with ThreadPoolExecutor(5) as pool:
            errors = list(
                pool.map(
                    lambda n: fault(lambda: world.named(f"web{n}", shared).run(["true"])), range(5)
                )
            )
        assert {error.fault for error in errors} == {HostFault.UNREACHABLE}
        assert all("jump host second" in error.message for error in errors)
        assert [error.host for error in errors] == [f"web{n}" for n in range(5)]
    finally:
        first.stop()
        second.stop()


def test_a_closed_fleet_leaves_no_jump_host(world: World, tmp_path: Path) -> None:
    """A rollout in pull mode reaches its sample anew for days: nothing of a look may stay."""
    with start(tmp_path / "first", "127.0.21.7") as first:
        first.authorize(world.key.with_suffix(".pub"))
        world.know(first.known_hosts() + world.server.known_hosts())
        connection = Connection(
            address=world.server.address,
            port=world.server.port,
            user=world.account.name,
            identity_file=str(world.key),
            proxy_jump=f"{world.account.name}@{first.address}:{first.port}",
        )
        world.config("Host *\n IdentityFile ~/key\n")
        for look in (1, 2):
            fleet = over_ssh([Host("web1", connection=connection)], lambda _: "")
            assert fleet.executor("web1").run(["true"]).ok
            assert first.log.count("Closing connection to") == look - 1
            fleet.close()
            deadline = time.monotonic() + 30
            while first.log.count("Closing connection to") < look and time.monotonic() < deadline:
                time.sleep(0.05)
            assert first.log.count("Closing connection to") == look


def test_a_jump_host_that_is_gone_before_what_lies_behind_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    with start(tmp_path / "first", "127.0.21.9") as first:
        first.authorize(world.key.with_suffix(".pub"))
        world.know(first.known_hosts() + world.server.known_hosts())
        world.config("Host *\n IdentityFile ~/key\n")
        jump = f"{world.account.name}@{first.address}:{first.port}"
        executor = world.executor(proxy_jump=jump)
        assert executor.run(["true"]).ok
        behind = executor._transport
        assert behind is not None

        def gone(_: object, __: object) -> None:
            raise EOFError

        monkeypatch.setattr(PumpedTransport, "_send_user_message", gone)
        executor.close()
        behind.join(60)
        assert not behind.is_alive()
    assert not raised


def test_jumps_in_a_circle(world: World) -> None:
    world.config("Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump b\n")
    error = fault(lambda: world.named("a").run(["true"]))
    assert error.fault is HostFault.UNREACHABLE
    assert "circle" in error.message


def test_proxy_command(world: World) -> None:
    relay = (
        "python3 -c 'import socket,sys,threading,os\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "def up():\n"
        "  while (d:=os.read(0,65536)): s.sendall(d)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "while (d:=s.recv(65536)): os.write(1,d)'"
    )
    script = world.home / "relay.sh"
    script.write_text(f'{relay} "$1" "$2"\n')
    world.config(
        f"Host web\n HostName {world.server.address}\n Port {world.server.port}\n"
        f" User {world.account.name}\n IdentityFile ~/key\n"
        f" ProxyCommand sh {script} %h %p 2>/dev/null\n"
        "Host broken\n ProxyCommand echo no such way >&2\n"
    )
    executor = world.named("web")
    assert executor.run(["echo", "through"]).stdout == "through\n"
    executor.close()
    error = fault(lambda: world.named("broken").run(["true"]))
    assert error.fault is HostFault.UNREACHABLE
    assert "no such way" in error.message


def test_unreachable(world: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.21.9", 0))
        port = closed.getsockname()[1]
        refused = fault(lambda: world.executor(address="127.0.21.9", port=port).run(["true"]))
        assert refused.fault is HostFault.UNREACHABLE
        assert "refused" in refused.message
        closed.listen()
        mute = world.executor(address="127.0.21.9", port=port, connect_timeout=0.3)
        silent = fault(lambda: mute.run(["true"]))
        assert silent.fault is HostFault.UNREACHABLE
    unknown = fault(lambda: world.executor(address="no-such-host.invalid").run(["true"]))
    assert unknown.fault is HostFault.UNREACHABLE
    assert "resolved" in unknown.message


def test_the_first_address_that_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a name with an IPv6 address where the kernel has none, and one where nobody listens."""
    there = (world.server.address, world.server.port)
    with socket.socket() as closed:
        closed.bind(("127.0.21.9", 0))
        unknown = next(family for family in range(200, 256) if not supported(family))
        answers: list[tuple[int, object]] = [
            (unknown, there),
            (socket.AF_INET, closed.getsockname()),
            (socket.AF_INET, there),
        ]
        found = [(family, socket.SOCK_STREAM, 0, "", address) for family, address in answers]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_words, **_more: found)
        assert world.executor().run(["echo", "there"]).stdout == "there\n"


def supported(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


# Loss


def test_connection_cut_in_mid_command(world: World, tmp_path: Path) -> None:
    with Sshd(tmp_path / "cut", "127.0.21.7") as world.server:
        world.server.authorize(world.key.with_suffix(".pub"))
        world.know()
        executor = world.executor()
        starts: list[str] = []

        def cut(_stream: str, line: str) -> None:
            starts.append(line)
            world.server.cut()

        error = fault(
            lambda: executor.run(["sh", "-c", "echo begun; sleep 50"], on_line=cut, timeout=40)
        )
        assert error.fault is HostFault.CONNECTION_LOST
        assert starts == ["begun"], "a command that may have run is not sent again"
        assert executor.run(["echo", "back"]).stdout == "back\n"


def test_server_restarted_between_commands(world: World, tmp_path: Path) -> None:
    with Sshd(tmp_path / "restart", "127.0.21.8") as world.server:
        world.server.authorize(world.key.with_suffix(".pub"))
        world.know()
        executor = world.executor()
        assert executor.run(["true"]).ok
        world.server.stop()
        assert fault(lambda: executor.run(["true"])).fault is HostFault.UNREACHABLE
        world.server.start()
        assert executor.run(["echo", "again"]).stdout == "again\n"
        # Cut behind our back: the next command makes a new connection and runs once.
        world.server.cut()
        assert executor.run(["echo", "again"]).stdout == "again\n"


# sudo


@pytest.fixture
def sudo(account: Account) -> Iterator[Callable[[str], None]]:
    """Sets the throw-away user's rule in sudoers."""
    need_root()
    need("sudo")
    path = Path(f"/etc/sudoers.d/{account.name}")

    def rule(text: str) -> None:
        path.write_text(f"Defaults:{account.name} lecture=always\n{account.name} {text}\n")
        path.chmod(0o440)

    try:
        yield rule
    finally:
        path.unlink(missing_ok=True)
        for left in ("/run/sudo/ts", "/var/lib/sudo/lectured"):
            (Path(left) / account.name).unlink(missing_ok=True)


def test_sudo_without_password(world: World, sudo: Callable[[str], None]) -> None:
    sudo("ALL=(ALL) NOPASSWD: ALL")
    executor = world.executor()
    assert executor.run(["id", "-un"]).stdout == f"{world.account.name}\n"
    assert executor.run(["id", "-un"], as_root=True).stdout == "root\n"
    assert executor.run(["cat"], stdin=b"data", as_root=True).stdout == "data"
    assert executor.run(["sh", "-c", "exit 1"], as_root=True).exit_code == 1
    assert executor.run(["no-such-program"], as_root=True).exit_code == 127
    assert world.executor(become=False).run(["id", "-un"], as_root=True).stdout != "root\n"


def test_sudo_for_some_commands_only(world: World, sudo: Callable[[str], None]) -> None:
    sudo(f"ALL=(ALL) NOPASSWD: {need('id')}")
    executor = world.executor()
    assert executor.run(["id", "-un"], as_root=True).stdout == "root\n"
    assert fault(lambda: executor.run(["true"], as_root=True)).fault is HostFault.SUDO_REFUSED


def test_sudo_with_password_asked_once(
    world: World, sudo: Callable[[str], None], tmp_path: Path
) -> None:
    sudo(f"ALL=(ALL) ALL\n{world.account.name} ALL=(ALL) NOPASSWD: {need('cat')}")
    assert world.account.password
    error = fault(lambda: world.executor().run(["true"], as_root=True))
    assert error.fault is HostFault.SUDO_REFUSED
    assert "become_password" in (error.hint or "")

    world.answers = {"sudo password": world.account.password}
    shared = world.shared()
    told: list[tuple[str, str]] = []
    executors = [world.executor(shared, become_password=True) for _ in range(3)]
    for executor in executors:
        result = executor.run(
            ["sh", "-c", "id -un; ps -ef; cat; echo problem >&2; exit 4"],
            as_root=True,
            stdin=b"the data\nof two lines",
            on_line=lambda stream, line: told.append((stream, line)),
        )
        assert result.exit_code == 4
        assert result.stdout.startswith("root\n")
        assert result.stdout.endswith("the data\nof two lines")
        assert result.stderr == "problem\n"
        assert world.account.password not in result.stdout, "the password stands in argv"
    assert {line for stream, line in told if stream == "stderr"} == {"problem"}
    # A command that sudo lets through without one must not get the password as its input.
    assert executors[0].run(["cat"], as_root=True, stdin=b"only this").stdout == "only this"
    assert executors[0].run(["cat"], as_root=True).stdout == ""
    assert world.questions == [f"sudo password of {world.account.name}: "]

    target = Path("/etc") / f"{world.account.name}.test"
    try:
        executors[0].put(b"\0secret\n", str(target), mode=0o600, as_root=True)
        assert target.read_bytes() == b"\0secret\n"
        assert (target.owner(), target.stat().st_mode & 0o777) == ("root", 0o600)
        assert executors[1].get(str(target), as_root=True) == b"\0secret\n"
        assert fault(lambda: executors[1].get(str(target))).fault is HostFault.COMMAND_FAILED
    finally:
        target.unlink(missing_ok=True)


def test_what_sudo_remembers_does_not_let_the_password_through(
    world: World, sudo: Callable[[str], None]
) -> None:
    sudo(f"ALL=(ALL) ALL\nDefaults:{world.account.name} timestamp_type=global")
    assert world.account.password
    world.answers = {"sudo password": world.account.password}
    executor = world.executor(become_password=True)
    assert executor.run(["cat"], as_root=True, stdin=b"one").stdout == "one"
    # Somebody works on the host with sudo: from now on it would not ask.
    password = world.account.password.encode() + b"\n"
    assert executor.run(["sudo", "-S", "-v"], stdin=password).ok
    assert executor.run(["sudo", "-n", "true"]).ok
    assert executor.run(["cat"], as_root=True, stdin=b"two").stdout == "two"


def test_wrong_sudo_password(world: World, sudo: Callable[[str], None], tmp_path: Path) -> None:
    sudo("ALL=(ALL) ALL")
    assert world.account.password
    answers = iter(["wrong", world.account.password])
    shared = SshShared(ask=lambda _question: next(answers))
    assert world.executor(shared, become_password=True).run(["true"], as_root=True).ok

    world.answers = {"sudo password": "never right"}
    error = fault(
        lambda: world.executor(become_password=True).run(
            ["sh", "-c", f"cat > {tmp_path}/ran"], as_root=True, stdin=b"x"
        )
    )
    assert error.fault is HostFault.SUDO_REFUSED
    assert len(world.questions) == 3
    assert "never right" not in str(error) + str(error.details)
    assert not (tmp_path / "ran").exists()


def test_nobody_there_to_ask_for_the_sudo_password(
    world: World, sudo: Callable[[str], None]
) -> None:
    sudo("ALL=(ALL) ALL")

    def ask(_question: str) -> str:
        raise UsageError("there is no terminal to ask on", hint="run it on one")

    executor = world.executor(SshShared(ask=ask), become_password=True)
    error = fault(lambda: executor.run(["true"], as_root=True))
    assert error.fault is HostFault.SUDO_REFUSED
    assert "no terminal" in error.message
    assert error.hint == "run it on one"


def test_user_without_sudo_rights(world: World, sudo: Callable[[str], None]) -> None:
    assert world.account.password
    world.answers = {"sudo password": world.account.password}
    error = fault(lambda: world.executor(become_password=True).run(["true"], as_root=True))
    assert error.fault is HostFault.SUDO_REFUSED
    assert world.account.name in error.message
