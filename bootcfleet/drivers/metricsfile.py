"""Where Prometheus gets metrics from: a file for node_exporter's textfile collector, or HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET6
from typing import Any

from bootcfleet.domain.rollout_metrics import CONTENT_TYPE
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError, UsageError

#: Seconds for one request.
_TIMEOUT = 10.0


class MetricsFile:
    """A file ``*.prom`` that is there as a whole or not at all.

    The textfile collector reads every ``*.prom`` of its folder; the temporary file beside it has
    another ending.  Raises `UsageError` for another name or a missing folder.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix != ".prom":
            raise UsageError(
                f"{path} does not end in .prom",
                hint="node_exporter reads *.prom of its --collector.textfile.directory",
            )
        if not path.parent.is_dir():
            raise UsageError(f"the folder {path.parent} of the metrics file is not there")
        self.path = path

    def write(self, text: str) -> None:
        """Replace what it holds.  Raises `OSError`."""
        write_atomic(self.path, text.encode(), mode=0o644)


class MetricsEndpoint:
    """``GET /metrics`` on `listen` (``HOST:PORT``; port 0 takes a free one), in its own thread.

    `text` is called for each request.  Raises `UsageError` for another form, `FleetError` when
    it cannot listen there.
    """

    def __init__(self, listen: str, text: Callable[[], str]) -> None:
        host, port = _address(listen)
        handler = type("Handler", (_Handler,), {"text": staticmethod(text)})
        server = _Server6 if ":" in host else _Server
        try:
            self._server = server((host, port), handler)
        except OSError as error:
            raise FleetError(
                f"cannot listen on {listen} for metrics: {error.strerror or error}",
                hint="choose another port with --metrics-listen",
            ) from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else -1
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    try:
        host.encode("idna")
    except UnicodeError:
        colon = ""
    if not colon or not host or not 0 <= number <= 65535:
        raise UsageError(
            f"{listen!r} is no address to listen on", hint="write 127.0.0.1:9190 or [::1]:9190"
        )
    return host, number


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news, and a traceback would destroy the live view."""


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT
    server_version = "bootcfleet"
    sys_version = ""
    text: Callable[[], str]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "it is at /metrics")
            return
        body = self.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server calls it so

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
