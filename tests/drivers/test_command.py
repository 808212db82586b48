"""Processes on this machine: what runs, what is said, how it ends, and what is left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootcfleet.drivers import command
from bootcfleet.drivers.command import (
    CommandResult,
    CommandTimeoutError,
    LocalExecutor,
    spawn_detached,
    write_atomic,
)
from bootcfleet.errors import FleetError, ToolMissingError


def run(*words: str, **how: object) -> CommandResult:
    return LocalExecutor().run(words, **how)  # type: ignore[arg-type]


def program(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie that nobody has waited for has)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def eventually(what: Callable[[], bool]) -> None:
    """Wait for what must come; the limit is only there to fail instead of hanging."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_words_are_words_and_never_a_shell_line() -> None:
    result = run("printf", "%s|", "a b", "$HOME", "`id`", "; reboot", "")
    assert result.stdout == "a b|$HOME|`id`|; reboot||"
    assert (result.ok, result.exit_code, result.stderr) == (True, 0, "")
    assert result.argv[0] == "printf"
    assert result.duration >= 0


@pytest.mark.parametrize(
    ("line", "code"), [("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_exit_codes_and_signals(line: str, code: int) -> None:
    result = run("sh", "-c", line)
    assert (result.exit_code, result.ok) == (code, False)


def test_what_is_no_text_is_escaped() -> None:
    result = run("sh", "-c", r"printf 'a\377b\n'; printf '\303\274' >&2")
    assert (result.stdout, result.stderr) == ("a\\xffb\n", "ü")


def test_lines_arrive_one_by_one() -> None:
    lines: list[tuple[str, str]] = []
    run("sh", "-c", "echo a; echo; printf 'b\\r\\nc'", on_line=lambda *line: lines.append(line))
    run("sh", "-c", "echo e >&2", on_line=lambda *line: lines.append(line))
    assert [*lines] == [
        ("stdout", "a"), ("stdout", ""), ("stdout", "b"), ("stdout", "c"), ("stderr", "e"),
    ]  # fmt: skip


def test_a_listener_that_fails_is_heard_after_the_command_has_ended(tmp_path: Path) -> None:
    def full(stream: str, line: str) -> None:
        raise OSError("the log's disk is full")

    done = tmp_path / "done"
    with pytest.raises(OSError, match="disk is full"):
        run("sh", "-c", f"echo a; echo b; touch {done}", on_line=full)
    assert done.exists(), "the command was not cut off by a closed pipe"


def test_much_on_all_streams_at_once_does_not_block() -> None:
    data = b"x" * 1_000_000
    result = run("sh", "-c", "head -c 1000000 /dev/zero >&2; cat", stdin=data, timeout=60)
    assert len(result.stdout) == len(result.stderr) == 1_000_000


def test_stdin_that_nobody_reads_and_none() -> None:
    assert run("true", stdin=b"x" * 1_000_000).ok
    assert run("cat", timeout=60).stdout == ""


def test_environment_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "o")
    executor = LocalExecutor(env={"ADDED": "a"}, cwd=tmp_path)
    result = executor.run(["sh", "-c", "echo $FROM_OUTSIDE $ADDED; pwd"])
    assert result.stdout.split() == ["o", "a", str(tmp_path)]


def test_programs_that_cannot_run(tmp_path: Path) -> None:
    plain = program(tmp_path / "plain", "x", mode=0o644)
    orphan = program(tmp_path / "orphan", f"#!{tmp_path}/none\n")
    broken = program(tmp_path / "broken", "\x7fELF")
    for words, message in [
        (["nonexistent-program"], "'nonexistent-program' is not installed"),
        ([plain], "may not be executed"),
        ([orphan], "its interpreter"),
        ([broken], "cannot be executed"),
    ]:
        with pytest.raises(ToolMissingError, match=message):
            run(*words)
    with pytest.raises(FleetError, match=r"the directory .* does not exist"):
        LocalExecutor(cwd=tmp_path / "none").run(["true"])


def timed_out(line: str) -> int:
    """Run a shell line that prints a pid into its time limit; the pid.

    A machine that is too slow to start a shell within the limit gets a longer one.
    """
    said: list[str] = []
    for limit in (1, 5, 60):
        with pytest.raises(CommandTimeoutError, match=f"sh did not finish within {limit} s"):
            run("sh", "-c", line, timeout=limit, on_line=lambda _, text: said.append(text))
        if said:
            break
    return int(said[0])


def test_a_time_limit_ends_the_command_and_its_children() -> None:
    child = timed_out("sleep 600 & echo $!; wait")
    eventually(lambda: gone(child))


def test_one_that_ignores_polite_signals_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = subprocess.Popen.wait

    def impatient(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        return wait(self, 0.2 if timeout == 5 else timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", impatient)
    shell = timed_out("trap '' HUP TERM; echo $$; while :; do sleep 600; done")
    assert gone(shell)


def test_a_process_left_behind_with_the_pipe_open_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "_DRAIN", 0.5)
    result = run("sh", "-c", "sleep 600 & echo $!")
    left = int(result.stdout)
    try:
        assert result.ok
        assert not gone(left)
    finally:
        os.kill(left, signal.SIGKILL)


def test_close_stops_what_still_runs() -> None:
    executor = LocalExecutor()
    ready = threading.Event()
    results: list[CommandResult] = []

    def work() -> None:
        results.append(
            executor.run(["sh", "-c", "echo; exec sleep 600"], on_line=lambda *_: ready.set())
        )

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(60)
    executor.close()
    thread.join(60)
    assert [result.exit_code for result in results] == [128 + signal.SIGHUP]
    assert executor.run(["true"]).ok, "the executor may be used again"


def test_an_interrupt_takes_the_command_with_it(tmp_path: Path) -> None:
    """^C in the main thread while a command runs."""
    script = (
        "import os, signal, sys, threading\n"
        "from bootcfleet.drivers.command import LocalExecutor\n"
        "pids = []\n"
        "def line(stream, text):\n"
        "    pids.append(text)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "try:\n"
        "    LocalExecutor().run(['sh', '-c', 'echo $$; exec sleep 600'], on_line=line)\n"
        "except KeyboardInterrupt:\n"
        "    print(pids[0])\n"
    )
    result = run(sys.executable, "-c", script, timeout=60)
    assert result.ok, result.stderr
    assert gone(int(result.stdout))


def test_root_rights_by_sudo_where_we_are_not_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "sudo", '#!/bin/sh\nprintf "%s " "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run("id", "-u", as_root=True).stdout == "-n -- id -u "
    with pytest.raises(FleetError, match="can only be written as root"):
        LocalExecutor().put(b"", str(tmp_path / "x"), as_root=True)
    with pytest.raises(FleetError, match="can only be read as root"):
        LocalExecutor().get(str(tmp_path / "x"), as_root=True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run("echo", "-u", as_root=True).stdout == "-u\n"


def test_files_are_put_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    executor = LocalExecutor()
    executor.put(b"\0old", str(path))
    executor.put(b"\0new", str(path), mode=0o600)
    assert executor.get(str(path)) == b"\0new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["b"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"old"]


def test_what_is_no_file_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        write_atomic(pipe, b"report")
        assert read.result(30) == b"report"
    assert pipe.is_fifo()
    # As /dev/stdout is, where it goes into a file.
    with (tmp_path / "file").open("wb") as stream:
        write_atomic(Path(f"/dev/fd/{stream.fileno()}"), b"report")
    assert (tmp_path / "file").read_bytes() == b"report"
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path, b"report")
    assert {one.name for one in tmp_path.iterdir()} == {"pipe", "file"}


def test_a_program_that_outlives_us(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn_detached(["sh", "-c", "echo out; echo err >&2; exec sleep 600"], log)
    try:
        eventually(lambda: log.read_text() == "out\nerr\n")
        assert process.poll() is None
        assert os.getsid(process.pid) == process.pid
    finally:
        process.kill()
        process.wait()
    with pytest.raises(ToolMissingError, match="is not installed"):
        spawn_detached(["nonexistent-program"], log)
