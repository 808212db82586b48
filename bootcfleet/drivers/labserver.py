"""The HTTP below the lab registry: threads, bodies of any form, and answers.

`labhandler` says what a request means; this says how it
is read and answered, so that a wrong request costs its connection and no more.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_CHUNK = 256 * 1024
#: An unread body is read to its end up to this size; beyond, the connection is closed instead.
_DRAINED = 1024 * 1024
#: What a client may still send on a connection that is being closed, in bytes.
_LINGERED = 64 * 1024 * 1024


class RequestError(Exception):
    """A request that cannot be granted: status, code of the distribution spec, message."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})


class LabServer(ThreadingHTTPServer):
    """A thread for each connection; `close_all` ends those that are kept alive."""

    daemon_threads = True
    # Hundreds of hosts begin to pull in the same second.
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, then serve it in a thread."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        """End every connection."""
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has ended by itself

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in mid-request is no event."""


class JsonHandler(BaseHTTPRequestHandler):
    """Reads bodies with a length or in chunks; answers errors as the specification's JSON."""

    protocol_version = "HTTP/1.1"
    # Small answers must not wait for an acknowledgement (Nagle against delayed ACK: 40 ms each),
    # and head and body go out in one write.
    disable_nagle_algorithm = True
    wbufsize = _CHUNK
    #: Seconds after which a silent connection is closed.
    timeout = 120

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: what matters is in the events of the lab."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses (not HTTP, a header too long), in our form."""
        self.close_connection = True
        self.body_pending = False
        self.command = self.command or "GET"
        self.fail(RequestError(HTTPStatus(code), "UNSUPPORTED", message or explain or ""))

    def do_GET(self) -> None:
        """Every method takes one way."""
        self.handle_request()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def handle_expect_100(self) -> bool:
        """Say "100 Continue" at once: the client waits for it with its body."""
        granted = super().handle_expect_100()
        self.wfile.flush()
        return granted

    def handle_request(self) -> None:
        """Answer `answer()`'s request, whatever becomes of it."""
        self.body_pending = True
        try:
            try:
                self.answer()
            except RequestError as error:
                self.fail(error)
            self._drain()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        if self.close_connection:
            self._linger()

    def answer(self) -> None:
        """What the request means.  Raises `RequestError`."""
        raise NotImplementedError

    def body(self, limit: int) -> Iterator[bytes]:
        """The request's body in pieces.  Raises `RequestError` when it is longer or broken."""
        self.body_pending = False
        chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "").lower()
        pieces = self._chunks() if chunked else self._counted(limit)
        total = 0
        for piece in pieces:
            total += len(piece)
            if total > limit:
                raise self._broken(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    "SIZE_INVALID",
                    f"more than {limit} bytes are not taken",
                )
            yield piece

    def _counted(self, limit: int) -> Iterator[bytes]:
        text = self.headers.get("Content-Length") or "0"
        if not (text.isascii() and text.isdecimal()):
            raise self._broken(HTTPStatus.BAD_REQUEST, "SIZE_INVALID", "no such Content-Length")
        left = int(text)
        if left > limit:
            raise self._broken(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "SIZE_INVALID",
                f"more than {limit} bytes are not taken",
            )
        while left:
            piece = self.rfile.read(min(left, _CHUNK))
            if not piece:
                raise ConnectionResetError("the body ends early")
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self.rfile.readline(1024).partition(b";")[0].strip()
            try:
                left = int(line, 16)
            except ValueError:
                left = -1
            if left < 0 or not line.isalnum():
                raise self._broken(HTTPStatus.BAD_REQUEST, "SIZE_INVALID", "a broken chunk")
            last = left == 0
            while left:
                piece = self.rfile.read(min(left, _CHUNK))
                if not piece:
                    raise ConnectionResetError("the body ends early")
                left -= len(piece)
                yield piece
            if last:
                while self.rfile.readline(65536).strip():
                    pass  # trailers
                return
            self.rfile.readline(16)

    def _broken(self, status: HTTPStatus, code: str, message: str) -> RequestError:
        """Where the body ends is not known: nothing more can be read from this connection."""
        self.close_connection = True
        return RequestError(status, code, message)

    def _drain(self) -> None:
        """Read a body that nobody wanted, or what stands there would be the next request."""
        if not self.body_pending or self.close_connection:
            return
        try:
            for _ in self.body(_DRAINED):
                pass
        except RequestError:
            self.close_connection = True

    def _linger(self) -> None:
        """Say that nothing more comes, and let the client finish its sentence before hanging up.

        A connection closed on a body that is still coming would take the answer with it.
        """
        left = _LINGERED
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(2)
            while left > 0 and (piece := self.connection.recv(_CHUNK)):
                left -= len(piece)
        except OSError:
            return  # it has gone

    def respond(
        self, status: HTTPStatus, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Answer with a body that is in memory."""
        self.begin(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(
        self, status: HTTPStatus, length: int, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the head of an answer; `length` bytes follow."""
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def json(self, value: object, headers: Mapping[str, str] | None = None) -> None:
        """Answer 200 with JSON."""
        kind = {"Content-Type": "application/json", **(headers or {})}
        self.respond(HTTPStatus.OK, kind, json.dumps(value).encode())

    def fail(self, error: RequestError) -> None:
        """Answer with an error."""
        body = {"errors": [{"code": error.code, "message": error.message}]}
        headers = {"Content-Type": "application/json", **error.headers}
        self.respond(error.status, headers, json.dumps(body).encode())
