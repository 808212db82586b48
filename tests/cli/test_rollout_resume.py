"""`bootcfleet rollout resume` on a lab: after kill -9, after ^C, and after a pause."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.drivers.labimage import push_image
from bootcfleet.ops.lab import Lab, LabHost
from bootcfleet.ops.rollouts import Rollouts, open_rollouts
from tests.rolloutmaker import Writer

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


#: Between the first two hosts and the others, so that they are not over before a slow test asks.
BAKE = ("--bake", "8s")


@dataclass
class Rig:
    """A lab of four hosts with an update to take, and commands in processes of their own."""

    lab: Lab
    folder: Path
    rollouts: Rollouts
    capsys: pytest.CaptureFixture[str]

    def publish(self, version: str) -> None:
        address = self.lab.registry_address
        push_image(
            address, "acme/web", "prod", version=version,
            files={"version": version.encode()}, created=CREATED,
        )  # fmt: skip

    @contextmanager
    def controller(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command in a process of its own, which is gone afterwards."""
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

    def begin(self, *more: str) -> list[str]:
        inventory = str(self.lab.inventory_path)
        return ["fleet", "upgrade", "-i", inventory, "--yes", "--batch", "2", *more]

    def say(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = run(["rollout", *words])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    @property
    def state(self) -> str:
        rows = json.loads(self.say("list", "--json")[1])
        return str(rows[0]["state"]) if rows else ""

    def phases(self) -> set[str]:
        """What the journal says of the hosts, so far."""
        found = self.rollouts.store.all()
        if not found:
            return set()
        entries = self.rollouts.store.entries(found[0][0].id)
        return {str(entry.body["phase"]) for entry in entries if entry.kind is EntryKind.HOST}

    def reboots(self) -> list[int]:
        return [host["reboots"] for host in self.lab.status()]

    def versions(self) -> set[str]:
        return {str(host["booted"]) for host in self.lab.status()}


@pytest.fixture
def rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Rig]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Lab(tmp_path / "lab") as lab, open_rollouts(None) as rollouts:
        lab.start_registry()
        rig = Rig(lab, tmp_path, rollouts, capsys)
        rig.publish("1.0")
        image = f"{lab.registry_address}/acme/web:prod"
        hosts = [LabHost(f"h{n}", image, {"role": "web"}, ("web",)) for n in range(1, 5)]
        lab.start_hosts(hosts, image=image, boot_seconds=1.5)
        rig.publish("1.1")
        yield rig


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it never came true")


@pytest.mark.parametrize("phase", ["staging", "rebooting", "updated"])
def test_after_kill_9(rig: Rig, phase: str) -> None:
    with rig.controller(*rig.begin()) as controller:
        wait_until(lambda: phase in rig.phases())
        controller.kill()
    wait_until(lambda: rig.state == "left-behind")
    code, out, err = rig.say("resume")
    assert (code, err) == (
        2,
        "error: this changes machines and nobody is there to confirm it\n"
        f"hint: look at it with `bootcfleet rollout show {rig.rollouts.store.find().id}`, "
        "then run it again with --yes\n",
    )
    assert "left behind by its controller" in out
    # It is what has just been run.
    assert "bootcfleet rollout resume" not in out
    code, out, err = rig.say("resume", "--yes", "-m", "the machine is back")
    assert code == 0, out + err
    assert out.splitlines()[-1].endswith(": 4 updated")
    assert rig.versions() == {"1.1"}
    assert rig.reboots() == [1, 1, 1, 1]
    assert rig.state == "done"
    assert rig.rollouts.ledger.verify() is None
    (resumed,) = rig.rollouts.ledger.entries(action="rollout.resume")
    assert resumed.details == {"reason": "the machine is back"}
    code, _, err = rig.say("resume", "--yes")
    assert code == 1
    assert " has ended (done): there is nothing to resume\n" in err


def test_a_pause_and_on_again(rig: Rig) -> None:
    with rig.controller(*rig.begin(*BAKE)) as controller:
        wait_until(lambda: "updated" in rig.phases())
        assert rig.say("pause", "-m", "lunch")[0] == 0
        wait_until(lambda: rig.state == "paused")
        code, out, _ = rig.say("resume", "-m", "was good")
        assert code == 0
        assert out.endswith(
            f": goes on\nits controller {socket.gethostname()} takes it in within seconds\n"
        )
        out, err = controller.communicate(timeout=120)
        assert controller.returncode == 0, out + err
    assert rig.versions() == {"1.1"}
    actions = [entry.action for entry in rig.rollouts.ledger.entries(action="rollout")]
    assert actions == ["rollout.pause", "rollout.resume"]


def test_one_that_is_carried_out(rig: Rig) -> None:
    with rig.controller(*rig.begin()) as controller:
        wait_until(lambda: "staging" in rig.phases())
        controller.send_signal(signal.SIGSTOP)
        code, _, err = rig.say("resume", "--yes")
        assert code == 1
        rollout = rig.rollouts.store.find().id
        assert err == (
            f"error: the rollout {rollout} is carried out by {socket.gethostname()}, and is not "
            f"paused\nhint: follow it: bootcfleet rollout watch {rollout}\n"
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_after_an_interrupt_and_a_pause(rig: Rig, number: signal.Signals) -> None:
    """It is left stopped, also by `systemctl stop` or when the terminal is gone.

    It was paused, and goes on when it is taken up.
    """
    with rig.controller(*rig.begin(*BAKE)) as controller:
        wait_until(lambda: "updated" in rig.phases())
        rig.say("pause")
        controller.send_signal(number)
        _, err = controller.communicate(timeout=120)
        assert controller.returncode == 130, err
        assert "bootcfleet rollout resume" in err
    assert rig.state == "stopped"
    code, out, err = rig.say("resume", "--yes", "--json")
    assert code == 0, out + err
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["kind"] == "rollout.finished"
    assert {event["kind"] for event in events} >= {"host.rebooting", "host.updated"}
    assert rig.versions() == {"1.1"}
    assert rig.reboots() == [1, 1, 1, 1]


def test_addresses_of_another_inventory(rig: Rig, tmp_path: Path) -> None:
    """A machine that reaches the hosts in another way."""
    away = tmp_path / "away.yaml"
    text = rig.lab.inventory_path.read_text()
    away.write_text(text.replace("127.0.0.1", "127.0.0.9"))
    assert away.read_text() != text
    with rig.controller(*rig.begin(*BAKE)) as controller:
        wait_until(lambda: "updated" in rig.phases())
        controller.kill()
    wait_until(lambda: rig.state == "left-behind")
    rollout = rig.rollouts.store.record(rig.rollouts.store.find().id)
    assert "127.0.0.9" not in json.dumps(rollout.body)
    code, out, err = rig.say("resume", "--yes", "-i", str(rig.lab.inventory_path))
    assert code == 0, out + err


def test_a_file_of_another_machine(rig: Rig) -> None:
    """The lock of a file says nothing about a controller elsewhere."""
    writer = Writer(rig.rollouts.store)
    writer.start("ctl7.example.com")
    code, out, err = rig.say("resume", "--yes")
    here = socket.gethostname()
    assert (code, out) == (1, "")
    assert err == (
        f"error: the rollout {writer.id} was begun on ctl7.example.com, and this ledger is a file: "
        f"whether that controller still lives cannot be seen from {here}\n"
        "hint: resume it on ctl7.example.com; for rollouts that several machines may take up, put "
        "the ledger into PostgreSQL (docs/ledger.md)\n"
    )
    writer.write(NewEntry(EntryKind.STOPPED, body={"reason": "^C"}))
    assert "nobody is there to confirm it" in rig.say("resume")[2]
