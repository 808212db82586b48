"""`bootcfleet disk run` with a stand-in for qemu: every ending but a boot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.ops import diskrun
from tests.fakeqemu import FakeQemu


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeQemu:
    fake = FakeQemu(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    monkeypatch.setattr(diskrun, "_GRACE", 0.3)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(1020))
    return path


def ended(qemu: FakeQemu) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in qemu.pids)


def test_a_panic_ends_the_wait(
    qemu: FakeQemu, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    qemu.play(console="Linux version 6.1\nKernel panic - not syncing: Attempted to kill init!\n")
    serial = tmp_path / "serial.log"
    words = ["disk", "run", str(disk), "--no-check", "--accel", "tcg", "--serial", str(serial)]
    assert run(words) == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == [
        f"error: {disk}: it does not boot: the kernel has stopped",
        "  kernel-panic: the kernel has stopped",
    ]
    assert "seen: Kernel panic - not syncing: Attempted to kill init!" in err
    assert "hint: read the lines before the panic" in err
    assert f"the screen: {tmp_path / 'serial.png'}" in out
    assert "Attempted to kill init" in serial.read_text()
    assert qemu.asked[-1] == "quit"
    assert "system_powerdown" not in qemu.asked
    assert ended(qemu)
    assert disk.read_bytes() == b"QFI\xfb" + bytes(1020)


TIMER = "Linux version 6.1\nKernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with\n"
OTHER = "Linux version 6.1\nKernel panic - not syncing: Attempted to kill init!\n"


@pytest.mark.parametrize(
    ("resets", "accel", "state", "count"),
    [
        ((OTHER,), "tcg", "kernel-panic", 1),
        ((TIMER, OTHER), "tcg", "kernel-panic", 2),
        ((TIMER, TIMER, TIMER, OTHER), "tcg", "timer-test", 3),
        ((OTHER,), "kvm", "timer-test", 0),
    ],
)
def test_an_emulated_machine_that_lacked_time_starts_again(
    resets: tuple[str, ...],
    accel: str,
    state: str,
    count: int,
    qemu: FakeQemu,
    disk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    qemu.play(console=TIMER, resets=resets)
    assert run(["disk", "run", str(disk), "--no-check", "--accel", accel, "--json"]) == 3
    out, err = capsys.readouterr()
    body = json.loads(out)
    assert body["diagnosis"]["state"] == state
    assert qemu.asked.count("system_reset") == count
    assert err.count("starting again") == count
    assert len(qemu.starts) == 1
    # What was said before the resets is kept as well.
    assert Path(body["serial"]).read_text() == TIMER + "".join(resets[:count])
    Path(body["serial"]).unlink()
    Path(body["screenshot"]).unlink()


def test_a_silent_console_and_json(
    qemu: FakeQemu, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["disk", "run", str(disk), "--no-check", "--accel", "tcg", "--timeout", "1s", "--json"]
    assert run(words) == 3
    out, _ = capsys.readouterr()
    body = json.loads(out)
    assert (body["ok"], body["booted"], body["problem"]) == (False, False, "no SSH within 1 s")
    assert body["diagnosis"]["state"] == "silent"
    assert Path(body["serial"]).exists()
    Path(body["serial"]).unlink()
    Path(body["screenshot"]).unlink()
    assert body["kept"] is None
    assert not Path(
        next(w for w in body["argv"] if w.startswith("unix:"))[5:].split(",")[0]
    ).exists()
    assert ended(qemu)


def test_without_a_snapshot_the_power_button_comes_first(
    qemu: FakeQemu, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diskrun, "_HALF_BOOTED", 0.2)
    words = ["disk", "run", str(disk), "--no-check", "--accel", "tcg", "--no-snapshot"]
    assert run([*words, "--timeout", "1s", "--serial", "console"]) == 3
    assert [word for word in qemu.asked if word in ("system_powerdown", "quit")] == [
        "system_powerdown",
        "quit",
    ]
    assert any("snapshot=off" in word for word in qemu.starts[0])
    assert ended(qemu)


def test_a_kvm_that_opens_and_does_not_work(
    qemu: FakeQemu, disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bootcfleet.ops.diskrun_prepare.kvm_problem", lambda _arch: None)
    qemu.play(fail=(("-accel kvm", "kvm: failed to set MSR 0x10a to 0x69"),))
    assert run(["disk", "run", str(disk), "--no-check", "--timeout", "1s", "--serial", "c"]) == 3
    out, _ = capsys.readouterr()
    assert "booting with tcg (KVM does not work here: kvm: failed to set MSR 0x10a to 0x69)" in out
    assert [argv[argv.index("-accel") + 1] for argv in qemu.starts] == ["kvm", "tcg,thread=multi"]
    # Asked for by name it is not replaced by something else.
    assert run(["disk", "run", str(disk), "--no-check", "--accel", "kvm"]) == 1
    assert "error: qemu ended at once (exit code 1)" in capsys.readouterr().err


def test_a_port_that_is_taken(
    qemu: FakeQemu, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "Could not set up host forwarding rule"
    qemu.play(fail=(("hostfwd", said),))
    words = ["disk", "run", str(disk), "--no-check", "--accel", "tcg"]
    assert run([*words, "--ssh-port", "2222"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: qemu ended at once (exit code 1)",
        f"  {said}",
        "hint: choose another --ssh-port, or leave it out",
    ]
    assert len(qemu.starts) == 1
    assert run(words) == 1
    ports = {word for argv in qemu.starts[1:] for word in argv if "hostfwd" in word}
    assert len(ports) > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.raw"], "error: there is no disk 'gone.raw'"),
        (["text", "--no-check"],
         "error: text is no disk image: neither qcow2, vmdk nor vhd, and no boot sector"),
        (["disk.qcow2"], "error: nothing says which image disk.qcow2 was made of, so there are no "
         "checks to run"),
        (["disk.qcow2", "--no-check", "--timeout", "soon"],
         "error: --timeout: 'soon' is not a length of time"),
        (["disk.qcow2", "--no-check", "--memory", "lots"],
         "error: the memory 'lots' is not a number with M or G"),
        (["disk.qcow2", "--no-check", "--ssh-key", "--user", "core"],
         "error: --ssh-key is for root: systemd has no credential for other users before 256"),
        (["disk.qcow2", "--no-check", "--identity", "nokey"], "error: there is no key nokey"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_starts(
    qemu: FakeQemu,
    disk: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("text").write_text("hello\n")
    assert run(["disk", "run", *words]) == 2
    assert capsys.readouterr().err.splitlines()[0] == said
    assert qemu.starts == []


def test_qemu_is_missing(
    disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["disk", "run", str(disk), "--no-check", "--arch", "aarch64"]) == 5
    assert "the program 'qemu-system-aarch64' is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_machine(qemu: FakeQemu, disk: Path, sent: signal.Signals) -> None:
    words = [sys.executable, "-m", "bootcfleet", "disk", "run", str(disk), "--no-check", "--keep"]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [*words, "--accel", "tcg"], env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "booting with tcg" in process.stdout.readline()
        process.send_signal(sent)
        assert process.wait(60) == 130
    deadline = time.monotonic() + 10
    while not ended(qemu) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended(qemu)
