"""One thread that listens to all connections which no command is using.

A connection that a command drives is read by the command's own thread (`sshpump`).
The others lie here: what a host says by itself is taken in when it comes, a peer that
is gone is noticed, and 500 quiet connections cost nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Protocol

#: How often the time limits of quiet connections are looked at (seconds).
_LOOK = 1.0


class Quiet(Protocol):
    """A connection that can be left alone."""

    def fileno(self) -> int:
        """Its socket, -1 when it is closed."""
        ...

    def take_in(self) -> None:
        """Handle what has arrived.  Never raises."""
        ...

    def look(self, now: float) -> None:
        """Ask the peer for a sign of life, or give it up.  Never raises; never waits."""
        ...


class IdleListener:
    """The thread and what it listens to.  It starts with the first connection."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Know nothing: no connection, and no thread.

        In a forked process the thread is not there, and the connections are another's.
        """
        self._epoll: select.epoll | None = None
        self._quiet: dict[int, Quiet] = {}
        self._lock = threading.Lock()
        self._work = threading.Event()

    def add(self, connection: Quiet) -> None:
        """Know a connection, without listening to it yet."""
        with self._lock:
            if self._epoll is None:
                self._epoll = select.epoll()
                threading.Thread(
                    target=self._run, args=(self._epoll,), name="ssh-idle", daemon=True
                ).start()
            number = connection.fileno()
            if number >= 0:
                self._quiet[number] = connection
                self._epoll.register(number, 0)
        self._work.set()

    def remove(self, connection: Quiet) -> None:
        """Forget it.  Call it before its socket is closed: the number is used again."""
        with self._lock:
            number = connection.fileno()
            if self._quiet.get(number) is connection:
                del self._quiet[number]
                if self._epoll is not None:
                    with contextlib.suppress(OSError):
                        self._epoll.unregister(number)

    def listen(self, connection: Quiet, on: bool) -> None:
        """Listen to it until it has spoken once, or no longer."""
        if self._epoll is not None:
            # One shot: who takes the word calls again when all is heard.
            events = select.EPOLLIN | select.EPOLLONESHOT if on else 0
            with contextlib.suppress(OSError, ValueError):
                self._epoll.modify(connection.fileno(), events)

    def _run(self, epoll: select.epoll) -> None:
        looked = time.monotonic()
        while True:
            if not self._quiet:
                self._work.clear()
                if not self._quiet:
                    self._work.wait()
            for number, _ in epoll.poll(_LOOK):
                connection = self._quiet.get(number)
                if connection is not None:
                    connection.take_in()
            now = time.monotonic()
            if now - looked >= _LOOK:
                looked = now
                with self._lock:
                    all_of_them = list(self._quiet.values())
                for connection in all_of_them:
                    connection.look(now)


#: The one of this process.
IDLE = IdleListener()
os.register_at_fork(after_in_child=IDLE.begin_anew)
