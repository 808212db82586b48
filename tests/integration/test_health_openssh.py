"""Hooks, health rules and update timers on a host behind a real sshd."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.rollout_policy import HealthKind, HealthRule, Hook, HookKind
from bootcfleet.drivers import updatetimer
from bootcfleet.drivers.ssh import SshExecutor
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.health import check_health
from bootcfleet.ops.hooks import HookContext, run_hook
from tests.drivers.test_updatetimer import SYSTEMCTL
from tests.integration.onehost import OneHost, one_host

pytestmark = pytest.mark.integration

CONTEXT = HookContext(
    host="web1", address="a", rollout="r1", wave="1", labels={"pool": "a b; $(id)"}, event="drain"
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneHost]:
    with one_host(tmp_path, monkeypatch, "127.0.24.1") as made:
        yield made


@pytest.fixture
def executor(host: OneHost) -> Iterator[SshExecutor]:
    made = host.executor()
    yield made
    made.close()


def remote(*words: str, timeout: float = 60) -> Hook:
    return Hook(HookKind.REMOTE, words, timeout=timeout)


def test_a_remote_hook_gets_its_words(host: OneHost, executor: SshExecutor, tmp_path: Path) -> None:
    host.program("lb-drain", f'printf "%s\\n" "$@" >{tmp_path}/said')
    run_hook(remote("lb-drain", "{host}", "{label.pool}", "*"), CONTEXT, executor)
    assert (tmp_path / "said").read_text() == "web1\na b; $(id)\n*\n"


def test_a_remote_hook_that_fails(host: OneHost, executor: SshExecutor) -> None:
    host.program("lb-drain", "echo still 12 connections; echo no >&2; exit 3")
    with pytest.raises(HostError) as caught:
        run_hook(remote("lb-drain"), CONTEXT, executor)
    assert caught.value.fault is HostFault.HOOK_FAILED
    assert "ended with exit code 3: no" in caught.value.message
    assert caught.value.details == ("still 12 connections", "no")


def test_a_remote_hook_that_does_not_end(host: OneHost, executor: SshExecutor) -> None:
    host.program("lb-drain", "echo waiting; exec sleep 600")
    with pytest.raises(HostError) as caught:
        run_hook(remote("lb-drain", timeout=3), CONTEXT, executor)
    assert caught.value.fault is HostFault.HOOK_FAILED
    assert "did not end within 3 s" in caught.value.message
    assert set(caught.value.details) <= {"waiting"}


def test_a_connection_that_breaks_in_a_hook(
    host: OneHost, executor: SshExecutor, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    host.program("lb-drain", f"touch {begun}; exec sleep 600")

    def cut() -> None:
        while not begun.exists():
            time.sleep(0.05)
        host.server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(HostError) as caught:
        run_hook(remote("lb-drain"), CONTEXT, executor)
    cutter.join()
    assert caught.value.fault is HostFault.CONNECTION_LOST
    assert caught.value.transient


def test_health_over_ssh(host: OneHost, executor: SshExecutor, tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    # It starts twice, is degraded by two units, and greenboot ends when it has been asked once.
    host.program(
        "systemctl",
        f"cd {units}\n"
        'case "$1 $2" in\n'
        "is-system-running*) echo x >>asked\n"
        '  [ "$(wc -l <asked)" -gt 2 ] || { echo starting; exit 1; }\n'
        "  echo degraded; exit 1 ;;\n"
        '"list-units "*) echo "a.service loaded failed failed A"; '
        'echo "b.mount loaded failed failed B" ;;\n'
        "show*) s=activating; [ ! -e shown ] || s=active; touch shown\n"
        '  printf "Id=greenboot-healthcheck.service\\nLoadState=loaded\\nActiveState=$s\\n\\n"\n'
        '  printf "Id=boot-complete.target\\nLoadState=loaded\\nActiveState=$s\\n" ;;\n'
        "esac",
    )
    host.program("probe", '[ "$1" = "a b" ] || { echo "not $1"; exit 1; }')
    slept: list[float] = []
    rules = (
        HealthRule(HealthKind.SYSTEM, allow=("*.mount",)),
        HealthRule(HealthKind.GREENBOOT),
        HealthRule(HealthKind.TCP, port=host.server.port),
        HealthRule(HealthKind.COMMAND, argv=("probe", "a b")),
        HealthRule(HealthKind.COMMAND, name="bad", argv=("probe", "x"), retries=1, interval=7),
    )
    failures = check_health(
        rules,
        host.host,
        executor,
        settle=60,
        sleep=slept.append,
        monotonic=lambda: sum(slept),
    )
    assert failures == (
        "systemd says degraded (failed units: a.service)",
        "check 'bad' failed: exit code 1: not x",
    )
    assert slept == [2.0, 2.0, 2.0, 7]


def test_timers_over_ssh(
    host: OneHost, executor: SshExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updatetimer, "DIRECTORY", str(tmp_path / "lib"))
    units = tmp_path / "units"
    timer = updatetimer.TIMERS[0]
    for unit in (timer, timer.replace(".timer", ".service")):
        (units / unit).mkdir(parents=True)
    for word in ("enabled", "active"):
        (units / timer / word).touch()
    host.program("systemctl", SYSTEMCTL.replace('"$UNITS"', str(units)))
    assert updatetimer.active(executor, "web1")
    assert updatetimer.inhibit(executor, "web1") == (timer,)
    assert not updatetimer.active(executor, "web1")
    assert updatetimer.restore(executor, "web1") == (timer,)
    assert updatetimer.active(executor, "web1")
    assert not (units / timer / "masked-runtime").exists()
