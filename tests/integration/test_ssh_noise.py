"""Hosts whose shell speaks before each command: a greeting in .bashrc, or in what it reads.

RHEL's /etc/bashrc reads /etc/profile.d for commands over SSH as well, so whatever speaks there
stands before every answer.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.checkfacts import Question, Verb
from bootcfleet.drivers import bootmarker, hostlock
from bootcfleet.drivers.bootc import BootcHost
from bootcfleet.drivers.checkprobe import probe
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.hostevidence import gather_evidence
from bootcfleet.drivers.hostwatch import HostWatch
from bootcfleet.drivers.ssh import SshExecutor
from bootcfleet.errors import HostError, HostFault
from tests.integration.onehost import OneHost, one_host
from tests.machines import Machine

pytestmark = pytest.mark.integration

KERNEL = Path(bootmarker.BOOT_ID).read_text().strip()


def speaking(words: str) -> str:
    """A setting of sshd by which every command comes after some words."""
    said = f"printf {shlex.quote(words)}; " if words else ""
    return f'ForceCommand {said}eval "$SSH_ORIGINAL_COMMAND"'


@pytest.fixture(params=["Welcome\\nto web1\\n", "no end of its line"], ids=["lines", "no-end"])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OneHost]:
    with one_host(tmp_path, monkeypatch, "127.0.24.1", [speaking(request.param)]) as host:
        (host.bin / "status.json").write_text(Machine("web1").status())
        version = '[ "$1" = --version ] && exec echo bootc 1.16.9'
        host.program("bootc", f'{version}\nexec cat "{host.bin}/status.json"')
        failed = "list-units*) echo 'a.service loaded failed failed A unit' ;;"
        starting = "is-system-running) echo degraded; exit 1 ;;"
        systemd = "*SoftReboots*) echo Version=252 ;;"
        host.program("systemctl", f"case $* in {failed} {starting} {systemd} esac")
        yield host


@pytest.fixture
def executor(host: OneHost) -> Iterator[SshExecutor]:
    made = host.executor()
    yield made
    made.close()


def test_facts_and_the_boot_that_is_waited_for(executor: SshExecutor) -> None:
    bootc = BootcHost(executor, "web1")
    assert bootc.facts().boot_id == KERNEL
    assert bootc.boot_id() == KERNEL
    other = "11111111-2222-3333-4444-555555555555"
    facts = bootc.wait_for_boot(other, 5, sleep=time.sleep, monotonic=time.monotonic)
    assert facts.boot_id == KERNEL


def test_the_lock(executor: SshExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostlock, "DIRECTORY", str(tmp_path / "var"))
    assert hostlock.take(executor, "web1", rollout="r1", owner="me@here", seconds=60).readable
    holder = hostlock.read(executor, "web1")
    assert holder is not None
    assert holder.rollout == "r1"
    assert hostlock.release(executor, "web1", rollout="r1")
    assert hostlock.read(executor, "web1") is None


def test_no_word_is_taken_for_a_failed_unit(executor: SshExecutor) -> None:
    system = BootcHost(executor, "web1").system_running()
    assert system.state == "degraded"
    assert {*system.failed_units} <= {"a.service"}


def test_news_checks_and_evidence(executor: SshExecutor, tmp_path: Path) -> None:
    watch = HostWatch(pause=1, paths=(str(tmp_path),))
    assert watch.follow("web1", executor)
    watch.close()
    question = Question(Verb.CONTENT, (bootmarker.BOOT_ID,))
    answers = [probe(where, (question,)).answers for where in (executor, LocalExecutor())]
    assert answers[0] == answers[1]
    assert answers[0][question].parts
    assert gather_evidence(executor, "web1", previous_boot=False).boot_id == KERNEL


def test_an_account_that_runs_no_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "This account is currently not available."
    settings = [f"ForceCommand echo {said}; exit 1"]
    with one_host(tmp_path, monkeypatch, "127.0.24.2", settings) as host:
        executor = host.executor()
        with pytest.raises(HostError) as caught:
            BootcHost(executor, "web1").facts()
        executor.close()
    assert caught.value.fault is HostFault.COMMAND_FAILED
    assert said in caught.value.message
