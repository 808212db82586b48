"""Whole policies over SSH, judged by the hosts' own records: budgets, order, halts, answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain import judgement
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.simrecord import What, away
from bootcfleet.ops.lab import Lab, LabHost
from tests.cli.test_fleet import CREATED

#: Cluster members are neighbours: each pair would go together without a budget.
LABELS = {
    "h1": {"cluster": "a", "slot": "blue"},
    "h2": {"cluster": "a", "slot": "green"},
    "h3": {"cluster": "b", "slot": "blue"},
    "h4": {"cluster": "b", "slot": "green"},
}


@dataclass
class Rig:
    """A lab of four hosts with an update to take, and a project with a policy."""

    lab: Lab
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def publish(self, version: str, name: str = "acme/web", **labels: str) -> str:
        address = self.lab.registry_address
        push_image(
            address, name, "prod", version=version, files={"version": version.encode()},
            created=CREATED, labels=labels,
        )  # fmt: skip
        return f"{address}/{name}:prod"

    def policy(self, text: str) -> None:
        """Write the project with a policy that is called `own`."""
        body = "".join(f"    {line}\n" for line in text.strip().splitlines())
        Path("bootcfleet.yaml").write_text(
            f"version: 1\nname: acme\nregistry: {self.lab.registry_address}/acme\n"
            f"rollouts:\n  own:\n{body}"
        )

    def words(self, *more: str, operation: tuple[str, ...] = ("upgrade",)) -> list[str]:
        inventory = str(self.lab.inventory_path)
        return ["fleet", *operation, "-i", inventory, "--policy", "own", *more]

    def __call__(self, *words: str, ends: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        code = run(list(words))
        said = self.capsys.readouterr()
        assert code == ends, f"{words}: {code}\n{said.out}\n{said.err}"
        return said.out, said.err

    def upgrade(self, *more: str, ends: int = 0) -> list[dict[str, Any]]:
        """Upgrade by the policy; the lines of JSON."""
        out, _ = self(*self.words("--yes", "--json", *more), ends=ends)
        return [json.loads(line) for line in out.splitlines()]

    @contextmanager
    def controller(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "bootcfleet", *words],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def wait(self, true: Callable[[], bool]) -> None:
        for _ in range(1200):
            if true():
                return
            time.sleep(0.05)
        pytest.fail("it never came true")

    def versions(self) -> dict[str, str]:
        return {host["host"]: str(host["booted"]) for host in self.lab.status()}

    def times(self, name: str, what: What) -> list[float]:
        return [e.monotonic for e in self.lab.hosts[name].history if e.what is what]

    def reboots(self) -> list[int]:
        return [host.reboots for host in self.lab.hosts.values()]


@pytest.fixture
def rig(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Rig:
    rig = Rig(lab, tmp_path, capsys)
    image = rig.publish("1.0")
    hosts = [LabHost(name, image, labels) for name, labels in LABELS.items()]
    lab.start_hosts(hosts, image=image, boot_seconds=0.3)
    rig.publish("1.1")
    return rig


def most_away(rig: Rig, names: list[str]) -> int:
    marks = [
        mark
        for name in names
        for since, until in away(rig.lab.hosts[name].history)
        for mark in ((since, 1), (until, -1))
    ]
    level = most = 0
    for _, change in sorted(marks):
        level += change
        most = max(most, level)
    return most


def test_a_wave_that_nobody_is_in_is_said(rig: Rig) -> None:
    rig.policy("waves: [{name: canary, selector: role=wbe, limit: 1}, {name: all}]")
    out, _ = rig(*rig.words("--dry-run"))
    assert "note: no host is in the wave canary of the policy own\n" in out
    rig.policy("waves: [{name: canary, limit: 1}, {name: all}]")
    assert "note:" not in rig(*rig.words("--dry-run"))[0]


def test_never_two_of_a_cluster_and_each_drained_around_its_reboot(rig: Rig) -> None:
    rig.policy(
        """
canary: 0
batch: 100%
budgets: {group_by: [cluster], max_unavailable_per_group: 1}
drain: [{local: [sh, -c, 'echo drain $1 >>lb', sh, "{host}"]}, {remote: [drain]}]
undrain: [{remote: [undrain]}, {local: [sh, -c, 'echo undrain $1 >>lb', sh, "{host}"]}]
"""
    )
    rig.upgrade()
    assert set(rig.versions().values()) == {"1.1"}
    for cluster in (["h1", "h2"], ["h3", "h4"]):
        assert most_away(rig, cluster) == 1
        # The balancer never lacked two of them either.
        out: set[str] = set()
        for line in Path("lb").read_text().splitlines():
            what, host = line.split()
            if host in cluster:
                (out.add if what == "drain" else out.discard)(host)
                assert len(out) <= 1
    around = {What.DRAINED, What.UNDRAINED, What.DOWN, What.UP}
    for host in rig.lab.hosts.values():
        kinds = [entry.what for entry in host.history if entry.what in around]
        assert kinds == [What.DRAINED, What.DOWN, What.UP, What.UNDRAINED]


def test_blue_green_with_an_approval_and_a_cutover(rig: Rig) -> None:
    clock = "import time; open('cutover', 'w').write(str(time.monotonic()))"
    rig.policy(
        f"""
blue_green:
  green: slot=green
  blue: slot=blue
  approve: manual
  cutover: {{local: [{sys.executable}, -c, "{clock}"]}}
"""
    )
    with rig.controller(*rig.words("--yes")) as controller:
        rig.wait(lambda: sum(rig.reboots()) == 2)
        rig.wait(lambda: "waits for approval" in rig("rollout", "show")[0])
        approved = time.monotonic()
        assert rig.reboots() == [0, 1, 0, 1]
        assert not Path("cutover").exists()
        rig("rollout", "approve")
        out, err = controller.communicate(timeout=60)
        assert controller.returncode == 0, out + err
    cutover = float(Path("cutover").read_text())
    assert max(rig.times("h2", What.UP) + rig.times("h4", What.UP)) < approved < cutover
    assert cutover < min(rig.times("h1", What.DOWN) + rig.times("h3", What.DOWN))
    assert set(rig.versions().values()) == {"1.1"}


def test_a_closed_window_downloads_and_reboots_nobody(rig: Rig) -> None:
    """^C, an abort, and once more without the window."""
    far = datetime.now(UTC) + timedelta(days=20)
    rig.policy(
        f"""
download: ahead
windows: [{{cron: "0 2 {far.day} {far.month} *", duration: 1h}}]
"""
    )
    hosts = rig.lab.hosts
    with rig.controller(*rig.words("--yes")) as controller:
        rig.wait(lambda: all(host.staged is not None for host in hosts.values()))
        rig.wait(lambda: "no maintenance window is open; it opens" in rig("rollout", "show")[0])
        controller.send_signal(signal.SIGINT)
        _, err = controller.communicate(timeout=60)
        assert controller.returncode == 130, err
    assert rig.reboots() == [0, 0, 0, 0]
    rig("rollout", "abort", "--yes")
    rig("rollout", "resume", "--yes", ends=4)
    rig.upgrade("--ignore-windows")
    assert set(rig.versions().values()) == {"1.1"}
    assert rig.reboots() == [1, 1, 1, 1]


def test_a_soft_reboot_keeps_the_boot(rig: Rig) -> None:
    rig.policy("soft_reboot: auto\ncanary: 0\nbatch: 100%")
    before = {}
    for name, host in rig.lab.hosts.items():
        host.soft_reboot_capable = name != "h4"
        before[name] = host.boot_id
    rig.upgrade()
    assert set(rig.versions().values()) == {"1.1"}
    for name in ("h1", "h2", "h3"):
        host = rig.lab.hosts[name]
        assert (host.boot_id, host.soft_reboots) == (before[name], 1)
        assert rig.times(name, What.SOFT_DOWN)
        ((since, until),) = away(host.history)
        assert until - since < host.boot_seconds / 2
    # The one with another kernel staged is rebooted.
    assert rig.lab.hosts["h4"].boot_id != before["h4"]
    assert not rig.times("h4", What.SOFT_DOWN)


def test_a_halt_takes_the_others_back_and_a_retry_goes_on(rig: Rig) -> None:
    rig.policy("canary: 1\nbatch: 1\non_halt: rollback")
    sick = rig.lab.hosts["h3"]
    real = sick.on_reboot

    def in_its_first_boot() -> None:
        if sick.reboots == 1:
            rig.lab.break_host("h3", "health-fails")
        else:
            rig.lab.heal("h3")
        real()

    sick.on_reboot = in_its_first_boot
    lines = rig.upgrade(ends=4)
    ends = {name: one["phase"] for name, one in lines[-1]["hosts"].items()}
    assert ends == {
        "h1": "rolled-back", "h2": "rolled-back", "h3": "rolled-back", "h4": "skipped",
    }  # fmt: skip
    assert set(rig.versions().values()) == {"1.0"}
    assert rig.reboots() == [2, 2, 2, 0]
    # Newest wave first: the second time down.
    down = [rig.times(name, What.DOWN)[1] for name in ("h3", "h2", "h1")]
    assert down == sorted(down)
    rig("rollout", "retry", "--yes")
    rig("rollout", "resume", "--yes")
    assert set(rig.versions().values()) == {"1.1"}


def test_a_host_that_returns_while_the_rollout_is_open(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement, "LOOK_AGAIN", 0.5)
    rig.policy("canary: 1\nbatch: 2\noffline: 5m")
    rig.lab.break_host("h4", "unreachable")
    real = rig.lab.hosts["h3"].on_reboot

    def returns() -> None:
        rig.lab.heal("h4")
        real()

    rig.lab.hosts["h3"].on_reboot = returns
    lines = rig.upgrade()
    assert lines[0]["hosts"]["h4"]["phase"] == "deferred"
    assert lines[-1]["hosts"]["h4"]["phase"] == "updated"
    assert set(rig.versions().values()) == {"1.1"}
    assert rig.times("h4", What.DOWN)[0] > rig.times("h3", What.DOWN)[0]


def test_a_host_that_does_not_return_is_refused(rig: Rig) -> None:
    rig.policy("canary: 1\nbatch: 100%")
    rig.lab.break_host("h4", "unreachable")
    lines = rig.upgrade(ends=1)
    assert lines[-1]["hosts"]["h4"]["phase"] == "refused"
    assert "could not be reached while the rollout was open" in str(lines[-1]["hosts"]["h4"])
    assert list(rig.versions().values()) == ["1.1", "1.1", "1.1", "1.0"]


def test_another_major_release_is_accepted_by_name(rig: Rig) -> None:
    rig.policy("canary: 0\nbatch: 100%")
    for host in rig.lab.hosts.values():
        host.system.os_version = "9.6"
    names = {"redhat.id": "lab", "redhat.version-id": "10.0"}
    image = rig.publish("2.0", "acme/next", **names)
    words = rig.words("--yes", operation=("switch", image))
    _, err = rig(*words, ends=2)
    assert "from lab 9.6 to lab 10.0: another major release" in err
    assert "add --accept major-release" in err
    assert rig.reboots() == [0, 0, 0, 0]
    rig(*words, "--accept", "major-release")
    assert set(rig.versions().values()) == {"2.0"}


def test_what_the_json_stream_says(rig: Rig) -> None:
    rig.policy("canary: 1\nbatch: 100%")
    lines = rig.upgrade()
    assert lines[0]["kind"] == "rollout.planned"
    assert lines[-1]["kind"] == "rollout.finished"
    rollout = lines[0]["rollout"]
    for line in lines[1:-1]:
        assert set(line) >= {"kind", "subject", "message", "data"}, line
        assert line["data"]["rollout"] == rollout, line
    finished = lines[-1]["hosts"]["h1"]
    assert set(finished) >= {"phase", "message", "fault", "evidence"}
    own = [line["kind"] for line in lines if line.get("subject") == "h1"]
    steps = ["host.staging", "host.staged", "host.rebooting", "host.checking", "host.updated"]
    assert [kind for kind in own if kind in steps] == steps
    # Nothing to do is well; drift is another command's exit code.
    assert rig.upgrade()[0]["kind"] == "rollout.planned"
    rig.publish("1.2")
    rig("fleet", "drift", "-i", str(rig.lab.inventory_path), ends=3)
    rig(*rig.words("--batch", "nonsense", "--yes"), ends=2)
