"""A connection of the boot server: aiohttp's, with limits on time and on their number.

aiohttp itself waits for ever for the end of a request's head, and for a client that
takes nothing (asked of its code, 3.14).  Here a connection has `IDLE` seconds for a
whole head, whatever arrives in between, and the kernel ends one whose client has
taken nothing for `STALLED` seconds (TCP_USER_TIMEOUT, tcp(7)).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
#: aiohttp would print tracebacks for clients that send no HTTP.
_QUIET = logging.getLogger("bootcfleet.bootserver")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


@dataclass(frozen=True)
class Limits:
    """Seconds and numbers.

    `idle`: for a request's head, also between two requests. `stalled`: without the client
    taking anything. `body`: for the body of a POST. `handshake`: for TLS.
    """

    connections: int = 4000
    idle: float = 20.0
    stalled: float = 60.0
    body: float = 20.0
    handshake: float = 15.0


class BootConnection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_idle_timer", "_on_bad", "_server")

    def __init__(self, server: LimitedServer, on_bad: OnBad, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._on_bad = on_bad
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or say at once that there are too many."""
        super().connection_made(transport)
        if len(self._server.connections) > self._server.limits.connections:
            self._server.refused += 1
            if isinstance(transport, asyncio.Transport):
                transport.write(_BUSY)
                transport.close()
            return
        raw = transport.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            stalled = int(self._server.limits.stalled * 1000)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled)
        self.idle()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self.busy()
        super().connection_lost(exc)

    def busy(self) -> None:
        """A request is being answered: nothing is waited for from the client."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def idle(self) -> None:
        """The next request's head may take so long."""
        self.busy()
        self._idle_timer = self._loop.call_later(self._server.limits.idle, self.force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp itself refuses: no HTTP, a head too long.  Said, and closed."""
        response = super().handle_error(request, status, exc, message)
        self._on_bad(request, status, exc)
        return response


OnBad = Callable[[web.BaseRequest, int, BaseException | None], None]


class LimitedServer(web.Server):
    """Makes `BootConnection`s; `refused` counts those beyond the limit."""

    def __init__(self, handler: Any, limits: Limits, on_bad: OnBad) -> None:
        super().__init__(handler)
        self.limits = limits
        self.refused = 0
        self._on_bad = on_bad

    def __call__(self) -> web.RequestHandler:
        """A connection's protocol, for asyncio."""
        return BootConnection(
            self,
            self._on_bad,
            loop=self._loop,
            logger=_QUIET,
            access_log=None,
            keepalive_timeout=self.limits.idle,
            lingering_time=5.0,
            max_line_size=4096,
        )
