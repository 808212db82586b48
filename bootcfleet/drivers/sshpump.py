"""An SSH connection without a thread of its own.

paramiko gives each connection a thread that reads, and each answer passes from it to
the thread that waits.  Here the waiting thread reads by itself, and a connection that
nobody uses is listened to by `sshidle`.  That halves the CPU of a first contact and
takes it away from connections that are only kept (field note *SSH fan-out*).
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import (
    MSG_CHANNEL_OPEN,
    MSG_DEBUG,
    MSG_DISCONNECT,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEXINIT,
    MSG_UNIMPLEMENTED,
)

from bootcfleet.drivers.sshidle import IDLE
from bootcfleet.drivers.sshpacket import BufferedPacketizer, wait_for
from bootcfleet.drivers.sshtarget import Target
from bootcfleet.drivers.sshtransport import FleetTransport, HungUpError

#: The messages of a key exchange method itself (RFC 4250, 4.1.2, and RFC 5656).
_KEX_MESSAGES = range(30, 50)
#: Seconds that a server may take to open a channel.
_OPEN_LIMIT = 30.0


class PumpedTransport(FleetTransport):
    """A transport over a socket, read by whoever waits for it.

    `driven` makes the calling thread the reader.  Other threads wait for their
    events as ever: whoever reads handles everybody's messages.
    """

    packetizer: BufferedPacketizer

    def __init__(self, sock: socket.socket, host_key_algorithms: tuple[str, ...]) -> None:
        super().__init__(sock, host_key_algorithms, BufferedPacketizer)
        sock.setblocking(False)
        self._socket = sock
        self._reading = threading.Lock()
        self._driver: int | None = None
        self._listened = False
        self._silence = 0.0
        self._patience = 0.0
        self._asked = 0.0

    @property
    def _inner(self) -> Any:
        """Ourselves, for the parts of paramiko that its types do not show."""
        return self

    def fileno(self) -> int:
        """The socket's number, -1 when it is closed."""
        return int(self._socket.fileno())

    def start_client(
        self, event: threading.Event | None = None, timeout: float | None = None
    ) -> None:
        """Greet and exchange keys, without starting a thread.  Raises as paramiko does."""
        limit = timeout or 15.0
        self.active = True
        self.completion_event = done = event or threading.Event()
        self.packetizer.start_handshake(limit)
        with self.driven():
            try:
                self.packetizer.write_all(self.local_version.encode() + b"\r\n")
                self._inner._send_kex_init()
                self._inner._expect_packet(MSG_KEXINIT)
                self.packetizer.flush()
                self._inner._check_banner()
            except Exception as error:
                self._fail(error)
                raise
            self.wait(done, limit)
        if not self.active:
            raise self.get_exception() or paramiko.SSHException("the negotiation failed")

    def negotiate(self, target: Target) -> None:
        """See `FleetTransport.negotiate`."""
        super().negotiate(target)
        self._patience = self._silence * (target.keepalive_count + 1)
        if self.packetizer.blind:
            # A packet's length is hidden by these ciphers: reading may have to wait.
            threading.Thread(target=self._follow, name="ssh-follow", daemon=True).start()
        else:
            self._listened = True
        IDLE.add(self)

    @property
    def greeting(self) -> str:
        """See `FleetTransport.greeting`."""
        return self.packetizer.greeting

    def set_keepalive(self, interval: float) -> None:
        """Ask for a sign of life after `interval` seconds of silence; see `look`."""
        self._silence = interval

    def auth_publickey(
        self, username: str, key: paramiko.PKey, event: threading.Event | None = None
    ) -> list[str]:
        """See `paramiko.Transport.auth_publickey`."""
        done = event or threading.Event()
        with self.driven():
            super().auth_publickey(username, key, done)
            return [] if event is not None else self._answer(done)

    def auth_none(self, username: str) -> list[str]:
        """See `paramiko.Transport.auth_none`."""
        if not self.active or not self.initial_kex_done:
            raise paramiko.SSHException("there is no session to authenticate")
        handler = self.auth_handler = AuthHandler(self)
        done = threading.Event()
        with self.driven():
            handler.auth_none(username, done)
            return self._answer(done)

    def _answer(self, done: threading.Event) -> list[str]:
        if self.auth_handler is None:
            return []
        if not self.wait(done, self.auth_timeout) and self.active:
            raise TimeoutError(f"no answer to a key within {self.auth_timeout:g} s")
        return list(self.auth_handler.wait_for_response(done))

    @contextlib.contextmanager
    def driven(self) -> Iterator[None]:
        """The calling thread reads meanwhile, unless another one does."""
        if self._driver == threading.get_ident() or not self._reading.acquire(blocking=False):
            yield
            return
        self._driver = self.packetizer.holder = threading.get_ident()
        if self._listened:
            IDLE.listen(self, False)
        try:
            yield
        finally:
            self._driver = self.packetizer.holder = None
            self._leave()

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Wait until the event is set, at most `timeout` seconds; whether it is."""
        if self._driver != threading.get_ident():
            return event.wait(timeout)
        deadline = time.monotonic() + timeout
        while not event.is_set() and self.active:
            if not self._handle(event):
                left = deadline - time.monotonic()
                try:
                    self.packetizer.flush()
                    if left <= 0 or not wait_for(self._socket, select.POLLIN, left):
                        break
                    self.packetizer.fill()
                except (EOFError, OSError) as error:
                    self._fail(error)
        return event.is_set()

    def take_in(self) -> None:
        """Handle what has arrived, unless a driver is there: it does."""
        if self._reading.acquire(blocking=False):
            with contextlib.suppress(EOFError, OSError):
                self._fill()
            self._leave()

    def look(self, now: float) -> None:
        """Ask the peer for a sign of life after a silence; give it up when none comes.

        As ssh does it (ServerAliveInterval, ServerAliveCountMax): TCP alone does
        not notice a host that hangs, nor one behind a jump host.
        """
        if not self._silence or not self.active:
            return
        quiet = now - self.packetizer.heard
        if quiet < self._silence:
            return
        try:
            if quiet >= self._patience and not wait_for(self._socket, select.POLLIN, 0):
                self._fail(EOFError(f"no sign of life for {quiet:.0f} s"))
            elif now - self._asked >= self._silence and self.clear_to_send.is_set():
                self._asked = now
                # Never waits: where nothing can be sent, nothing will be heard either.
                if wait_for(self._socket, select.POLLOUT, 0):
                    self._inner._send_message(_sign_of_life())
        except (EOFError, OSError) as error:
            self._fail(error)

    def close(self) -> None:
        """Close at once."""
        IDLE.remove(self)
        super().close()

    def _send_user_message(self, data: Any) -> None:
        """Send; then, for the opening of a channel by the reader, read until it is answered.

        `open_channel` waits for an event of its own, which only a reader sets.
        """
        mine = self._driver == threading.get_ident()
        if mine and not self.clear_to_send.is_set():
            # New keys are being made: who else should read the answer?
            self.wait(self.clear_to_send, self.clear_to_send_timeout)
        super()._send_user_message(data)  # type: ignore[misc]
        body = data.asbytes()
        if mine and body[0] == MSG_CHANNEL_OPEN:
            opening = paramiko.Message(body[1:])
            opening.get_string()
            answered = self.channel_events.get(opening.get_int())
            if answered is not None:
                self.wait(answered, _OPEN_LIMIT)

    def _fill(self) -> None:
        """Read once.  Raises EOFError or OSError after the connection was given up."""
        try:
            self.packetizer.fill()
        except (EOFError, OSError) as error:
            self._fail(error)
            raise

    def _leave(self) -> None:
        """Stop being the reader: handle the packets that are here whole, and let others listen."""
        try:
            while self._handle(None):
                pass
            with contextlib.suppress(EOFError, OSError):
                self.packetizer.flush()
        finally:
            self._reading.release()
            if self._listened and self.active:
                IDLE.listen(self, True)

    def _follow(self) -> None:
        while self.active:
            with contextlib.suppress(EOFError, OSError):
                if wait_for(self._socket, select.POLLIN, 5.0):
                    self.take_in()
                    # A driver reads: it must not be raced for every packet.
                    if self._driver is not None:
                        time.sleep(0.1)

    def _handle(self, until: threading.Event | None) -> bool:
        """Handle whole packets, up to the one that sets `until`; whether there was one."""
        any_of_them = False
        try:
            while self.active and self.packetizer.whole():
                any_of_them = True
                self._one()
                if until is not None and until.is_set():
                    break
        except Exception as error:  # noqa: BLE001 - a peer may send anything
            self._fail(error)
        return any_of_them and self.active

    def _one(self) -> None:
        """Read a packet and give it to paramiko's handler for it."""
        kind, message = self.packetizer.read_message()
        if kind in (MSG_IGNORE, MSG_DEBUG):
            self._inner._enforce_strict_kex(kind)
            return
        if kind == MSG_DISCONNECT:
            code, why = message.get_int(), message.get_text()
            raise HungUpError(f"the server disconnects: {why or code}")
        expected = self._inner._expected_packet
        if expected:
            if kind not in expected:
                raise paramiko.SSHException(f"message {kind} where {expected} is expected")
            self._inner._expected_packet = ()
        if expected and kind in _KEX_MESSAGES and self.kex_engine is not None:
            self.kex_engine.parse_next(kind, message)
        elif kind in self._inner._handler_table:
            self._inner._handler_table[kind](message)
        elif kind in self._inner._channel_handler_table:
            self._for_channel(kind, message)
        elif kind in getattr(self.auth_handler, "_handler_table", ()):
            self._inner.auth_handler._handler_table[kind](message)
        elif kind != MSG_UNIMPLEMENTED:
            answer = paramiko.Message()
            answer.add_byte(bytes([MSG_UNIMPLEMENTED]))
            answer.add_int(message.seqno)
            self._inner._send_message(answer)
        self.packetizer.complete_handshake()
        if self.packetizer.need_rekey() and not self.in_kex:
            self._inner._send_kex_init()

    def _for_channel(self, kind: int, message: paramiko.Message) -> None:
        number = message.get_int()
        channel = self._inner._channels.get(number)
        if channel is not None:
            self._inner._channel_handler_table[kind](channel, message)
        elif number not in self.channels_seen:
            raise paramiko.SSHException(f"a message for channel {number}, which nobody opened")

    def _fail(self, error: Exception) -> None:
        """The connection is over: tell everybody who waits for something."""
        IDLE.remove(self)
        if self.saved_exception is None:
            self.saved_exception = error
        was_active, self.active = self.active, False
        with contextlib.suppress(OSError):
            # Another thread may sleep in it: closing alone would not wake it.
            self._socket.shutdown(socket.SHUT_RDWR)
        self.packetizer.close()
        if not was_active:
            return
        for channel in list(self._inner._channels.values()):
            channel._unlink()
        if self.auth_handler is not None:
            self.auth_handler.abort()
        for event in (self.completion_event, *self.channel_events.values()):
            if event is not None:
                event.set()


def _sign_of_life() -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(bytes([MSG_GLOBAL_REQUEST]))
    message.add_string("keepalive@openssh.com")
    message.add_boolean(True)
    return message
