"""A simulated host's lock and timers answer as the scripts do in a real shell."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootcfleet.domain.faults import Fault, FaultSpec
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.reference import Digest
from bootcfleet.domain.rollout_policy import HealthKind, HealthRule, Hook, HookKind
from bootcfleet.drivers import hostlock, simshell, updatetimer
from bootcfleet.drivers.command import CommandResult, Executor, LocalExecutor
from bootcfleet.drivers.simhost import Deployment, Pulled, SimHost
from bootcfleet.drivers.simrecord import What
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.health import check_health
from bootcfleet.ops.hooks import HookContext, run_hook

DIGEST = Digest("sha256:" + "a" * 64)


class Sim(LocalExecutor):
    """A simulated host without SSH; root, or somebody who may not become it."""

    def __init__(self, *, may: bool = True) -> None:
        super().__init__()
        image = Pulled(DIGEST, "1.0", None, "amd64", True, ())
        self.host = SimHost("h1", lambda reference: image, Deployment("r/x:1", "registry", image))
        self.may = may

    def run(self, argv, *, as_root=False, **more):  # type: ignore[no-untyped-def]
        user = "root" if as_root and self.may else "admin"
        session = simshell.Session(self.host, user, simshell.Input(lambda: b""), lambda: False)
        said = simshell.run(session, shlex.join(argv))
        return CommandResult(tuple(argv), said.code, said.stdout, said.stderr, 0.0)


def story(executor: Executor, expire: Callable[[], None]) -> list[str]:
    """What a lock says to everything that may be asked of it; moments are left out."""
    told: list[str] = []

    def do(name: str, act: Callable[[], object]) -> None:
        try:
            answer = str(act())
        except HostError as error:
            answer = f"{error.fault}: {error.message} ({error.hint})"
        told.append(
            f"{name}: {re.sub(r'[0-9]{8,}|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]+', 'T', answer)}"
        )

    def take(rollout: str, **more: object) -> Callable[[], object]:
        return lambda: hostlock.take(
            executor, "h1", rollout=rollout, owner='a"b', seconds=60, controller="c", **more
        )  # type: ignore[arg-type]

    do("read nothing", lambda: hostlock.read(executor, "h1"))
    do("release nothing", lambda: hostlock.release(executor, "h1", rollout="r1"))
    do("break nothing", lambda: hostlock.break_lock(executor, "h1"))
    do("take", take("r1"))
    do("take again", take("r1"))
    do("take another", take("r2", break_stale=True))
    do("release another", lambda: hostlock.release(executor, "h1", rollout="r2"))
    do("break live", lambda: hostlock.break_lock(executor, "h1", live=False))
    expire()
    do("read stale", lambda: hostlock.read(executor, "h1"))
    do("take stale", take("r2"))
    do("break stale", take("r2", break_stale=True))
    do("read", lambda: hostlock.read(executor, "h1"))
    do("release", lambda: hostlock.release(executor, "h1", rollout="r2"))
    do("take anew", take("r3"))
    do("break another", lambda: hostlock.break_lock(executor, "h1", rollout="r1"))
    do("break", lambda: hostlock.break_lock(executor, "h1", rollout="r3"))
    do("read nothing", lambda: hostlock.read(executor, "h1"))
    return told


def test_the_lock_answers_as_a_shell_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = re.compile(rb'"expires": \d+')
    sim = Sim()
    path = f"{hostlock.DIRECTORY}/lock.json"

    def expire_sim() -> None:
        sim.host.files[path] = old.sub(b'"expires": 1000', sim.host.files[path])

    simulated = story(sim, expire_sim)
    monkeypatch.setattr(hostlock, "DIRECTORY", str(tmp_path / "lib"))
    real = tmp_path / "lib" / "lock.json"
    shell = story(
        LocalExecutor(), lambda: real.write_bytes(old.sub(b'"expires": 1000', real.read_bytes()))
    )
    assert simulated == shell
    assert len(set(shell)) > 10


def test_the_lock_outlives_a_reboot() -> None:
    sim = Sim()
    hostlock.take(sim, "h1", rollout="r1", owner="a", seconds=60)
    sim.host.reboot()
    holder = hostlock.read(sim, "h1")
    assert holder is not None
    assert holder.rollout == "r1"


def test_the_timer_over_reboots() -> None:
    sim = Sim()
    assert updatetimer.inhibit(sim, "h1") == ()
    sim.host.timer.enabled = sim.host.timer.active = True
    assert updatetimer.active(sim, "h1")
    for _ in range(2):
        assert updatetimer.inhibit(sim, "h1") == updatetimer.TIMERS[:1]
        assert not updatetimer.active(sim, "h1")
        sim.host.reboot()
        assert updatetimer.active(sim, "h1")
    updatetimer.inhibit(sim, "h1")
    assert updatetimer.restore(sim, "h1") == updatetimer.TIMERS[:1]
    assert updatetimer.restore(sim, "h1") == ()
    assert updatetimer.active(sim, "h1")
    assert not sim.host.timer.masked_now


def test_who_is_not_root_can_only_read() -> None:
    sim = Sim(may=False)
    assert hostlock.read(sim, "h1") is None
    with pytest.raises(HostError) as caught:
        hostlock.take(sim, "h1", rollout="r1", owner="a", seconds=60)
    assert caught.value.fault is HostFault.COMMAND_FAILED
    with pytest.raises(HostError, match="Permission denied"):
        updatetimer.inhibit(sim, "h1")


def test_a_mask_outlives_a_soft_reboot_alone() -> None:
    sim = Sim()
    sim.host.timer.enabled = sim.host.timer.active = True
    updatetimer.inhibit(sim, "h1")
    sim.host.reboot(soft=True)
    assert not updatetimer.active(sim, "h1")
    sim.host.reboot()
    assert updatetimer.active(sim, "h1")


def test_the_lock_is_by_the_hosts_clock() -> None:
    sim = Sim()
    sim.host.break_with(FaultSpec(Fault.CLOCK_SKEW, 86400))
    held = hostlock.take(sim, "h1", rollout="r1", owner="a", seconds=60)
    assert held.taken > time.time() + 80000
    assert not held.stale


def test_greenboot_and_drains() -> None:
    sim = Sim()
    rules = (HealthRule(HealthKind.GREENBOOT),)
    slept: list[float] = []

    def check() -> tuple[str, ...]:
        return check_health(
            rules, Host("h1"), sim, settle=5, sleep=slept.append, monotonic=lambda: sum(slept)
        )

    assert check() == ()
    sim.host.break_with(FaultSpec(Fault.GREENBOOT_ROLLS_BACK))
    assert check() == ()
    drain = Hook(HookKind.REMOTE, ("drain", "{host}"))
    context = HookContext(host="h1", event="drain")
    run_hook(drain, context, sim)
    sim.host.break_with(FaultSpec(Fault.DRAIN_FAILS))
    with pytest.raises(HostError, match="ended with exit code 1: drain: 3 connections are left"):
        run_hook(drain, context, sim)
    sim.host.heal()
    run_hook(drain, context, sim)
    assert [entry.what for entry in sim.host.history].count(What.DRAINED) == 2


def test_greenboots_verdict_is_waited_for() -> None:
    sim = Sim()
    sim.host.system = replace(sim.host.system, greenboot=True)
    sim.host._started_at = time.monotonic() + 3600

    def started(_: float) -> None:
        sim.host._started_at = 0.0

    rules = (HealthRule(HealthKind.GREENBOOT),)
    assert check_health(rules, Host("h1"), sim, settle=60, sleep=started) == ()
    sim.host._started_at = time.monotonic() + 3600
    ends = iter((0.0, 0.0, 100.0, 100.0, 100.0))
    found = check_health(
        rules, Host("h1"), sim, settle=60, sleep=lambda _: None, monotonic=lambda: next(ends)
    )
    assert found == (
        "systemd says starting 60 s after it came back",
        "greenboot has not come to an end: greenboot-healthcheck.service is activating",
    )
