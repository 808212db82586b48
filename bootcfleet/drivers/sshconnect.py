"""Opens an authenticated SSH connection: name, way, key exchange, host key, user."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paramiko

from bootcfleet.domain.inventory import Connection
from bootcfleet.domain.plaintext import one_line
from bootcfleet.drivers.command import CommandTimeoutError, LocalExecutor, ProcessSocket
from bootcfleet.drivers.knownhosts import KnownHosts
from bootcfleet.drivers.openfiles import allow_open_files
from bootcfleet.drivers.sshauth import Candidate, Keys, Secrets
from bootcfleet.drivers.sshconfig import SshConfig, read_config
from bootcfleet.drivers.sshhostkey import Trust, check
from bootcfleet.drivers.sshpump import PumpedTransport
from bootcfleet.drivers.sshtarget import Jump, Target, join
from bootcfleet.drivers.sshtransport import FleetTransport, HungUpError, tune
from bootcfleet.errors import ConfigError, FleetError, HostError, HostFault

_MAX_JUMPS = 8
#: Files for connections that are kept, of which a proxy command has three.
_OPEN_FILES = 65_536


@dataclass
class _Way:
    """The kept connection to a jump host, shared by all hosts behind it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    transport: FleetTransport | None = None
    failure: HostError | None = None
    failed_at: float = 0.0


class SshShared:
    """What all connections of a process share: configuration, known hosts, keys, answers.

    `ask` gets a question and returns the secret; it is called once for each, in
    whichever thread wants it first.  May be used from many threads.
    """

    def __init__(self, *, ask: Callable[[str], str]) -> None:
        # Connections are kept, and a thousand of them are more files than most systems begin with.
        allow_open_files(_OPEN_FILES)
        self.secrets = Secrets(ask)
        self.keys = Keys(self.secrets)
        self._configs: dict[str | None, SshConfig] = {}
        self._known: dict[tuple[str, ...], KnownHosts] = {}
        self._ways: dict[tuple[Target, ...], _Way] = {}
        self._making: set[socket.socket] = set()
        self._lock = threading.Lock()

    def target(self, name: str, connection: Connection) -> Target:
        """Where and as whom to connect to a host of the inventory.  Raises `ConfigError`."""
        with self._lock:
            wanted = connection.ssh_config
            if wanted not in self._configs:
                self._configs[wanted] = _load_config(wanted)
            config = self._configs[wanted]
        return join(name, connection, config, execute=_succeeds)

    def known(self, files: tuple[str, ...]) -> KnownHosts:
        """The known hosts of these files, read once."""
        with self._lock:
            if files not in self._known:
                self._known[files] = KnownHosts.load([Path(file) for file in files])
            return self._known[files]

    def open(self, name: str, connection: Connection) -> tuple[FleetTransport, Target]:
        """Connect, check the host key, authenticate.

        Raises `HostError` with the fault, and `ConfigError` for settings that
        cannot be used.
        """
        target = self.target(name, connection)
        sock = self._reach(name, target, self._route(name, target, connection))
        return self._handshake(name, target, sock), target

    def close(self) -> None:
        """Close the connections to jump hosts, and give up those that are being made."""
        with self._lock:
            ways = list(self._ways.values())
            self._ways.clear()
            making, self._making = self._making, set()
        for sock in making:
            # Whoever waits for it wakes up, be it for the peer's first word.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for way in ways:
            if way.transport is not None:
                way.transport.close()

    def _route(
        self, name: str, target: Target, connection: Connection, passed: tuple[str, ...] = ()
    ) -> tuple[Target, ...]:
        """The jump hosts on the way to a target, first hop first.

        The first of a list of jumps may have a way of its own in ssh's
        configuration.  Raises `ConfigError` when that goes round in a circle.
        """
        hops: list[Target] = []
        for number, jump in enumerate(target.jumps):
            hop = self._jump_target(jump, connection)
            if number == 0:
                seen = (*passed, f"{hop.address}:{hop.port}")
                if seen[-1] in passed or len(seen) > _MAX_JUMPS:
                    raise ConfigError(
                        f"the way to {name} goes round in a circle: {' → '.join(reversed(seen))}",
                        hint="look at ProxyJump in ~/.ssh/config; `ssh -G HOST` shows what applies",
                    )
                hops += self._route(name, hop, connection, seen)
            proxy = None if hops else hop.proxy_command
            hops.append(replace(hop, jumps=(), proxy_command=proxy))
        return tuple(hops)

    def _jump_target(self, jump: Jump, connection: Connection) -> Target:
        """A jump host by ssh's configuration.

        What the inventory names for the host behind it is tried for the jump
        host as well, after what the configuration names.
        """
        alone = Connection(
            address=jump.host, user=jump.user, port=jump.port, ssh_config=connection.ssh_config
        )
        hop = self.target(jump.host, alone)
        files = [str(Path(file).expanduser()) for file in filter(None, [connection.known_hosts])]
        keys = [str(Path(key).expanduser()) for key in filter(None, [connection.identity_file])]
        return replace(
            hop,
            known_hosts=tuple(dict.fromkeys((*files, *hop.known_hosts))),
            identities=tuple(dict.fromkeys((*hop.identities, *keys))),
        )

    def _reach(self, name: str, target: Target, hops: tuple[Target, ...]) -> Any:
        """Something that carries bytes to the target's port."""
        if hops:
            last = self._through(name, hops)
            try:
                return last.open_channel(
                    "direct-tcpip",
                    (target.address, target.port),
                    ("127.0.0.1", 0),
                    timeout=target.connect_timeout,
                )
            except (paramiko.SSHException, OSError, EOFError) as error:
                cause = f"the jump host {hops[-1].asked} says: {error}"
                raise _unreachable(name, target, cause) from error
        if target.proxy_command:
            # As ssh does it: a line for the shell, replaced by the command itself.
            return ProcessSocket.start(["/bin/sh", "-c", f"exec {target.proxy_command}"])
        try:
            sock = self._dial(target)
        except (OSError, UnicodeError) as error:
            raise _unreachable(name, target, _cause(error, target)) from error
        tune(sock, target)
        return sock

    def _dial(self, target: Target) -> socket.socket:
        """Connect to the first of the target's addresses that answers.

        As `socket.create_connection`, but `close` can end it.  Raises OSError and UnicodeError.
        """
        problem = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            target.address, target.port, type=socket.SOCK_STREAM
        ):
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:
                problem = error  # a kernel without IPv6
                continue
            with self._lock:
                self._making.add(sock)
            try:
                sock.settimeout(target.connect_timeout)
                sock.connect(address)
                return sock
            except OSError as error:
                problem = error
            given_up = not self._made(sock)
            sock.close()
            if given_up:
                break
        raise problem

    def _made(self, sock: Any) -> bool:
        """A connection is made, or is not to be had; False when `close` gave it up before."""
        with self._lock:
            known = sock in self._making
            self._making.discard(sock)
        return known

    def _through(self, name: str, hops: tuple[Target, ...]) -> FleetTransport:
        """The kept connection to the last of `hops`; one thread makes it, the others wait.

        Each hop's lock is taken before that of a shorter way, so no two threads
        wait for each other.
        """
        with self._lock:
            way = self._ways.setdefault(hops, _Way())
        asked_at = time.monotonic()
        with way.lock:
            if way.transport is not None and way.transport.is_active():
                return way.transport
            # Who waited while another tried in vain need not try again.
            if way.failure is not None and way.failed_at > asked_at:
                raise _for_jump(way.failure, name, hops[-1])
            try:
                sock = self._reach(name, hops[-1], hops[:-1])
                way.transport = self._handshake(name, hops[-1], sock)
            except HostError as error:
                way.failure, way.failed_at = error, time.monotonic()
                raise _for_jump(error, name, hops[-1]) from error
            return way.transport

    def _handshake(self, name: str, target: Target, sock: Any) -> FleetTransport:
        transport: FleetTransport | None = None
        try:
            trust = Trust.of(target, self.known(target.known_hosts))
            # Only a socket can be listened to together with others; a channel cannot.
            kind = PumpedTransport if isinstance(sock, socket.socket) else FleetTransport
            transport = kind(sock, trust.algorithms())
            with transport.driven():
                transport.negotiate(target)
                shown = transport.get_remote_server_key()
                check(name, target, shown, trust, datetime.now(UTC))
                self._authenticate(name, target, transport)
        except BaseException as error:
            with contextlib.suppress(OSError, EOFError):
                (transport or sock).close()
            if isinstance(error, paramiko.SSHException | EOFError | OSError):
                greeting = transport.greeting if transport else ""
                cause = _handshake_cause(error, sock, greeting)
                raise _unreachable(name, target, cause) from error
            raise
        finally:
            self._made(sock)
        return transport

    def _authenticate(self, name: str, target: Target, transport: FleetTransport) -> None:
        tried: list[str] = []
        accepted: list[str] = []
        with contextlib.closing(self._candidates(name, target)) as candidates:
            for candidate in candidates:
                tried.append(candidate.label)
                if candidate.key is None:
                    continue
                try:
                    needed = transport.auth_publickey(target.user, candidate.key)
                except paramiko.BadAuthenticationType as error:
                    accepted = list(error.allowed_types)
                    break
                except HungUpError as error:
                    raise _refused(name, target, tried, [], hung_up=str(error)) from error
                except paramiko.AuthenticationException as error:
                    if transport.is_active():
                        continue
                    if len(tried) == 1:
                        # Nobody counts keys yet: the network, or a server that ends.
                        raise EOFError from error
                    why = "it closes the connection"
                    raise _refused(name, target, tried, [], hung_up=why) from error
                except paramiko.SSHException as error:
                    # The agent would not sign, or the server has no use for this type of key.
                    if not transport.is_active():
                        raise
                    tried[-1] += f" ({error})"
                    continue
                if transport.is_authenticated():
                    return
                accepted = list(needed or ())
                break
        if not accepted:
            # "none" is an answer for users without a password, and lists what the server takes.
            try:
                transport.auth_none(target.user)
            except paramiko.BadAuthenticationType as error:
                accepted = list(error.allowed_types)
            except (paramiko.SSHException, EOFError, OSError):
                accepted = []
            if transport.is_authenticated():
                return
        raise _refused(name, target, tried, accepted)

    def _candidates(self, name: str, target: Target) -> Generator[Candidate, None, None]:
        try:
            yield from self.keys.candidates(target)
        except HostError:
            raise
        except FleetError as error:
            raise HostError(
                name,
                HostFault.AUTH_FAILED,
                f"{target.user}@{target.address}: {error.message}",
                hint=error.hint,
            ) from error


def _load_config(named: str | None) -> SshConfig:
    """The file that the inventory names, or else the user's and then the system's."""
    home = Path.home() / ".ssh"
    if named is not None:
        path = Path(named).expanduser()
        return SshConfig((read_config(path, folder=home, required=True),))
    system = Path("/etc/ssh")
    return SshConfig(
        (
            read_config(home / "config", folder=home, private=True),
            read_config(system / "ssh_config", folder=system),
        )
    )


def _succeeds(command: str) -> bool:
    """Run the command of a ``Match exec``, as ssh does."""
    try:
        return LocalExecutor().run(["/bin/sh", "-c", command], timeout=15).ok
    except CommandTimeoutError:
        return False


def _cause(error: Exception, target: Target) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {target.connect_timeout:g} s"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved ({error.strerror})"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _handshake_cause(error: Exception, sock: object, greeting: str) -> str:
    if isinstance(sock, ProcessSocket) and (complaint := sock.complaint()):
        return f"the proxy command says: {complaint}"
    text = str(error) or "the connection was closed"
    if "banner" in text:
        said = f"; it says {one_line(greeting, 100)!r}" if greeting else ""
        return f"it accepts the connection but does not greet as an SSH server{said}"
    return f"the SSH handshake failed: {text}"


def _for_jump(error: HostError, name: str, hop: Target) -> HostError:
    return HostError(
        name,
        error.fault,
        f"jump host {hop.asked}: {error.message}",
        hint=error.hint,
        details=error.details,
    )


def _unreachable(name: str, target: Target, cause: str) -> HostError:
    return HostError(
        name,
        HostFault.UNREACHABLE,
        f"{target.address} port {target.port} cannot be reached: {cause}",
        hint=f"try: {target.ssh_command()}",
    )


def _refused(
    name: str, target: Target, tried: list[str], accepted: list[str], *, hung_up: str = ""
) -> HostError:
    who = f"{target.user}@{target.address}"
    keys = f"{len(tried)} key{'' if len(tried) == 1 else 's'}"
    if not tried:
        message = f"there is no key to offer to {who}"
    elif hung_up:
        message = f"{who} hung up after {keys}: {one_line(hung_up, 200)}"
    else:
        message = f"{who} refuses {keys}"
    if accepted:
        message += f"; the server takes {', '.join(accepted)}"
    if hung_up:
        hint = "too many keys may have been offered: name one with identity_file in the inventory"
    elif not tried:
        hint = "make a key with ssh-keygen, start ssh-agent, or set identity_file in the inventory"
    else:
        hint = f"try: {target.ssh_command('-v')}"
    return HostError(
        name,
        HostFault.AUTH_FAILED,
        message,
        hint=hint,
        details=[f"tried {label}" for label in tried],
    )
