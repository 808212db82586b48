"""Opens an authenticated SSH connection: name, proxy, key exchange, host key, user."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.knownhosts import KnownHosts, KnownKey, fingerprint, lookup_name
from bootcfleet.drivers.sshauth import Keys, Secrets
from bootcfleet.drivers.sshconfig import Target, join, read_config
from bootcfleet.errors import FleetError, HostError, HostFault

# Cheapest first, the strong ones that a server may insist on kept (field note *SSH fan-out*).
_KEX = (
    "curve25519-sha256@libssh.org",
    "curve25519-sha256",
    "mlkem768x25519-sha256",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
)
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class SshShared:
    """What all connections of a process share: configuration, known hosts, keys, answers.

    `ask` gets a question and returns the secret; it is called once for each.
    """

    def __init__(self, *, ask: Callable[[str], str]) -> None:
        self.secrets = Secrets(ask)
        self.keys = Keys(self.secrets)
        self._configs: dict[str | None, paramiko.SSHConfig] = {}
        self._known: dict[tuple[str, ...], KnownHosts] = {}
        self._jumps: dict[tuple[str, ...], paramiko.Transport] = {}
        self._lock = threading.RLock()

    def target(self, name: str, connection: Connection) -> Target:
        """Where and as whom to connect to a host of the inventory."""
        with self._lock:
            wanted = connection.ssh_config
            if wanted not in self._configs:
                path = Path(wanted or "~/.ssh/config").expanduser()
                self._configs[wanted] = read_config(path, required=wanted is not None)
            return join(name, connection, self._configs[wanted])

    def known(self, files: tuple[str, ...]) -> KnownHosts:
        """The known hosts of these files, read once."""
        with self._lock:
            if files not in self._known:
                self._known[files] = KnownHosts.load([Path(f).expanduser() for f in files])
            return self._known[files]

    def open(self, name: str, connection: Connection) -> tuple[paramiko.Transport, Target]:
        """Connect, check the host key, authenticate.  Raises `HostError`."""
        target = self.target(name, connection)
        sock = self._socket(name, target, connection)
        return self._handshake(name, target, sock), target

    def _socket(self, name: str, target: Target, connection: Connection) -> Any:
        if target.jumps:
            hop = self._jump(name, target.jumps, connection)
            try:
                return hop.open_channel(
                    "direct-tcpip",
                    (target.address, target.port),
                    ("127.0.0.1", 0),
                    timeout=target.connect_timeout,
                )
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise _unreachable(name, target, f"through {target.jumps[-1]}: {error}") from error
        if target.proxy_command:
            return paramiko.ProxyCommand(target.proxy_command)
        try:
            sock = socket.create_connection(
                (target.address, target.port), timeout=target.connect_timeout
            )
        except OSError as error:
            raise _unreachable(name, target, _cause(error)) from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _jump(
        self, name: str, jumps: tuple[str, ...], connection: Connection
    ) -> paramiko.Transport:
        """The connection to the last of `jumps`, shared by all hosts behind it."""
        with self._lock:
            kept = self._jumps.get(jumps)
            if kept is not None and kept.is_active():
                return kept
            user, _, rest = jumps[-1].rpartition("@")
            host, _, port = rest.partition(":")
            through = Connection(
                address=host,
                user=user or None,
                port=int(port) if port else None,
                identity_file=connection.identity_file,
                known_hosts=connection.known_hosts,
                ssh_config=connection.ssh_config,
            )
            target = self.target(host, through)
            if jumps[:-1]:
                target = replace(target, jumps=jumps[:-1])
            sock = self._socket(f"{name} (jump {host})", target, through)
            transport = self._handshake(f"{name} (jump {host})", target, sock)
            self._jumps[jumps] = transport
            return transport

    def _handshake(self, name: str, target: Target, sock: Any) -> paramiko.Transport:
        known = self.known(target.known_hosts).find(target.alias, target.port)
        transport = paramiko.Transport(sock)
        try:
            self._negotiate(transport, known, target)
            _check_host_key(name, target, transport, known)
            self._authenticate(name, target, transport)
        except HostError:
            transport.close()
            raise
        except (paramiko.SSHException, EOFError, OSError) as error:
            transport.close()
            raise _unreachable(name, target, f"the SSH handshake failed: {error}") from error
        except BaseException:
            transport.close()
            raise
        if target.keepalive:
            transport.set_keepalive(target.keepalive)
        return transport

    def _negotiate(
        self, transport: paramiko.Transport, known: list[KnownKey], target: Target
    ) -> None:
        # A host key of a type that is known is asked for first, as OpenSSH does: a host that
        # offers several must not look changed because another of its keys came.
        types = [key.key_type for key in known if not key.marker]
        first = [
            t for t in _KEY_TYPES if t in types or (t.startswith("rsa") and "ssh-rsa" in types)
        ]
        options = transport.get_security_options()
        for name, wanted in (
            ("kex", _KEX),
            ("ciphers", _CIPHERS),
            ("key_types", tuple(dict.fromkeys((*first, *_KEY_TYPES)))),
        ):
            offered = set(getattr(options, name))
            setattr(options, name, tuple(w for w in wanted if w in offered))
        # The transport's thread wakes ten times a second to look whether it should end; with
        # hundreds of idle connections that is a good part of a core (field note).
        if hasattr(transport, "_active_check_timeout"):
            transport._active_check_timeout = 5
        transport.banner_timeout = target.connect_timeout
        transport.auth_timeout = max(30.0, target.connect_timeout)
        transport.start_client(timeout=target.connect_timeout)

    def _authenticate(self, name: str, target: Target, transport: paramiko.Transport) -> None:
        tried = []
        try:
            candidates = self.keys.candidates(target)
        except HostError:
            raise
        except FleetError as error:
            raise HostError(name, HostFault.AUTH_FAILED, error.message, hint=error.hint) from error
        for key in candidates:
            tried.append(f"{key.get_name()} {fingerprint(key.asbytes())}")
            try:
                transport.auth_publickey(target.user, key)
            except paramiko.BadAuthenticationType as error:
                raise _refused(name, target, tried, list(error.allowed_types)) from error
            except paramiko.AuthenticationException:
                continue
            if transport.is_authenticated():
                return
        with contextlib.suppress(paramiko.SSHException):
            # "none" is an answer for users without a password, and lists what the server takes.
            transport.auth_none(target.user)
            if transport.is_authenticated():
                return
        raise _refused(name, target, tried, [])


def _check_host_key(
    name: str, target: Target, transport: paramiko.Transport, known: list[KnownKey]
) -> None:
    """Strict, always: an unknown key and a changed one are both refused."""
    offered = transport.get_remote_server_key()
    blob = offered.asbytes()
    asked = lookup_name(target.alias, target.port)
    shown = f"{offered.get_name()} {fingerprint(blob)}"
    for key in known:
        if key.marker == "@revoked" and key.key == blob:
            raise HostError(
                name,
                HostFault.HOST_KEY_CHANGED,
                f"the host key of {asked} ({shown}) is marked as revoked in {key.where}",
            )
    plain = [key for key in known if not key.marker]
    if any(key.key == blob for key in plain):
        return
    file = target.known_hosts[0]
    scan = f"ssh-keyscan -p {target.port} {target.address} >> {file}"
    if not plain:
        raise HostError(
            name,
            HostFault.HOST_KEY_UNKNOWN,
            f"the host key of {asked} is not known ({shown})",
            hint=f"compare the fingerprint on the host's console, then trust it: {scan}",
            details=[f"looked in {', '.join(target.known_hosts)}"],
        )
    raise HostError(
        name,
        HostFault.HOST_KEY_CHANGED,
        f"the host key of {asked} has changed: it is {shown}",
        hint="if the host was reinstalled, compare the fingerprint on its console, then: "
        f"ssh-keygen -f {file} -R '{asked}' && {scan}",
        details=[f"{key.where} has {key.key_type} {fingerprint(key.key)}" for key in plain],
    )


def _cause(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return error.strerror or str(error)


def _unreachable(name: str, target: Target, cause: str) -> HostError:
    return HostError(
        name,
        HostFault.UNREACHABLE,
        f"{target.address} port {target.port} cannot be reached: {cause}",
        hint=f"try: ssh -p {target.port} {target.user}@{target.address}",
    )


def _refused(name: str, target: Target, tried: list[str], accepted: list[str]) -> HostError:
    takes = f"; the server takes {', '.join(accepted)}" if accepted else ""
    return HostError(
        name,
        HostFault.AUTH_FAILED,
        f"{target.user}@{target.address} refuses "
        + (f"{len(tried)} key{'s' if len(tried) > 1 else ''}{takes}" if tried else "us: no keys"),
        hint=f"try: ssh -v -p {target.port} {target.user}@{target.address}",
        details=[f"tried {key}" for key in tried],
    )
