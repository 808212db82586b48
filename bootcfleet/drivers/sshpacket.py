"""paramiko's packets with few system calls and without a thread for every time limit.

paramiko reads the header and the rest of each packet apart, sends every message by
itself, and starts a thread for the time limit of each handshake.  Here one call takes
what the socket has, messages that belong together leave together, and a limit is a
moment that is compared (field note *SSH fan-out*).
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Any

from paramiko import SSHException
from paramiko.packet import Packetizer

_CHUNK = 65536
#: RFC 4253, 6.1, asks for 35,000 bytes; OpenSSH allows 256 KiB.  More is not a packet.
_MAX_PACKET = 1024 * 1024
#: Seconds that a peer may take for the rest of a packet, or to take what we send.
_STALLED = 60.0


class FleetPacketizer(Packetizer):
    """Packets over any socket-like object, read by a thread that waits in the socket."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._limit: float | None = None

    def close(self) -> None:
        """Close the socket; a channel of a jump host that is gone has nobody to tell."""
        with contextlib.suppress(OSError, EOFError):
            super().close()

    def start_handshake(self, timeout: float) -> None:
        """Begin the time limit (seconds) of the handshake."""
        self._limit = time.monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        """Whether the handshake has taken too long."""
        return self._limit is not None and time.monotonic() > self._limit

    def complete_handshake(self) -> None:
        """End the time limit."""
        self._limit = None


class BufferedPacketizer(FleetPacketizer):
    """Packets over a socket that never blocks: who reads asks first whether one is there.

    `whole` needs ciphers whose packets show their length (AES-GCM, encrypt-then-MAC);
    with others `blind` is true and reading waits for the rest of a packet.

    What the thread `holder` sends is kept until it calls `flush`, or another thread
    sends something: messages that belong together make one segment.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._socket = sock
        self._buffer = bytearray()
        self._tail = 0
        self._pending = bytearray()
        self._sending = threading.RLock()
        self._busy = False
        self.blind = False
        #: The first line that the peer said.
        self.greeting = ""
        self.holder: int | None = None
        self.heard = time.monotonic()
        self.spoke = self.heard

    def set_inbound_cipher(self, *args: Any, **kwargs: Any) -> None:
        """Note how the length of a packet can be told from now on."""
        super().set_inbound_cipher(*args, **kwargs)
        self._tail = args[3] if len(args) > 3 else kwargs["mac_size"]
        self.blind = not (kwargs.get("etm") or kwargs.get("aead"))

    def fill(self) -> bool:
        """Take what the socket has; whether there was anything.  Raises EOFError, OSError."""
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            raise EOFError
        self._buffer += data
        self.heard = time.monotonic()
        return True

    def whole(self) -> bool:
        """Whether a packet can be read without waiting.  Raises `SSHException` for nonsense."""
        if len(self._buffer) < 8:
            return False
        if self.blind:
            return True
        length = int.from_bytes(self._buffer[:4], "big")
        if length > _MAX_PACKET:
            raise SSHException(f"a packet of {length} bytes")
        return len(self._buffer) >= 4 + length + self._tail

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: ARG002
        """`n` bytes; waits for those that `whole` could not foresee."""
        while len(self._buffer) < n:
            self._take(_STALLED)
        out = bytes(self._buffer[:n])
        del self._buffer[:n]
        return out

    def readline(self, timeout: float) -> str:
        """A line of the greeting, without its end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > 64 * 1024:
                raise SSHException("no end of a line")
            self._take(timeout)
        line = bytes(self._buffer[:end]).removesuffix(b"\r").decode("utf-8", "replace")
        del self._buffer[: end + 1]
        self.greeting = self.greeting or line
        return line

    def _take(self, timeout: float) -> None:
        if self.handshake_timed_out():
            raise EOFError
        if not self.fill():
            if not wait_for(self._socket, select.POLLIN, timeout):
                raise TimeoutError
            self.fill()

    def write_all(self, out: Any) -> None:
        """Send bytes after those that are kept, or keep them.  Raises EOFError."""
        with self._sending:
            self._pending += out
            if self.holder == threading.get_ident() and len(self._pending) < _CHUNK:
                return
            self._send()

    def flush(self) -> None:
        """Send what was kept.  Raises EOFError."""
        if self._pending:
            with self._sending:
                self._send()

    def _send(self) -> None:
        if self._busy:
            # The garbage collector closes a channel in the midst of our sending.
            return
        self.spoke = time.monotonic()
        self._busy = True
        try:
            while self._pending:
                data, self._pending = memoryview(self._pending), bytearray()
                while data:
                    try:
                        data = data[self._socket.send(data) :]
                    except (BlockingIOError, InterruptedError):
                        if not wait_for(self._socket, select.POLLOUT, _STALLED):
                            raise EOFError from None
        except OSError as error:
            raise EOFError from error
        finally:
            self._busy = False


def wait_for(sock: socket.socket, events: int, timeout: float) -> bool:
    """Whether the socket became ready within `timeout` seconds.  Raises OSError when closed."""
    number = sock.fileno()
    if number < 0:
        raise EOFError
    poll = select.poll()
    poll.register(number, events)
    return bool(poll.poll(max(0.0, timeout) * 1000))
