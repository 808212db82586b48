"""Metric gates against a real Prometheus that scrapes a small exporter."""

from __future__ import annotations

import http.server
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.ops.metricgate import ask_gate
from tests.tools import need

pytestmark = pytest.mark.integration

METRICS = """\
# TYPE errors gauge
errors{service="web",site="ams"} 0.01
errors{service="web",site="fra"} 0.2
errors{service="db",site="ams"} 0
# TYPE odd gauge
odd NaN
# TYPE latency histogram
latency_bucket{le="0.1"} 90
latency_bucket{le="1"} 99
latency_bucket{le="+Inf"} 100
latency_sum 12
latency_count 100
"""


@dataclass
class Running:
    """A Prometheus that has scraped at least once."""

    url: str
    process: subprocess.Popen[bytes]

    def ask(
        self, query: str, compare: str = "<", threshold: float = 0.1, *, empty_ok: bool = False
    ) -> GateResult:
        gate = MetricGate("gate", self.url, query, compare, threshold, empty_ok)
        return ask_gate(gate, sleep=lambda _: None)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("prometheus")
    program = need("prometheus")

    class Exporter(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as exporter:
        thread = threading.Thread(target=exporter.serve_forever)
        thread.start()
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs:\n"
            "- job_name: hosts\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{exporter.server_address[1]}']}}]\n"
        )
        running = start(program, folder, config)
        try:
            while not running.ask('count(errors{job="hosts"})', ">", 0).ok:
                assert running.process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield running
        finally:
            running.process.kill()
            running.process.wait()
            exporter.shutdown()
            thread.join()


def start(program: str, folder: Path, config: Path) -> Running:
    for _ in range(5):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    program,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--web.external-url=http://prometheus.example/metrics/",
                    "--web.route-prefix=/metrics",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while process.poll() is None:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return Running(f"http://127.0.0.1:{port}/metrics", process)
            time.sleep(0.05)
    raise AssertionError((folder / "log").read_text())


def test_a_gate_that_holds(prometheus: Running) -> None:
    found = prometheus.ask('errors{site="ams"}')
    assert (found.ok, found.message) == (True, "all 2 samples < 0.1")
    assert prometheus.ask('sum(errors{service="web"})', ">=", 0.21).ok
    assert prometheus.ask("scalar(sum(errors))", "<", 1).message.endswith(" < 1")


@pytest.mark.parametrize("seconds", [1.5, 10.0, 1_209_600.0])
def test_a_time_limit_is_one_that_it_takes(prometheus: Running, seconds: float) -> None:
    gate = MetricGate("gate", prometheus.url, "vector(1)", "<", 2, timeout=seconds)
    assert ask_gate(gate, sleep=lambda _: None).message == "1 < 2"


def test_the_sample_that_breaks_it_is_shown(prometheus: Running) -> None:
    found = prometheus.ask("sum by (service, site) (errors)")
    assert not found.ok
    assert found.message == '0.2 is not < 0.1 for {service="web",site="fra"}'
    full = prometheus.ask("errors")
    assert full.message.startswith('0.2 is not < 0.1 for errors{instance="127.0.0.1:')
    assert 'job="hosts",service="web",site="fra"}' in full.message


def test_nan_and_no_sample(prometheus: Running) -> None:
    assert prometheus.ask("odd").message.startswith("nan is not < 0.1 for odd{")
    # A rate of nothing by nothing.
    assert not prometheus.ask("scalar(vector(0) / vector(0))").ok
    assert prometheus.ask("no_such_metric").message == "the query has no sample"
    assert prometheus.ask("no_such_metric", empty_ok=True).ok
    assert prometheus.ask('errors{site="fra"} < 0.1', empty_ok=True).ok


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sum(", "says bad_data: "),
        ("errors[5m]", "the query gives a matrix"),
        ('"text"', "the query gives a string"),
        ("errors * on() errors", "many-to-many"),
    ],
)
def test_queries_that_no_gate_can_have(prometheus: Running, query: str, message: str) -> None:
    found = prometheus.ask(query)
    assert not found.ok
    assert message in found.message


def test_a_histogram_by_its_quantile(prometheus: Running) -> None:
    found = prometheus.ask("histogram_quantile(0.9, latency_bucket)", "<=", 0.1)
    assert (found.ok, found.message) == (True, "0.1 <= 0.1")


def test_the_address_needs_its_prefix(prometheus: Running) -> None:
    url = prometheus.url.removesuffix("/metrics")
    found = ask_gate(MetricGate("g", url, "up", ">", 0), sleep=lambda _: None)
    assert not found.ok
    assert "is no Prometheus (HTTP 404)" in found.message or "(HTTP 302)" in found.message
