"""A wire to a server that says something first, breaks, falls silent or damages a byte."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field


@dataclass
class BadWire:
    """A port of its own in front of `to`.  Numbers count the bytes that the server has sent.

    `before` is said to whoever connects; `cut` is where the wire breaks, `flip` the byte that
    arrives changed.  Once `silent` is set the wire carries nothing more from the server.
    """

    to: tuple[str, int]
    before: bytes = b""
    cut: int | None = None
    flip: int | None = None
    silent: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket = field(default_factory=socket.socket, repr=False)
    _open: list[socket.socket] = field(default_factory=list, repr=False)

    def __enter__(self) -> BadWire:
        self._listener.bind((self.to[0], 0))
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        server = socket.create_connection(self.to)
        self._open += [client, server]
        threading.Thread(target=self._up, args=(client, server), daemon=True).start()
        with contextlib.suppress(OSError):
            client.sendall(self.before)
            sent = 0
            while data := bytearray(server.recv(65536)):
                for number in range(len(data)):
                    if sent + number == self.flip:
                        data[number] ^= 0x41
                while self.silent.is_set() and client.fileno() >= 0:
                    time.sleep(0.02)
                client.sendall(data if self.cut is None else data[: max(0, self.cut - sent)])
                sent += len(data)
                if self.cut is not None and sent > self.cut:
                    break
        for one in (client, server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
