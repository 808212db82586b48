"""What a rollout does around its reboots, on a lab: locks, timers, hooks, health and gates."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers import hostlock
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.simrecord import What
from bootcfleet.ops.lab import Lab, LabHost
from tests.cli.test_fleet import CREATED

LOCK = f"{hostlock.DIRECTORY}/lock.json"
NOTE = f"{hostlock.DIRECTORY}/inhibited.bootc-fetch-apply-updates.timer"


@dataclass
class Outside:
    """What stands around the fleet: a load balancer's webhook, a service, a Prometheus."""

    lab: Lab
    value: str = "0"
    posted: list[dict[str, Any]] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    timers: list[bool] = field(default_factory=list)
    service: int = 200
    url: str = ""


@pytest.fixture
def outside(lab: Lab) -> Iterator[Outside]:
    made = Outside(lab)
    publish(lab, "1.0")
    image = f"{lab.registry_address}/acme/web:prod"
    hosts = [LabHost(f"h{n}", image, {"role": "web", "pool": f"p{n}"}, ()) for n in (1, 2)]
    lab.start_hosts(hosts, image=image, boot_seconds=0.2)
    publish(lab, "1.1")

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(made.service, b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/api/v1/query"):
                data = {"resultType": "scalar", "result": [1, made.value]}
                self.answer(200, json.dumps({"status": "success", "data": data}).encode())
                return
            told = {"path": self.path, **json.loads(body)}
            made.posted.append(told)
            host = lab.hosts[told["host"]]
            made.locks.append(json.loads(host.files[LOCK])["rollout"])
            made.timers.append(host.timer.active)
            self.answer(204, b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def publish(lab: Lab, version: str) -> None:
    files = {"version": version.encode()}
    push_image(
        lab.registry_address, "acme/web", "prod", version=version, files=files, created=CREATED,
        labels={"bootcfleet.lab.health": "good"},
    )  # fmt: skip


def upgrade(
    outside: Outside, capsys: pytest.CaptureFixture[str], ends: int | None = 0
) -> tuple[dict[str, Any], str]:
    """Run the upgrade by the policy below; each host's end, and the rollout's id."""
    Path("bootcfleet.yaml").write_text(
        f"""\
version: 1
name: acme
registry: {outside.lab.registry_address}/acme
rollouts:
  default:
    drain:
      - {{webhook: "{outside.url}/drain/{{label.pool}}"}}
      - {{remote: [drain, "{{host}}"]}}
    undrain:
      - {{remote: [undrain]}}
      - {{local: [sh, -c, 'echo "$BOOTCFLEET_HOST $1" >>undrained', sh, "{{label.pool}}"]}}
    health:
      - greenboot: true
      - {{http: "{outside.url}/{{host}}/{{address}}", retries: 0}}
    gates:
      - {{name: errors, server: "{outside.url}/prom", query: errors, threshold: "< 1"}}
"""
    )
    capsys.readouterr()
    words = ["fleet", "upgrade", "-i", str(outside.lab.inventory_path), "--yes", "--json"]
    code = run(words)
    said = capsys.readouterr()
    assert ends is None or code == ends, f"{code}\n{said.out}\n{said.err}"
    lines = [json.loads(line) for line in said.out.splitlines() if line.startswith("{")]
    planned = next(line for line in lines if line["kind"] == "rollout.planned")
    finished = next(
        line for line in lines if line["kind"] == "rollout.finished" and "hosts" in line
    )
    return finished["hosts"], planned["rollout"]


def kinds(outside: Outside, name: str) -> list[What]:
    wanted = {What.DRAINED, What.UNDRAINED, What.DOWN, What.UP}
    return [one.what for one in outside.lab.hosts[name].history if one.what in wanted]


def test_all_of_it_goes_well(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    outside.lab.break_host("h1", "timer-active")
    hosts, rollout = upgrade(outside, capsys)
    assert [one["phase"] for one in hosts.values()] == ["updated", "updated"]
    for name in ("h1", "h2"):
        assert kinds(outside, name) == [What.DRAINED, What.DOWN, What.UP, What.UNDRAINED]
        assert outside.lab.hosts[name].reboots == 1
        # Nothing is left behind.
        assert LOCK not in outside.lab.hosts[name].files
        assert NOTE not in outside.lab.hosts[name].files
    assert sorted(told["path"] for told in outside.posted) == ["/drain/p1", "/drain/p2"]
    assert {told["host"] for told in outside.posted} == {"h1", "h2"}
    # It was locked, and the timer stood still, before its reboot; afterwards that goes on.
    assert outside.locks == [rollout, rollout]
    assert outside.timers == [False, False]
    assert outside.lab.hosts["h1"].timer.active
    assert not outside.lab.hosts["h2"].timer.active
    assert sorted(Path("undrained").read_text().splitlines()) == ["h1 p1", "h2 p2"]


@pytest.mark.parametrize("active", [False, True])
def test_a_timer_that_would_undo_a_rollback_is_told(
    outside: Outside, capsys: pytest.CaptureFixture[str], active: bool
) -> None:
    """It is put back as it was, and the tag is still at what was no good."""
    if active:
        outside.lab.break_host("h1", "timer-active")
    outside.service = 500
    hosts, _ = upgrade(outside, capsys, ends=4)
    assert hosts["h1"]["phase"] == "rolled-back"
    assert outside.lab.hosts["h1"].timer.active is active
    capsys.readouterr()
    assert run(["rollout", "show", "last", "--host", "h1"]) == 0
    told = "bootc-fetch-apply-updates.timer is active again, and brings it to what its tag is"
    assert (told in capsys.readouterr().out) is active


def test_a_drain_that_fails_keeps_the_host_up(
    outside: Outside, capsys: pytest.CaptureFixture[str]
) -> None:
    outside.lab.break_host("h1", "drain-fails")
    hosts, _ = upgrade(outside, capsys, ends=4)
    assert hosts["h1"]["phase"] == "failed"
    assert hosts["h1"]["fault"] == "hook-failed"
    assert "drain: 3 connections are left" in hosts["h1"]["message"]
    assert hosts["h2"]["phase"] == "skipped"
    assert outside.lab.hosts["h1"].reboots == 0
    # The webhook had drained it already: it gets its work back.
    assert kinds(outside, "h1") == [What.UNDRAINED]
    assert LOCK not in outside.lab.hosts["h1"].files


def test_a_gate_that_does_not_hold(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """It holds until the canary is away."""
    real = outside.lab.hosts["h1"].on_reboot

    def broken() -> None:
        outside.value = "7"
        real()

    outside.lab.hosts["h1"].on_reboot = broken
    hosts, _ = upgrade(outside, capsys, ends=4)
    assert hosts["h1"]["phase"] == "updated"
    assert hosts["h2"]["phase"] == "skipped"
    assert outside.lab.hosts["h2"].reboots == 0
    assert not any(LOCK in host.files for host in outside.lab.hosts.values())


def test_a_service_that_does_not_come_back(
    outside: Outside, capsys: pytest.CaptureFixture[str]
) -> None:
    outside.service = 503
    hosts, _ = upgrade(outside, capsys, ends=4)
    assert hosts["h1"]["phase"] == "rolled-back"
    assert "it answers HTTP 503, not 200" in json.dumps(hosts["h1"])
    assert str(outside.lab.hosts["h1"].booted.image.version) == "1.0"
    assert outside.lab.hosts["h2"].reboots == 0
    assert kinds(outside, "h1")[-1] is What.UNDRAINED


def test_a_host_that_another_rollout_has(
    outside: Outside, capsys: pytest.CaptureFixture[str]
) -> None:
    outside.lab.break_host("h1", "locked-by-other")
    before = outside.lab.hosts["h1"].files[LOCK]
    hosts, _ = upgrade(outside, capsys, ends=None)
    assert hosts["h1"]["phase"] in {"refused", "failed"}
    assert "locked: rollout another-rollout of somebody@elsewhere" in hosts["h1"]["message"]
    assert kinds(outside, "h1") == []
    assert outside.lab.hosts["h1"].files[LOCK] == before
