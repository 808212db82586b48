"""paramiko's transport with the choices that make a fleet fast and a signal visible.

What was measured stands in field note *SSH fan-out*.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import paramiko
from paramiko.common import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)

from bootcfleet.drivers.sshpacket import FleetPacketizer
from bootcfleet.drivers.sshtarget import Target

# Cheapest first, the strong ones that a server may insist on kept.
_KEX = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "mlkem768x25519-sha256",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
)
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
_MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)

#: What may be said of an open channel only (RFC 4254, 5).
_WHILE_OPEN = frozenset(
    {
        MSG_CHANNEL_WINDOW_ADJUST,
        MSG_CHANNEL_DATA,
        MSG_CHANNEL_EXTENDED_DATA,
        MSG_CHANNEL_EOF,
        MSG_CHANNEL_REQUEST,
    }
)

# paramiko logs every failed connection, with a traceback, and without a handler Python prints
# that to stderr.  The errors that it raises say the same.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class HungUpError(paramiko.SSHException):
    """The peer ended the connection and said why."""


class FleetTransport(paramiko.Transport):
    """A transport that offers what we choose and keeps the signal that ended a command."""

    # The thread wakes ten times a second to look whether it should end: with hundreds of idle
    # connections a good part of a core.  It must be here, not set later: the constructor takes it.
    _active_check_timeout = 5.0

    def __init__(
        self,
        sock: Any,
        host_key_algorithms: tuple[str, ...],
        packetizer: type[FleetPacketizer] = FleetPacketizer,
    ) -> None:
        super().__init__(sock, packetizer_class=packetizer)
        self._host_key_algorithms = host_key_algorithms
        self._by_remote: weakref.WeakValueDictionary[int, paramiko.Channel] = (
            weakref.WeakValueDictionary()
        )
        options = self.get_security_options()
        for name, wanted in (("kex", _KEX), ("ciphers", _CIPHERS), ("digests", _MACS)):
            offered = set(getattr(options, name))
            setattr(options, name, tuple(word for word in wanted if word in offered))

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms to offer; paramiko's own order is fixed."""
        known: dict[str, Any] = getattr(self, "_key_info", {})
        return tuple(name for name in self._host_key_algorithms if name in known)

    def close(self) -> None:
        """Close at once: the reading thread sleeps in the socket and is woken by its end."""
        with contextlib.suppress(OSError, AttributeError, EOFError):
            self.sock.shutdown(socket.SHUT_RDWR)
        # What lies over a jump host says goodbye to it, and it may be gone.
        with contextlib.suppress(OSError, EOFError):
            super().close()
        with contextlib.suppress(OSError, EOFError):
            self.sock.close()

    def _send_message(self, data: paramiko.Message) -> None:
        """Send, unless it is about a channel that has been closed meanwhile.

        paramiko makes a message and sends it later, and what closes the channel in between (the
        command has ended) overtakes it.  OpenSSH ends the connection for it, with the commands of
        all others.  paramiko's lock for sending is held here, so nothing comes in between now.
        """
        head = data.asbytes()[:5]
        if head[0] in _WHILE_OPEN and not self._is_open(int.from_bytes(head[1:], "big")):
            return
        super()._send_message(data)  # type: ignore[misc]

    def _is_open(self, remote: int) -> bool:
        """Whether a channel is open, by the number that the peer gave it."""
        channel = self._by_remote.get(remote)
        if channel is not None and not channel.closed:
            return True
        channels: Any = getattr(self, "_channels", None)
        for one in channels.values():
            if one.remote_chanid == remote and not one.closed:
                self._by_remote[remote] = one
                return True
        return False

    def get_exception(self) -> Exception | None:
        """What ended the connection: always an `SSHException`, EOFError or OSError.

        A packet that was damaged on its way fails in the cipher, with an exception of its own.
        """
        error = super().get_exception()
        if error is None or isinstance(error, paramiko.SSHException | EOFError | OSError):
            return error
        return paramiko.SSHException(f"a packet cannot be read ({type(error).__name__})")

    @property
    def greeting(self) -> str:
        """The first line that the peer said, where it is known."""
        return ""

    @contextlib.contextmanager
    def driven(self) -> Iterator[None]:
        """For transports without a reading thread; here it changes nothing."""
        yield

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Wait until the event is set, at most `timeout` seconds; whether it is."""
        return event.wait(timeout)

    def negotiate(self, target: Target) -> None:
        """Banner and key exchange.  Raises `paramiko.SSHException`, EOFError or OSError."""
        self.banner_timeout = target.connect_timeout
        self.handshake_timeout = target.connect_timeout
        # A server may think long about a key (a slow directory service, a busy host).
        self.auth_timeout = max(30.0, target.connect_timeout)
        try:
            self.start_client(timeout=target.connect_timeout)
        except (paramiko.SSHException, EOFError, OSError):
            raise
        except Exception as error:
            # The reading thread hands over whatever stopped it.
            raise paramiko.SSHException(f"{type(error).__name__}: {error}") from error
        if not self.initial_kex_done:
            raise paramiko.SSHException(f"no key exchange within {target.connect_timeout:g} s")
        if target.keepalive:
            self.set_keepalive(target.keepalive)


def tune(sock: socket.socket, target: Target) -> None:
    """Set a connected socket so that commands go out at once and a dead peer is noticed.

    The keepalives of the transport are not answered by a host that is gone; the
    kernel gives up after as long as ssh would (ServerAliveInterval ×
    ServerAliveCountMax).
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if target.keepalive and hasattr(socket, "TCP_USER_TIMEOUT"):
        # One interval more: the first unanswered packet starts the clock.
        limit = target.keepalive * (target.keepalive_count + 1) * 1000
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)


def _request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """Read ``exit-signal`` (RFC 4254, 6.10), which paramiko passes over; leave the rest to it."""
    start = message.packet.tell()
    kind = message.get_text()
    message.get_boolean()
    if kind == "exit-signal":
        number = getattr(signal, f"SIG{message.get_text()}", None)
        if isinstance(number, signal.Signals):
            channel.exit_status = 128 + number
            channel.status_event.set()
            return
    message.packet.seek(start)
    _handle_request(channel, message)


# One entry of paramiko's table of handlers, for our transports only.
_handlers: dict[int, Any] = getattr(paramiko.Transport, "_channel_handler_table", {})
_handle_request: Any = _handlers.get(MSG_CHANNEL_REQUEST)
if _handle_request is not None:
    _ours = {**_handlers, MSG_CHANNEL_REQUEST: _request}
    setattr(FleetTransport, "_channel_handler_table", _ours)  # noqa: B010 - mypy's stubs hide it
