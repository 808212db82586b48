"""What earlier rollouts of the same ledger mean for the next one, on a lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers import hostlock
from bootcfleet.ops.lab import Lab, LabHost
from tests.cli.test_fleet import Rig

LOCK = f"{hostlock.DIRECTORY}/lock.json"


@pytest.fixture
def rig(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Rig:
    rig = Rig(lab, capsys)
    rig.publish("1.0")
    hosts = [LabHost(name, rig.image, {}) for name in ("h1", "h2", "h3")]
    lab.start_hosts(hosts, image=rig.image, boot_seconds=0.2)
    rig.publish("1.1")
    return rig


def test_the_boot_of_a_rollout_is_nobody_elses(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig("upgrade", "--yes", "--canary", "0", "--batch", "100%")
    rig.publish("1.2")
    hosts = json.loads(rig("preflight", "--json")[0])["hosts"]
    assert [(one["result"], one["findings"]) for one in hosts] == [("ready", [])] * 3
    assert "booted" not in rig("upgrade", "--dry-run")[0]
    # Who has another ledger cannot know who that was.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert rig("preflight")[0].count("somebody else may be at work on it") >= 1


def test_the_lock_of_a_host_that_never_came_back(rig: Rig) -> None:
    rig.lab.break_host("h2", "does-not-return")
    rig("upgrade", "--yes", "--boot-timeout", "1", ends=4)
    rollout = json.loads(rig.lab.hosts["h2"].files[LOCK])["rollout"]
    rig.capsys.readouterr()
    assert run(["rollout", "show", "--journal"]) == 0
    assert "its lock is left: it does not answer; once it does: " in rig.capsys.readouterr().out
    rig.lab.heal("h2")
    rig.publish("1.2")
    out, _ = rig("preflight", ends=3)
    said = f"refused: h2: is locked: rollout {rollout} of "
    assert said in out
    assert "that rollout has ended (halted)\n  it could not take its lock away; break it: " in out
    assert "break it: bootcfleet fleet unlock --force h2\n" in out
    # It has booted what was planned, though nobody has seen it.
    assert run(["why", "h2", "-i", str(rig.lab.inventory_path)]) == 0
    assert f"fleet.upgrade {rollout} (failed)\n" in rig.capsys.readouterr().out
    # One that is taken up again is at work on its hosts.
    assert run(["rollout", "retry", "h2", "--rollout", rollout, "--yes"]) == 0
    out, _ = rig("upgrade", "--dry-run", ends=1)
    assert said in out
    assert "nobody carries that rollout out (stopped); take it up again: " in out
    assert f"bootcfleet rollout resume {rollout}, or give it up: " in out
    rig("unlock", "--force", "--yes", "h2")
    assert "h2: is locked" not in rig("preflight")[0]


def test_a_stale_lock_keeps_one_host_out_and_halts_nothing(rig: Rig) -> None:
    lock = hostlock_of("another", expires=1000)
    rig.lab.hosts["h1"].files[LOCK] = lock
    out, _ = rig("upgrade", "--yes", ends=1)
    assert "refused: h1: has a stale lock: rollout another of ann@ctl" in out
    assert "bootcfleet fleet unlock h1" in out
    assert rig.versions() == ["1.0", "1.1", "1.1"]
    assert rig.lab.hosts["h1"].files[LOCK] == lock
    rig("unlock", "--yes", "h1")
    rig("upgrade", "--yes")
    assert rig.versions() == ["1.1"] * 3


def hostlock_of(rollout: str, *, expires: int) -> bytes:
    body = {
        "version": 1, "owner": "ann@ctl", "rollout": rollout, "controller": "ctl",
        "taken": 100, "expires": expires,
    }  # fmt: skip
    return json.dumps(body, indent=1).encode()
