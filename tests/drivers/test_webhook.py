"""Webhooks that behave oddly: a body without an end, certificates that nobody knows."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.drivers.webhook import Webhook, WebhookError
from tests.drivers.certificates import PrivateCa

SECRET = "T0KEN-do-not-show"
Serve = Callable[..., str]


class Listener(BaseHTTPRequestHandler):
    """Takes a post, and answers with a body that goes on until the client is gone."""

    taken: list[bytes]
    gone: threading.Event

    def do_POST(self) -> None:
        self.taken.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 65536)
        except OSError:
            self.gone.set()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def taken() -> list[bytes]:
    return []


@pytest.fixture
def gone() -> threading.Event:
    return threading.Event()


@pytest.fixture
def serve(taken: list[bytes], gone: threading.Event) -> Iterator[Serve]:
    made: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def go(context: ssl.SSLContext | None = None) -> str:
        handler = type("Handler", (Listener,), {"taken": taken, "gone": gone})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made.append((server, thread))
        scheme = "https" if context else "http"
        return f"{scheme}://127.0.0.1:{server.server_address[1]}/hooks/{SECRET}"

    yield go
    for server, thread in made:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_body_without_an_end_is_not_read(serve: Serve, gone: threading.Event) -> None:
    Webhook(serve(), timeout=10).post({"event": "started"})
    assert gone.wait(30)


def test_every_text_of_a_host_can_be_posted(serve: Serve, taken: list[bytes]) -> None:
    # bootc's JSON may have half of a surrogate pair in it, which no UTF-8 can be written for.
    body: dict[str, Any] = {"message": "caf\u00e9 \ud83d \x1b[31m\n\"'<b>", "host": "web1"}
    Webhook(serve(), timeout=10).post(body)
    assert [json.loads(one) for one in taken] == [body]


def test_a_certificate_that_nobody_knows_is_said_to_be_it(
    serve: Serve, taken: list[bytes], tmp_path: Path
) -> None:
    signed = PrivateCa(tmp_path).sign("chat")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    url = serve(context)
    with pytest.raises(WebhookError, match="its certificate is not good") as caught:
        Webhook(url, timeout=10).post({"event": "started"})
    assert SECRET not in str(caught.value)
    assert taken == []
