"""`rollout pull` end to end: a lab whose hosts follow their channels by their timers, over SSH."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.rollout_journal import EntryKind
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.simssh import SimSshServers
from bootcfleet.drivers.simtimer import fire
from bootcfleet.errors import ExitCode
from bootcfleet.ops import pull_run
from bootcfleet.ops.lab import Lab, LabHost
from bootcfleet.ops.project import find_project
from bootcfleet.ops.promote import promote
from bootcfleet.ops.rollouts import look, open_rollouts

CREATED = datetime(2026, 11, 1, tzinfo=UTC)
NAMES = ("prod-canary", "prod-1", "prod")
PROJECT = """\
version: 1
name: acme
registry: {address}/acme
inventory: lab/inventory.yaml
images:
  web: {{base: 'registry.invalid/base:1'}}
channels:
  test: {{}}
  prod-canary: {{from: test}}
  prod-1: {{from: prod-canary}}
  prod: {{from: prod-1}}
rollouts:
  edge:
    success: 100%
    notify: [{{url_env: CHAT}}]
    pull:
      poll: 1s
      channels:
        - {{channel: prod-canary, sample: 2, deadline: 5m, bake: {bake}}}
        - {{channel: prod-1, sample: 2, deadline: {deadline}}}
        - {{channel: prod, sample: 2, deadline: 5m}}
"""


@dataclass
class Rig:
    """The project in the working directory, and its lab."""

    lab: Lab
    capsys: pytest.CaptureFixture[str]
    connections: list[str] = field(default_factory=list)

    def publish(self, version: str, tag: str = "test", health: str = "good") -> str:
        address = self.lab.registry_address
        labels = {"bootcfleet.lab.health": health}
        files = {"version": version.encode()}
        made = push_image(
            address, "acme/web", f"v{version}", version=version, files=files, created=CREATED,
            labels=labels,
        )  # fmt: skip
        assert self("channel", "promote", "web", f"v{version}", tag, "--yes")[0] == 0
        return str(made)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = run(words)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def versions(self, name: str) -> list[str]:
        return [
            str(host["booted"])
            for host in self.lab.status()
            if str(host["host"]).startswith(f"{name}-h")
        ]

    def wait(self, name: str, version: str, count: int = 2) -> None:
        """Until the hosts of a channel run a version, by their timers."""
        deadline = time.monotonic() + 60
        while self.versions(name) != [version] * count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.versions(name) == [version] * count

    def tags(self) -> dict[str, str]:
        _, out, _ = self("channel", "list", "web", "--json")
        return {row["channel"]: row["version"] for row in json.loads(out)}

    def journal(self) -> list[Any]:
        with open_rollouts(find_project()) as rollouts:
            return list(look(rollouts, "last").entries)


Make = Callable[..., Rig]


class Chat(ThreadingHTTPServer):
    """A webhook that keeps what it was told."""

    told: list[dict[str, Any]]


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Keep the JSON."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        assert isinstance(server, Chat)
        server.told.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def chat() -> Iterator[Chat]:
    with Chat(("127.0.0.1", 0), _Hook) as server:
        server.told = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def make(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    chat: Chat,
) -> Iterator[Make]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("CHAT", f"http://127.0.0.1:{chat.server_port}/hook")
    labs = []

    def made(
        counts: dict[str, int] | None = None,
        *,
        deadline: str = "5m",
        bake: str = "1s",
        timer: float | None = 0.3,
    ) -> Rig:
        counts = counts or dict.fromkeys(NAMES, 2)
        lab = Lab(tmp_path / "lab")
        labs.append(lab)
        address = lab.start_registry()
        (tmp_path / "bootcfleet.yaml").write_text(
            PROJECT.format(address=address, deadline=deadline, bake=bake)
        )
        rig = Rig(lab, capsys)
        rig.publish("1")
        for before, name in zip(("test", *NAMES), NAMES, strict=False):
            assert rig("channel", "promote", "web", before, name, "--yes")[0] == 0
        hosts = [
            LabHost(f"{name}-h{number}", f"{address}/acme/web:{name}", {"role": "web"})
            for name in NAMES
            for number in range(counts[name])
        ]
        lab.start_hosts(hosts, image="", boot_seconds=0.1 if timer else 0.0, timer=timer)
        serve = SimSshServers._serve

        def counted(servers: SimSshServers, endpoint: Any, sock: Any) -> None:
            rig.connections.append(endpoint.host.name)
            serve(servers, endpoint, sock)

        monkeypatch.setattr(SimSshServers, "_serve", counted)
        code, out, err = rig("fleet", "enroll", "--pull", "--yes")
        assert code == 0, out + err
        rig.connections.clear()
        return rig

    yield made
    for lab in labs:
        lab.stop()


def test_a_good_image_comes_to_every_host(make: Make) -> None:
    rig = make()
    digest = rig.publish("2")
    code, out, _ = rig("rollout", "pull", "web", "--dry-run", "--json")
    plan = json.loads(out)
    assert (code, plan["digest"], plan["source"], plan["policy"]) == (0, digest, "test", "edge")
    assert plan["notes"] == []
    assert [(one["channel"], one["followers"], one["needed"]) for one in plan["channels"]] == [
        (name, 2, 2) for name in NAMES
    ]
    assert rig.tags()["prod-canary"] == "1"
    file = Path("bootcfleet.yaml")
    text = file.read_text()
    windows = "    windows: [{cron: '0 2 * * sat', duration: 4h}]\n    success: 100%\n"
    file.write_text(text.replace("    success: 100%\n", windows))
    code, out, _ = rig("rollout", "pull", "web", "--dry-run")
    assert out.count("note: ") == 3
    assert (
        "note: prod-canary: by the windows of edge, a host may look 7 d after the promotion, and "
        "who has not moved within 5 min counts as failed: set its deadline\n"
    ) in out
    file.write_text(text)
    code, out, err = rig("rollout", "pull", "web", "--yes")
    assert code == 0, out + err
    assert rig.tags() == dict.fromkeys(("test", *NAMES), "2")
    for name in NAMES:
        rig.wait(name, "2")
    assert "prod-canary: 2 of 2 sampled hosts are good, 2 must be; it bakes for 1 s" in out
    assert [host["reboots"] for host in rig.lab.status()] == [1] * 6
    code, out, _ = rig("rollout", "show", "last", "--json")
    assert json.loads(out)["operation"] == "pull"
    code, out, _ = rig("audit", "--action", "fleet.pull", "--json")
    entries = json.loads(out)
    entries = entries["entries"] if isinstance(entries, dict) else entries
    assert [entry["outcome"] for entry in entries] == ["started", "done"]


def test_a_bad_image_goes_no_further_than_the_canary_and_back(make: Make, chat: Chat) -> None:
    rig = make()
    rig.publish("2", health="bad")
    metrics = Path("pull.prom")
    code, out, err = rig(
        "rollout", "pull", "web", "--yes", "--json", "--metrics-file", str(metrics)
    )
    assert code == ExitCode.HALTED
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert kinds[0] == "rollout.planned"
    assert kinds[-1] == "rollout.finished"
    assert {"rollout.halted", "wave.put-back", "host.failed"} <= set(kinds)
    assert [told["event"] for told in chat.told if told["event"] != "host-failed"] == [
        "started", "halted", "finished",
    ]  # fmt: skip
    assert {told["operation"] for told in chat.told} == {"pull"}
    assert "bootcfleet_rollout" in metrics.read_text()
    assert "demo-web.service" in json.loads(err.splitlines()[-1])["error"]["message"]
    assert rig.tags() == {"test": "2", **dict.fromkeys(NAMES, "1")}
    rig.wait("prod-canary", "1")
    reboots = {host["host"]: host["reboots"] for host in rig.lab.status()}
    assert {reboots[f"{name}-h{n}"] for name in NAMES[1:] for n in (0, 1)} == {0}
    assert {reboots[f"prod-canary-h{n}"] for n in (0, 1)} == {2}


def test_a_sampled_host_that_is_offline(make: Make) -> None:
    """One that is so before is not sampled; one that goes away is waited for, to the deadline."""
    rig = make({"prod-canary": 3, "prod-1": 2, "prod": 2}, deadline="4s")
    rig.publish("2")
    rig.lab.break_host("prod-canary-h1", "unreachable")
    # It goes down to boot the new digest and is not seen again.
    rig.lab.break_host("prod-1-h0", "does-not-return")
    code, out, _ = rig("rollout", "pull", "web", "--yes")
    assert code == ExitCode.HALTED
    sampled = next(one for one in rig.journal() if one.kind is EntryKind.WAVE).body["sample"]
    assert "prod-canary-h1" not in sampled
    assert len(sampled) == 2
    assert "prod-1-h0: failed: does not answer: " in out
    assert rig.tags() == {"test": "2", **dict.fromkeys(NAMES, "1")}


def stop_after_promotion(number: signal.Signals) -> int:
    """Begin a rollout in another process, and send it a signal once a tag is to be moved."""
    controller = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "rollout", "pull", "web", "--yes", "--json"],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        assert controller.stdout is not None
        for line in controller.stdout:
            if json.loads(line)["kind"] == "channel.promote":
                break
        controller.send_signal(number)
        # Read to its end: it may still have something to say.
        controller.communicate(timeout=60)
    finally:
        controller.kill()
        controller.wait(30)
    return controller.returncode


def test_stopped_aborted_and_taken_back_by_who_comes_next(make: Make) -> None:
    """^C leaves the channels where they are; an abort is carried out when it is resumed."""
    rig = make()
    rig.publish("2")
    assert stop_after_promotion(signal.SIGINT) == ExitCode.INTERRUPTED
    assert rig.tags()["prod-canary"] == "2"
    assert rig.journal()[-1].kind is EntryKind.STOPPED
    code, out, _ = rig("rollout", "abort", "last", "--yes")
    assert code == 0
    assert "nobody carries it out: bootcfleet rollout resume" in out
    code, out, err = rig("rollout", "resume", "last", "--yes")
    assert code == ExitCode.HALTED, out + err
    assert "aborted it" in err
    assert rig.tags() == {"test": "2", **dict.fromkeys(NAMES, "1")}
    rig.wait("prod-canary", "1")
    # The way is free for the next one.
    code, out, err = rig("rollout", "pull", "web", "--yes")
    assert code == 0, out + err
    assert rig.tags() == dict.fromkeys(("test", *NAMES), "2")


@pytest.mark.parametrize("health", ["good", "bad"])
def test_a_controller_that_is_killed_and_taken_up_again(make: Make, health: str) -> None:
    rig = make()
    rig.publish("2", health=health)
    assert stop_after_promotion(signal.SIGKILL) == -signal.SIGKILL
    code, out, err = rig("rollout", "resume", "last", "--yes")
    halted = code == ExitCode.HALTED
    assert halted or code == 0, out + err
    assert halted is (health == "bad")
    version = "1" if halted else "2"
    assert rig.tags() == {"test": "2", **dict.fromkeys(NAMES, version)}
    for name in NAMES:
        rig.wait(name, version)
    _, out, _ = rig("channel", "history", "web", "prod-canary", "--json")
    found = [entry["version"] for entry in json.loads(out)]
    assert found == (["1", "2", "1"] if halted else ["1", "2"])
    moved = 2 if halted else 1
    assert [host["reboots"] for host in rig.lab.status()] == [
        moved, moved, *[0 if halted else 1] * 4
    ]  # fmt: skip


def test_the_cost_does_not_depend_on_how_many_hosts_there_are(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 followers or 200: the controller makes the same number of SSH connections."""
    rigs: list[Rig] = []

    def promoted(channels: Any, plan: Any) -> Any:
        done = promote(channels, plan)
        # Every timer fires now: how fast they are decides nothing here.
        for host in rigs[-1].lab.hosts.values():
            fire(host)
        return done

    monkeypatch.setattr(pull_run, "promote", promoted)
    spent = []
    for count in (20, 200):
        counts = {"prod-canary": 2, "prod-1": 2, "prod": count - 4}
        rigs.append(make(counts, bake="0s", timer=None))
        rigs[-1].publish("2")
        assert rigs[-1]("rollout", "pull", "web", "--yes")[0] == 0
        rigs[-1].wait("prod", "2", count - 4)
        spent.append(len(rigs[-1].connections))
        rigs[-1].lab.stop()
        shutil.rmtree(".bootcfleet")
    # Two hosts of each of three channels, before the promotion and after it.
    assert spent == [12, 12]


def test_it_is_followed_and_paused_from_elsewhere(make: Make) -> None:
    rig = make()
    rig.publish("2")
    asked: list[int] = []

    def pause() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                phases = [e.body["phase"] for e in rig.journal() if e.kind is EntryKind.WAVE]
            except Exception:  # noqa: BLE001 - there is no rollout yet
                phases = []
            if phases:
                break
            time.sleep(0.05)
        asked.append(run(["rollout", "pause", "last", "--reason", "lunch"]))
        while time.monotonic() < deadline:
            waits = [e for e in rig.journal() if e.kind is EntryKind.WAVE]
            if any(entry.body["phase"] == "waiting" for entry in waits):
                break
            time.sleep(0.05)
        asked.append(rig.tags()["prod-1"] == "1")
        asked.append(run(["rollout", "abort", "last", "--reason", "enough", "--yes"]))

    other = threading.Thread(target=pause)
    other.start()
    code, out, err = run(["rollout", "pull", "web", "--yes"]), "", ""
    other.join(90)
    out, err = rig.capsys.readouterr()
    assert asked == [0, True, 0], out + err
    assert code == ExitCode.HALTED
    assert rig.tags() == {"test": "2", **dict.fromkeys(NAMES, "1")}
    rig.wait("prod-canary", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wbe"], "the project has no image 'wbe'"),
        (["web", "--policy", "edgy"], "there is no rollout policy 'edgy'"),
        (["web", "--policy", "plain"], "the rollout policy plain says nothing of pull mode"),
        (["web", "--from", "test", "--digest", "sha256:1"], "--from a channel or a --digest"),
        (["web", "--from", "prod"], None),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    with Lab(tmp_path / "lab") as lab:
        address = lab.start_registry()
        text = PROJECT.format(address=address, deadline="1m", bake="0s") + "  plain: {}\n"
        (tmp_path / "bootcfleet.yaml").write_text(text)
        hosts = "".join(f"  h-{name}: {{image: '{address}/acme/web:{name}'}}\n" for name in NAMES)
        (tmp_path / "lab/inventory.yaml").write_text(f"version: 1\nhosts:\n{hosts}")
        rig = Rig(lab, capsys)
        rig.publish("1")
        code, out, err = rig("rollout", "pull", *words, "--yes")
    assert code == (ExitCode.USAGE if message else ExitCode.FAILED), out + err
    assert (message or "web is not in prod") in err
