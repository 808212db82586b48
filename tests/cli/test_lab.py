"""`bootcfleet lab`: up, ask, break, heal, down, from other processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers.labcontrol import Running
from bootcfleet.ops.labservice import stop_lab


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / ".bootcfleet/lab"
    stop_lab(tmp_path / ".bootcfleet/lab")


def test_a_lab_in_the_background(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lab", "up", "-n", "4", "--detach", "--boot-seconds", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "the lab is up: 4 hosts, process " in out
    assert "next: bootcfleet fleet status -i .bootcfleet/lab/inventory.yaml" in out

    assert run(["lab", "up", "--detach"]) == 2
    assert "a lab runs in" in capsys.readouterr().err

    assert run(["lab", "break", "host2", "returns-after=7"]) == 0
    assert capsys.readouterr().out.startswith("host2: returns-after=7: comes back N seconds")
    assert run(["lab", "status", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [host["faults"] for host in answer["hosts"]] == [[], ["returns-after=7"], [], []]
    assert run(["lab", "heal", "host2"]) == 0
    capsys.readouterr()
    assert run(["lab", "status"]) == 0
    assert "returns-after" not in capsys.readouterr().out

    assert run(["fleet", "status", "-i", str(here / "inventory.yaml"), "-l", "role=web"]) == 0
    assert capsys.readouterr().out.count("in-sync") == 3

    assert run(["lab", "down"]) == 0
    assert capsys.readouterr().out == "the lab is down\n"
    assert not here.exists()
    assert run(["lab", "status"]) == 2
    assert "start one with `bootcfleet lab up --detach`" in capsys.readouterr().err


def test_a_soft_reboot_in_a_lab_and_the_hosts_own_record(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--boot-seconds", "0.2", "--soft-reboots", "--pull-seconds", "0.1"]
    assert run(["lab", "up", "-n", "1", "--detach", *options]) == 0
    inventory = ["-i", str(here / "inventory.yaml")]
    command = "bootc upgrade --download-only; systemctl soft-reboot"
    run(["fleet", "exec", *inventory, "--sudo", "--", "sh", "-c", command])
    capsys.readouterr()
    whats: list[str] = []
    deadline = time.monotonic() + 20
    while "up" not in whats:
        assert time.monotonic() < deadline, whats
        assert run(["lab", "status", "--json"]) == 0
        (host,) = json.loads(capsys.readouterr().out)["hosts"]
        whats = [entry["what"] for entry in host["history"]]
    assert whats == ["booted", "soft-down", "up"]
    assert (host["reboots"], host["soft_reboots"]) == (1, 1)
    assert host["history"][0]["detail"] == host["digest"]
    assert host["history"][1]["monotonic"] <= host["history"][2]["monotonic"] <= time.monotonic()


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (
            ["break", "host1", "diskfull"],
            "there is no fault 'diskfull'",
            "did you mean 'disk-full'?",
        ),
        (["break", "host1", "returns-after"], "is not a fault", "write returns-after=20"),
        (["break", "host1", "disk-full=3"], "is not a fault", "write disk-full"),
        (["up", "--no-registry"], "need --image", None),
        (["up", "--image", "web"], "does not name its registry", "write it in full"),
    ],
)
def test_mistakes(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
    hint: str | None,
) -> None:
    assert run(["lab", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert hint is None or hint in err


def test_what_a_killed_lab_left_can_be_removed(here: Path) -> None:
    assert run(["lab", "up", "-n", "2", "--detach"]) == 0
    running = Running.read(here)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Running.read(here) and time.monotonic() < deadline:
        # Our own child stays a zombie until it is waited for.
        with pytest.MonkeyPatch.context():
            try:
                os.waitpid(running.pid, os.WNOHANG)
            except ChildProcessError:
                break
        time.sleep(0.05)
    assert run(["lab", "down"]) == 0
    assert not here.exists()


def test_down_never_removes_what_is_no_lab(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here.mkdir(parents=True)
    (here / "precious").write_text("x")
    assert run(["lab", "down"]) == 0
    assert "there is no lab in" in capsys.readouterr().out
    assert (here / "precious").exists()


def test_control_c_ends_a_lab_in_the_foreground(here: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "lab", "up", "-n", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        assert "2 hosts are up\n" in lines
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert rest.endswith("the lab is down\n")
    assert process.returncode == 0


def test_a_fleet_of_three_hundred_in_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from bootcfleet.ops.lab import Lab

    monkeypatch.chdir(tmp_path)
    before = threading.active_count()
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        lab.start_hosts(300, image=lab.seed())
        assert threading.active_count() - before < 20  # idle hosts cost no thread
        assert run(["fleet", "status", "-i", str(lab.inventory_path), "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert len(rows) == 300
        assert {row["drift"] for row in rows} == {"in-sync"}


def limited(files: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process that begins with a limit of open files (`ulimit` options)."""
    line = f'ulimit {files} && exec "$@"'
    command = [sys.executable, "-m", "bootcfleet", *words]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        ["sh", "-c", line, "sh", *command],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_more_hosts_than_files_that_a_process_begins_with(here: Path) -> None:
    """The soft limit is 1,024 on most systems; both sides keep a connection for each host."""
    up = limited("-Sn 64", "lab", "up", "-n", "60", "--boot-seconds", "0.1", "--detach")
    assert up.returncode == 0, up.stderr
    told = limited("-Sn 50", "fleet", "status", "-i", str(here / "inventory.yaml"))
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("in-sync") == 60


def test_a_lab_that_this_user_has_too_few_files_for(here: Path) -> None:
    said = limited("-n 128", "lab", "up", "-n", "60")
    assert said.returncode == 1
    assert "60 hosts need 184 open files, and this process may have 128" in said.stderr
    assert "start fewer hosts" in said.stderr
