"""Metric gates against a small HTTP server that answers oddly."""

from __future__ import annotations

import http.server
import json
import pickle
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.drivers import prometheus
from bootcfleet.errors import UsageError
from bootcfleet.ops.metricgate import ask_gate
from tests.drivers.certificates import PrivateCa

GOOD = json.dumps(
    {"status": "success", "data": {"resultType": "scalar", "result": [1, "0.01"]}}
).encode()
BAD_DATA = json.dumps(
    {"status": "error", "errorType": "bad_data", "error": "1:5: parse error: unexpected end"}
).encode()
TIMEOUT = json.dumps(
    {"status": "error", "errorType": "timeout", "error": "query timed out"}
).encode()


@dataclass
class Server:
    """Gives `answers` one after another; the last stays."""

    answers: list[tuple[int, bytes]] = field(default_factory=lambda: [(200, GOOD)])
    asked: list[tuple[str, dict[str, list[str]], str | None]] = field(default_factory=list)
    port: int = 0
    slept: list[float] = field(default_factory=list)
    scheme: str = "http"

    def ask(self, **more: Any) -> Any:
        url = f"{self.scheme}://127.0.0.1:{self.port}"
        settings = {"server": url, "compare": "<", "threshold": 0.05, **more}
        gate = MetricGate("errors", query='sum(rate(x{a="b"}[5m])) & 1', **settings)
        return ask_gate(gate, sleep=self.slept.append)


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serve(Server())


def serve(made: Server, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.asked.append((self.path, parse_qs(form), self.headers["Authorization"]))
            status, body = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            self.send_response(status)
            self.send_header("Location", f"http://127.0.0.1:{made.port}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as running:
        if context:
            running.socket = context.wrap_socket(running.socket, server_side=True)
        made.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            running.shutdown()
            thread.join()


def test_a_query_is_posted(server: Server) -> None:
    found = server.ask(timeout=7.5)
    assert (found.ok, found.answered, found.message) == (True, True, "0.01 < 0.05")
    ((path, form, bearer),) = server.asked
    assert path == "/api/v1/query"
    assert form == {"query": ['sum(rate(x{a="b"}[5m])) & 1'], "timeout": ["7500ms"]}
    assert bearer is None
    server.ask(server=f"http://127.0.0.1:{server.port}/prefix/")
    assert server.asked[-1][0] == "/prefix/api/v1/query"


def test_a_token_goes_with_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(prometheus.BEARER, "t0ken\n")
    assert server.ask().ok
    assert server.asked[0][2] == "Bearer t0ken"
    monkeypatch.setenv(prometheus.BEARER, "s3cret\nInjected: x")
    with pytest.raises(UsageError) as caught:
        server.ask()
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "body", "message", "tries"),
    [
        (400, BAD_DATA, "says bad_data: 1:5: parse error: unexpected end", 1),
        (422, BAD_DATA, "says bad_data", 1),
        (503, TIMEOUT, "says timeout: query timed out", 3),
        (500, b"", "answers HTTP 500", 3),
        (429, b"slow down", "answers HTTP 429", 3),
        (401, b"", "refuses the query (HTTP 401)", 1),
        (403, BAD_DATA, "refuses the query (HTTP 403)", 1),
        (302, GOOD, "is no Prometheus (HTTP 302)", 1),
        (404, b"<html>", "is no Prometheus (HTTP 404)", 1),
        (200, b"<html>", "is no Prometheus (HTTP 200)", 1),
        (200, b"[1]", "is no Prometheus (HTTP 200)", 1),
        (200, b'{"status": "success"}', "the answer is not that of a query", 1),
        (200, b"[" * 100_000, "is no Prometheus", 1),
        (200, BAD_DATA, "says bad_data", 1),
    ],
)
def test_no_answer_is_no_pass(
    server: Server, status: int, body: bytes, message: str, tries: int
) -> None:
    server.answers = [(status, body)]
    found = server.ask(empty_ok=True)
    assert not found.ok
    assert message in found.message
    assert found.answered is ("the answer is" in message)
    assert len(server.asked) == tries
    assert server.slept == [1.0, 4.0][: tries - 1]


def test_a_passing_failure_passes(server: Server) -> None:
    server.answers = [(503, b""), (500, TIMEOUT), (200, GOOD)]
    assert server.ask().ok
    assert server.slept == [1.0, 4.0]


def test_warnings_come_along(server: Server) -> None:
    body = {**json.loads(GOOD), "warnings": ["partial response: store 2 away", 7]}
    server.answers = [(200, json.dumps(body).encode())]
    assert server.ask().message.endswith("(Prometheus warns: partial response: store 2 away)")


def test_an_endless_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "_MOST", 1024 * 1024)
    server.answers = [(200, b" " * (1024 * 1024 + 1) + GOOD)]
    found = server.ask()
    assert not found.ok
    assert "answers with more than 1 MiB" in found.message


def test_nobody_there_and_nobody_who_speaks() -> None:
    slept: list[float] = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        gate = MetricGate("g", f"http://127.0.0.1:{port}", "up", "<", 1, timeout=0.3)
        refused = ask_gate(gate, sleep=slept.append)
        assert refused.message == (
            f"Prometheus at 127.0.0.1:{port} cannot be asked: connection refused"
        )
        assert slept == [1.0, 4.0]
        sock.listen()
        silent = ask_gate(gate, sleep=slept.append)
        assert silent.message.endswith("cannot be asked: no answer within 0.3 s")
        assert not refused.ok
        assert not silent.ok


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = PrivateCa(tmp_path)
    signed = authority.sign("prometheus")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    for server in serve(Server(scheme="https"), context):
        found = server.ask()
        assert not found.ok
        assert "its certificate is not good" in found.message
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        assert server.ask().ok


@pytest.mark.parametrize(
    "url",
    ["", "prometheus:9090", "ftp://p", "http://", "http://p:x", "http://p/?a=b", "http://p/#a"],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="is none"):
        ask_gate(MetricGate("g", url, "up", "<", 1))


def test_an_address_with_a_password_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        ask_gate(MetricGate("g", "http://u:s3cret@p", "up", "<", 1))
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_what_workers_are_given_can_be_pickled() -> None:
    gate = MetricGate("g", "http://p", "up", "<", 1)
    assert pickle.loads(pickle.dumps(gate)) == gate
