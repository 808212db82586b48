"""The lock on a host: its script in real shells, and what the driver makes of odd answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bootcfleet.domain.hostlock import LockHolder
from bootcfleet.drivers import hostlock
from bootcfleet.drivers.command import CommandResult, LocalExecutor
from bootcfleet.errors import HostError, HostFault
from tests.machines import said
from tests.tools import need


class Shell(LocalExecutor):
    """This machine, with another shell and another folder than ``sh`` and /var/lib/bootcfleet."""

    def __init__(self, shell: Sequence[str], path: str = os.environ["PATH"]) -> None:
        super().__init__(env={"PATH": path})
        self.shell = shell
        self.roots: list[bool] = []

    def run(self, argv, *, as_root=False, **more):  # type: ignore[no-untyped-def]
        assert argv[0] == "sh"
        self.roots.append(as_root)
        return super().run([*self.shell, *argv[1:]], **more)


@pytest.fixture(params=[["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda p: str(p[0]))
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    program = need(request.param[0])
    monkeypatch.setattr(hostlock, "DIRECTORY", str(tmp_path / "var lib"))
    return Shell([program, *request.param[1:]])


def take(shell: Shell, rollout: str = "r1", seconds: float = 600, **more: object) -> LockHolder:
    return hostlock.take(
        shell, "h1", rollout=rollout, owner="ann@ctl", seconds=seconds, controller="ctl", **more
    )  # type: ignore[arg-type]


def lock_file() -> Path:
    return Path(hostlock.DIRECTORY) / "lock.json"


def expire() -> None:
    """Put the lock's times into the past."""
    body = json.loads(lock_file().read_text())
    lock_file().write_text(
        lock_file().read_text().replace(f'"expires": {body["expires"]}', '"expires": 1000')
    )


def test_take_read_release(shell: Shell) -> None:
    assert hostlock.read(shell, "h1") is None
    held = take(shell)
    assert (held.owner, held.rollout, held.controller) == ("ann@ctl", "r1", "ctl")
    assert held.expires - held.taken == 600
    seen = hostlock.read(shell, "h1")
    assert seen is not None
    assert replace(seen, now=held.now) == held
    assert hostlock.release(shell, "h1", rollout="r1")
    assert hostlock.read(shell, "h1") is None
    assert not hostlock.release(shell, "h1", rollout="r1")
    # Reading is for everybody.
    assert shell.roots == [False, True, False, True, False, True]


def test_the_files_are_open_to_readers_and_closed_to_writers(shell: Shell) -> None:
    old = os.umask(0o077)
    try:
        take(shell)
    finally:
        os.umask(old)
    assert stat.S_IMODE(lock_file().stat().st_mode) == 0o644
    assert stat.S_IMODE(lock_file().parent.stat().st_mode) == 0o755
    assert sorted(path.name for path in lock_file().parent.iterdir()) == [".flock", "lock.json"]
    body = json.loads(lock_file().read_text())
    assert list(body) == ["version", "owner", "rollout", "controller", "taken", "expires"]


def test_the_same_rollout_renews_from_another_controller(shell: Shell) -> None:
    first = take(shell, seconds=10)
    again = hostlock.take(
        shell, "h1", rollout="r1", owner="bob@other", seconds=5000, controller="other"
    )
    assert (again.owner, again.controller, again.taken) == ("bob@other", "other", first.taken)
    assert again.expires - again.now == 5000


def test_an_expired_lock_of_ones_own_is_renewed(shell: Shell) -> None:
    take(shell)
    expire()
    assert not take(shell).stale


def test_another_rollout_is_refused_and_told_who_has_it(shell: Shell) -> None:
    held = take(shell)
    before = lock_file().read_bytes()
    for more in ({}, {"break_stale": True}):
        with pytest.raises(HostError) as caught:
            take(shell, "r2", **more)
        assert caught.value.fault is HostFault.LOCKED
        assert not caught.value.transient
        assert caught.value.message.startswith(
            "it is locked: rollout r1 of ann@ctl (on ctl), since 20"
        )
        assert "until 20" in caught.value.message
        assert "bootcfleet fleet unlock --force h1" in str(caught.value.hint)
    assert not hostlock.release(shell, "h1", rollout="r2")
    assert lock_file().read_bytes() == before
    now = hostlock.read(shell, "h1")
    assert now is not None
    assert (now.taken, now.expires) == (held.taken, held.expires)


def test_a_rollout_whose_name_begins_with_anothers_is_another(shell: Shell) -> None:
    take(shell, "r1.x")
    for other in ("r1", "r1.", "r1xx", "r1.x-2"):
        with pytest.raises(HostError, match="it is locked"):
            take(shell, other)


def test_a_stale_lock_is_reported_and_broken_only_when_asked(shell: Shell) -> None:
    take(shell)
    expire()
    with pytest.raises(HostError) as caught:
        take(shell, "r2")
    assert caught.value.fault is HostFault.LOCKED
    assert "stale lock" in caught.value.message
    assert "expired 1970-01-01 00:16 UTC" in caught.value.message
    assert str(caught.value.hint).endswith("bootcfleet fleet unlock h1")
    assert take(shell, "r2", break_stale=True).rollout == "r2"


def test_breaking_leaves_a_live_lock_unless_told(shell: Shell) -> None:
    assert hostlock.break_lock(shell, "h1") is None
    take(shell)
    with pytest.raises(HostError, match="has not expired: rollout r1"):
        hostlock.break_lock(shell, "h1", live=False)
    assert lock_file().exists()
    assert hostlock.break_lock(shell, "h1").rollout == "r1"  # type: ignore[union-attr]
    assert not lock_file().exists()
    take(shell)
    expire()
    assert hostlock.break_lock(shell, "h1", live=False).stale  # type: ignore[union-attr]
    assert hostlock.read(shell, "h1") is None


def test_breaking_the_lock_that_was_looked_at(shell: Shell) -> None:
    take(shell, "r2")
    expire()
    for live in (True, False):
        with pytest.raises(HostError, match="changed hands: rollout r2 of"):
            hostlock.break_lock(shell, "h1", rollout="r1", live=live)
    assert lock_file().exists()
    assert hostlock.break_lock(shell, "h1", rollout="r2", live=False) is not None
    assert hostlock.break_lock(shell, "h1", rollout="r2") is None


@pytest.mark.parametrize("text", ["", "\n", "{", "[]", '{"rollout": "r1"}', "no lock\n\0\x1b[31m"])
def test_a_lock_that_cannot_be_read_is_nobodys_to_take(shell: Shell, text: str) -> None:
    take(shell)
    lock_file().write_text(text)
    with pytest.raises(HostError, match="a lock that cannot be read") as caught:
        take(shell, "r2", break_stale=True)
    assert caught.value.fault is HostFault.LOCKED
    assert lock_file().read_text() == text
    holder = hostlock.break_lock(shell, "h1")
    assert holder is not None
    assert not holder.readable
    assert take(shell, "r2").rollout == "r2"


def test_names_are_data(shell: Shell) -> None:
    owner = 'x", "rollout": "r2", $(touch hurt) `id` \\ %s\n "rollout": "r2",\u2028é'
    hostlock.take(shell, "h1", rollout="r1", owner=owner, seconds=60, controller=owner)
    assert json.loads(lock_file().read_text())["owner"] == owner
    holder = hostlock.read(shell, "h1")
    assert holder is not None
    assert holder.rollout == "r1"
    assert holder.owner.isprintable()
    with pytest.raises(HostError, match="it is locked: rollout r1"):
        take(shell, "r2")


@pytest.mark.parametrize("rollout", ["", "a b", 'r"', "-r", "r\n", "r/1", "r" * 129])
def test_an_id_that_no_rollout_has(rollout: str) -> None:
    with pytest.raises(ValueError, match="cannot name a rollout"):
        hostlock.take(LocalExecutor(), "h1", rollout=rollout, owner="a", seconds=1)


def test_many_at_once_and_one_wins(shell: Shell) -> None:
    """Processes side by side, all breaking the same stale lock: exactly one has it afterwards."""

    def attempt(number: int) -> str | None:
        try:
            return take(shell, f"r{number}", break_stale=True).rollout
        except HostError as error:
            assert error.fault is HostFault.LOCKED
            return None

    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            take(shell, "old")
            expire()
            won = [one for one in pool.map(attempt, range(6)) if one]
            assert len(won) == 1
            assert json.loads(lock_file().read_text())["rollout"] == won[0]
            hostlock.break_lock(shell, "h1")


def test_a_killed_holder_of_the_flock_lets_go(shell: Shell) -> None:
    take(shell)
    folder = Path(hostlock.DIRECTORY)
    words = [need("flock"), str(folder / ".flock"), "sleep", "600"]
    blocker = subprocess.Popen(words, start_new_session=True)
    try:
        while subprocess.run(["flock", "-n", str(folder / ".flock"), "true"]).returncode == 0:
            pass
        with pytest.raises(HostError) as caught:
            take(shell, timeout=0.5)
        assert caught.value.fault is HostFault.TIMEOUT
    finally:
        os.killpg(blocker.pid, signal.SIGKILL)
        blocker.wait()
    assert take(shell).rollout == "r1"


def test_without_flock_it_says_so(shell: Shell, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("date", "mkdir", "sync", "dd", "mv", "cat", "rm", "grep", "sed"):
        (tools / name).symlink_to(shutil.which(name) or "")
    with pytest.raises(HostError, match="flock \\(of util-linux\\) is not installed"):
        take(Shell(shell.shell, str(tools)))


def test_a_full_disk_is_named_and_leaves_the_old_lock(shell: Shell, tmp_path: Path) -> None:
    # busybox would take a dd of its own.
    shell.shell = [need("dash")]
    take(shell)
    before = lock_file().read_bytes()
    tools = tmp_path / "bin"
    tools.mkdir()
    fake = tools / "dd"
    fake.write_text("#!/bin/sh\necho 'dd: error writing: No space left on device' >&2; exit 1\n")
    fake.chmod(0o755)
    with pytest.raises(HostError) as caught:
        take(Shell(shell.shell, f"{tools}:{os.environ['PATH']}"))
    assert caught.value.fault is HostFault.NO_SPACE
    assert lock_file().read_bytes() == before


class Answers(LocalExecutor):
    """A host that answers what the test says."""

    def __init__(self, answer: Callable[[], CommandResult]) -> None:
        super().__init__()
        self.answer = answer

    def run(self, argv, **more):  # type: ignore[no-untyped-def]
        return self.answer()


@pytest.mark.parametrize(
    ("result", "fault", "text"),
    [
        (said(""), HostFault.GARBAGE_OUTPUT, "no output"),
        (said("Welcome!\n"), HostFault.GARBAGE_OUTPUT, "Welcome!"),
        (said("--8<-- bootcfleet lock free 7\n"), HostFault.GARBAGE_OUTPUT, "free"),
        (said("", "mkdir: Read-only file system\n", 1), HostFault.COMMAND_FAILED, "Read-only file"),
        (said("", "sh: \x1b[31mevil\n", 2), HostFault.COMMAND_FAILED, "sh: evil"),
    ],
)
def test_odd_answers(result: CommandResult, fault: HostFault, text: str) -> None:
    with pytest.raises(HostError) as caught:
        hostlock.take(Answers(lambda: result), "h1", rollout="r1", owner="a", seconds=1)
    assert caught.value.fault is fault
    assert text in caught.value.message


def test_words_before_the_answer_are_passed_over() -> None:
    text = '{"rollout": "r1", "taken": 5, "expires": 9}\n'
    answer = said(f"Last login: today\n--8<-- bootcfleet lock held 7\n{text}")
    holder = hostlock.read(Answers(lambda: answer), "h1")
    assert holder == LockHolder("somebody", "r1", "somebody", 5, 9, 7)
