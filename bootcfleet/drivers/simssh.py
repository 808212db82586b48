"""Real SSH servers for simulated hosts: one listening socket and one host key each.

One thread accepts for all hosts, so that hundreds of idle ones cost nothing; a
connection has paramiko's thread, a running command one more.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from bootcfleet.domain.faults import Fault
from bootcfleet.drivers import simshell
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import SimHost
from bootcfleet.drivers.sshpacket import FleetPacketizer
from bootcfleet.errors import FleetError

USERS = frozenset({"root", "admin"})

# Clients that go away are what a lab is for; without a handler Python prints them as warnings.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass
class _Endpoint:
    """A host with its listening socket, its keys and the connections that are open."""

    host: SimHost
    listener: socket.socket
    key: paramiko.PKey
    other_key: paramiko.PKey
    transports: set[paramiko.Transport] = field(default_factory=set)


class SimSshServers:
    """The SSH servers of a lab.  `authorized` is the public key that they let in."""

    def __init__(self, authorized: paramiko.PKey, *, sudo_password: str | None = None) -> None:
        self._authorized = authorized
        self._sudo_password = sudo_password
        self._endpoints: dict[str, _Endpoint] = {}
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="lab-ssh", daemon=True)

    def add(
        self,
        host: SimHost,
        key: paramiko.PKey,
        other_key: paramiko.PKey,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> int:
        """Listen for a host; returns its port.  Raises `FleetError` when that is taken."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as error:
            listener.close()
            raise FleetError(
                f"{host.name} cannot listen on {address}:{port}: {error.strerror}"
            ) from error
        listener.listen(64)
        listener.setblocking(False)
        endpoint = _Endpoint(host, listener, key, other_key)
        host.on_reboot = lambda: self._disconnect(endpoint)
        with self._lock:
            self._endpoints[host.name] = endpoint
            self._selector.register(listener, selectors.EVENT_READ, endpoint)
        port_there: int = listener.getsockname()[1]
        return port_there

    def start(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def stop(self) -> None:
        """Close everything."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)
        with self._lock:
            endpoints = list(self._endpoints.values())
            self._endpoints.clear()
        for endpoint in endpoints:
            endpoint.listener.close()
            self._disconnect(endpoint)
        self._selector.close()

    def connections(self) -> Mapping[str, int]:
        """How many connections each host has."""
        with self._lock:
            return {
                name: sum(1 for t in endpoint.transports if t.is_active())
                for name, endpoint in self._endpoints.items()
            }

    def drop(self, name: str) -> None:
        """Cut every connection of a host."""
        self._disconnect(self._endpoints[name])

    def _accept(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.2):
                endpoint: _Endpoint = key.data
                with contextlib.suppress(OSError):
                    sock, _address = endpoint.listener.accept()
                    if endpoint.host.up:
                        self._serve(endpoint, sock)
                    else:
                        sock.close()

    def _serve(self, endpoint: _Endpoint, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = _Transport(sock)
        changed = endpoint.host.has(Fault.HOST_KEY_CHANGED)
        transport.add_server_key(endpoint.other_key if changed else endpoint.key)
        with self._lock:
            endpoint.transports = {t for t in endpoint.transports if t.is_active()}
            endpoint.transports.add(transport)
        server = _Server(endpoint.host, self._authorized, self._sudo_password)
        try:
            transport.start_server(event=threading.Event(), server=server)
        except (paramiko.SSHException, OSError):
            transport.close()

    def _disconnect(self, endpoint: _Endpoint) -> None:
        with self._lock:
            transports, endpoint.transports = endpoint.transports, set()
        for transport in transports:
            # Else its thread, which wakes seldom, keeps the connection open for seconds.
            with contextlib.suppress(OSError):
                transport.sock.shutdown(socket.SHUT_RDWR)
            transport.close()


class _Transport(paramiko.Transport):
    """A transport that starts commands only after their request was granted.

    paramiko sends the reply to an exec request after `check_channel_exec_request`
    has returned; a command that is faster than that would close its channel
    before the client knows that it was opened for it.
    """

    # paramiko wakes ten times a second otherwise; it reads this while it is being made.
    _active_check_timeout = 5

    def __init__(self, sock: socket.socket) -> None:
        # No thread for the time limit of each handshake.
        super().__init__(sock, packetizer_class=FleetPacketizer)
        self.waiting: list[Callable[[], None]] = []

    def _send_user_message(self, data: Any) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        while self.waiting and threading.current_thread() is self:
            self.waiting.pop(0)()


class _Server(paramiko.ServerInterface):
    """One connection: who may come in, and what a command does."""

    def __init__(self, host: SimHost, authorized: paramiko.PKey, sudo_password: str | None) -> None:
        self._host = host
        self._authorized = authorized
        self._sudo_password = sudo_password
        self._user = ""

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 - paramiko's interface
        """Public keys only."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """The lab's own key, for the users that a host has."""
        if username in USERS and key.asbytes() == self._authorized.asbytes():
            self._user = username
            return AUTH_SUCCESSFUL
        return AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        """Sessions only."""
        if kind == "session":
            return OPEN_SUCCEEDED
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: Any) -> bool:
        """Answer a command, in a thread of its own since it may take its time."""
        line = command.decode("utf-8", "replace") if isinstance(command, bytes) else str(command)
        runner = threading.Thread(target=self._run, args=(channel, line), daemon=True)
        transport = channel.get_transport()
        if isinstance(transport, _Transport):
            transport.waiting.append(runner.start)
        return True

    def _run(self, channel: paramiko.Channel, line: str) -> None:
        def gone() -> bool:
            transport = channel.get_transport()
            return channel.closed or transport is None or not transport.is_active()

        def stdin() -> bytes:
            data = b""
            while chunk := channel.recv(65536):
                data += chunk
            return data

        def say(text: str) -> None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                channel.sendall(text.encode())

        session = simshell.Session(
            self._host, self._user, simshell.Input(stdin), gone, self._sudo_password, say
        )
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            said = simshell.run(session, line)
            self._answer(channel, said)

    def _answer(self, channel: paramiko.Channel, said: Said) -> None:
        if said.stdout:
            channel.sendall(said.stdout.encode("utf-8", "surrogateescape"))
        if said.stderr:
            channel.sendall_stderr(said.stderr.encode())
        if said.cut:
            channel.get_transport().close()
            return
        if said.reboots:
            # The connection goes down with the host, as it does when systemd reboots.
            self._host.reboot(soft=said.soft, full=said.full)
            return
        channel.send_exit_status(said.code)
        channel.close()
