"""The program itself: start-up imports, interruption, pipes, the demo."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bootcfleet.cli.app import COMMANDS, run
from bootcfleet.drivers.labcontrol import Running

PROGRAM = [sys.executable, "-m", "bootcfleet"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom bootcfleet.cli.app import run\nrun(['--help'])\n"
        "heavy = {'paramiko', 'pydantic', 'sqlalchemy', 'jinja2', 'yaml', 'urllib3'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "Usage: bootcfleet " + name in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bootcfleet 0.")


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m bootcfleet schema | head -1"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        ("lab faults", ">&-", 0),
        ("fleet status", ">&- 2>&-", 2),
    ],
)
def test_streams_that_are_closed(tmp_path: Path, words: str, closed: str, code: int) -> None:
    """A daemon may have closed them: Python has None in their place."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, *words.split()],
        cwd=tmp_path,
        env=os.environ
        | {"XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", ["fleet status", "fleet exec --yes -- true", "fleet facts --json"]
)
def test_control_c_says_so(tmp_path: Path, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        inventory = tmp_path / "inventory.yaml"
        inventory.write_text(
            f"version: 1\nhosts:\n  h1: {{connection: {{address: 127.0.0.1, port: {port}}}}}\n"
        )
        name, command, *more = words.split()
        process = subprocess.Popen(
            [*PROGRAM, name, command, "-i", str(inventory), *more],
            env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            # It waits for a greeting from now on.
            with mute.accept()[0]:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, out + err
    if "--json" in words:
        assert json.loads(err)["error"]["exit_code"] == 130
    else:
        assert (out, err) == ("", "error: interrupted\n")


def test_control_c_in_a_rollout(tmp_path: Path) -> None:
    """Exit code 130, the journal says where it stands, and `resume` finishes it."""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "SSH_AUTH_SOCK": ""}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *words], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    up = call("lab", "up", "-n", "3", "--detach", "--boot-seconds", "1.5")
    assert up.returncode == 0, up.stderr
    try:
        inventory = str(tmp_path / ".bootcfleet/lab/inventory.yaml")
        words = ["fleet", "reboot", "-i", inventory, "--yes", "--json"]
        process = subprocess.Popen(
            [*PROGRAM, *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["kind"] == "host.rebooting":
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        (left,) = json.loads(call("rollout", "list", "--open", "--json").stdout)
        assert left["state"] == "stopped"
        hosts = json.loads(call("rollout", "show", "--json").stdout)["hosts"]
        assert hosts["host1"]["phase"] == "rebooting"
        assert hosts["host2"]["phase"] == "pending"
        again = call("rollout", "resume", "--yes")
        assert again.returncode == 0, again.stdout + again.stderr
        lab = json.loads(call("lab", "status", "--json").stdout)
        assert [host["reboots"] for host in lab["hosts"]] == [1, 1, 1]
        ends = json.loads(call("audit", "--action", "fleet.reboot", "--json").stdout)
        assert [entry["outcome"] for entry in ends] == ["started", *["updated"] * 3, "done"]
    finally:
        assert call("lab", "down").returncode == 0
    assert Running.read(tmp_path / ".bootcfleet/lab") is None


def test_what_the_disk_refuses_is_an_error_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOOTCFLEET_SIGNING_PASSPHRASE", "x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    words = ["image", "keygen", "--key", "file/folder/k.key", "--public", "k.pub"]
    assert run(words) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"error: {tmp_path}/file")
    assert said[0].endswith(" cannot be used: Not a directory")
    assert said[1].startswith(f"hint: see its folder: ls -ld {tmp_path}")
    assert run([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["exit_code"] == 1


def test_a_full_disk_names_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("bootcfleet.cli.app.build_app", lambda _: raises(failure))
    assert run(["lock", "verify"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: a file cannot be used: No space left on device",
        "hint: see the disks: df -h",
    ]
    monkeypatch.setattr("bootcfleet.cli.app.build_app", lambda _: raises(OSError(errno.EINVAL, "")))
    with pytest.raises(OSError, match="22"):
        run(["lock", "verify"])


def raises(error: OSError) -> Callable[..., None]:
    def call(*_words: object, **_options: object) -> None:
        raise error

    return call


def test_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without podman: the demo promises to need none.
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["demo", "--hosts", "4", "--boot-seconds", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "without podman" in out
    assert "4 updated" in out
    assert "1 rolled-back" in out
    assert "That was the main job" in out
    assert out.count("  behind  ") == 4
