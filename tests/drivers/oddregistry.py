"""A server that answers like the odd registries of this world: each test says how."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Seen:
    """A request as it came; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Reply:
    """What to answer; `drop` closes the connection without a word."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str | list[str]] = field(default_factory=dict)
    drop: bool = False


class OddRegistry:
    """A context manager; `address` is where it listens, `seen` what was asked."""

    def __init__(
        self, answer: Callable[[Seen], Reply], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                headers = {key.lower(): value for key, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, body)
                if self.path == "/v2/":
                    reply = Reply()  # whether it speaks plain HTTP: asked of every registry once
                else:
                    owner.seen.append(seen)
                    reply = answer(seen)
                if reply.drop:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for key, values in reply.headers.items():
                    for value in [values] if isinstance(values, str) else values:
                        self.send_header(key, value)
                if "Content-Length" not in reply.headers:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that does not like the certificate

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            # The handshake in the connection's own thread: it may fail, or never come.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def manifest_reply(raw: bytes, kind: str, **headers: str) -> Reply:
    """A manifest without a digest in its headers, as some registries send it."""
    return Reply(200, raw, {"Content-Type": kind, **headers})
