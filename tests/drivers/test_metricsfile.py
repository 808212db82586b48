"""Metrics as a file for node_exporter, and over HTTP."""

from __future__ import annotations

import http.client
import socket
import threading
from pathlib import Path

import pytest

from bootcfleet.drivers.metricsfile import MetricsEndpoint, MetricsFile
from bootcfleet.errors import FleetError, UsageError


def test_a_reader_sees_a_whole_file_and_no_other_prom_file(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "rollout.prom")
    texts = [f"a {number}\n" * 2000 for number in range(10)]
    file.write(texts[0])
    over, seen = threading.Event(), set()

    def read() -> None:
        while not over.is_set():
            for path in tmp_path.glob("*.prom"):
                seen.add((path.name, path.read_text()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for text in texts * 10:
            file.write(text)
    finally:
        over.set()
        reader.join()
    assert {name for name, _ in seen} == {"rollout.prom"}
    assert {text for _, text in seen} <= set(texts)
    assert (tmp_path / "rollout.prom").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["rollout.prom"]


@pytest.mark.parametrize(
    ("path", "said"), [("x.txt", "does not end in .prom"), ("no/such/x.prom", "is not there")]
)
def test_a_file_that_nobody_would_read_is_refused(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MetricsFile(tmp_path / path)


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def test_prometheus_is_answered_anew_each_time() -> None:
    numbers = iter(range(10))
    endpoint = MetricsEndpoint("127.0.0.1:0", lambda: f"ä {next(numbers)}\n")
    try:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        assert ask(endpoint.port, "/metrics") == (200, kind, "ä 0\n")
        assert ask(endpoint.port, "/metrics?x=1") == (200, kind, "ä 1\n")
        assert ask(endpoint.port, "/metrics", "HEAD") == (200, kind, "")
        assert ask(endpoint.port, "/")[0] == 404
        assert ask(endpoint.port, "/metrics", "POST")[0] == 501
    finally:
        endpoint.close()
    with pytest.raises(OSError, match="refused"):
        ask(endpoint.port, "/metrics")


def test_a_client_that_says_nothing_or_goes_away_stops_nobody(
    capfd: pytest.CaptureFixture[str],
) -> None:
    endpoint = MetricsEndpoint("127.0.0.1:0", lambda: "a 1\n" * 100_000)
    try:
        with socket.create_connection(("127.0.0.1", endpoint.port)) as silent:
            with socket.create_connection(("127.0.0.1", endpoint.port)) as gone:
                gone.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert ask(endpoint.port, "/metrics")[0] == 200
            silent.close()
    finally:
        endpoint.close()
    assert capfd.readouterr() == ("", "")


def test_ipv6() -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    endpoint = MetricsEndpoint("[::1]:0", lambda: "a 1\n")
    try:
        assert ask(endpoint.port, "/metrics", host="::1")[0] == 200
    finally:
        endpoint.close()


@pytest.mark.parametrize(
    "listen",
    ["", "9190", ":9190", "127.0.0.1", "127.0.0.1:", "a:b", "127.0.0.1:65536", "127.0.0.1:-1",
     "::1:9190", "h:²", "ä..b:9190"],
)  # fmt: skip
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        MetricsEndpoint(listen, lambda: "")


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(FleetError, match=r"cannot listen on 127\.0\.0\.1:.* in use"):
            MetricsEndpoint(listen, lambda: "")
