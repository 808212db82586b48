"""Whether a host is well after its reboot: the rules of a rollout's policy, asked one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import assert_never

from bootcfleet.domain.health import (
    GREENBOOT_ARGV,
    STARTING,
    Greenboot,
    Verdict,
    judge_system,
    read_greenboot,
    with_system,
)
from bootcfleet.domain.hook import fill_authority
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.policy import HealthCheck
from bootcfleet.domain.rollout_policy import HealthKind, HealthRule
from bootcfleet.drivers.bootc import BootcHost, SystemState
from bootcfleet.drivers.command import CommandTimeoutError, Executor
from bootcfleet.drivers.healthprobe import http_status, tcp_open, without_query
from bootcfleet.errors import FleetError, HostError, HostFault

#: Seconds between two looks at a system that still starts.
_INTERVAL = 2.0

Sleep = Callable[[float], None]
Clock = Callable[[], float]


def check_health(
    rules: Sequence[HealthRule],
    host: Host,
    executor: Executor,
    *,
    settle: float,
    before_state: str = "running",
    before_units: Sequence[str] = (),
    sleep: Sleep = time.sleep,
    monotonic: Clock = time.monotonic,
) -> tuple[str, ...]:
    """Ask every rule, and always the system's; a sentence for each that does not hold.

    `settle` is how many seconds the system may still start, and greenboot take.  A host that was
    degraded before (`before_state`, by `before_units` where they are known) may be so still.
    The inventory's checks and those of the image are not asked here.

    Raises `HostError` when the host cannot be asked what systemd says: that is no answer.
    """
    deadline = monotonic() + settle
    failures = []
    for rule in with_system(rules):
        match rule.kind:
            case HealthKind.SYSTEM:
                seen = _system(executor, host.name, deadline, sleep, monotonic)
                why = judge_system(
                    seen.state,
                    seen.failed_units,
                    allow=rule.allow,
                    before_state=before_state,
                    before_units=before_units,
                )
                if why and seen.state in STARTING:
                    why = f"{why} {settle:g} s after it came back"
            case HealthKind.GREENBOOT:
                why = _greenboot(executor, host.name, deadline, sleep, monotonic)
            case HealthKind.HTTP | HealthKind.TCP:
                why = _probe(rule, host, sleep)
            case HealthKind.COMMAND:
                why = _command(rule, host.name, executor, sleep)
            case _ as never:
                assert_never(never)
        if why:
            failures.append(why)
    return tuple(failures)


def _system(
    executor: Executor, host: str, deadline: float, sleep: Sleep, monotonic: Clock
) -> SystemState:
    """What systemd says once it has started, or at `deadline`."""
    bootc = BootcHost(executor, host)
    while True:
        late = monotonic() >= deadline
        try:
            state = bootc.system_running()
        except HostError as error:
            # sshd may be restarted while the system starts.
            if late or not error.transient:
                raise
        else:
            if late or state.state not in STARTING:
                return state
        sleep(_INTERVAL)


def _greenboot(
    executor: Executor, host: str, deadline: float, sleep: Sleep, monotonic: Clock
) -> str | None:
    while True:
        late = monotonic() >= deadline
        try:
            found = _ask_greenboot(executor, host)
        except HostError as error:
            if late or not error.transient:
                raise
        else:
            if found.verdict is Verdict.FAILED:
                return f"greenboot: {found.message}"
            if found.verdict is not Verdict.RUNNING:
                return None
            if late:
                return f"greenboot has not come to an end: {found.message}"
        sleep(_INTERVAL)


def _ask_greenboot(executor: Executor, host: str) -> Greenboot:
    try:
        result = executor.run(GREENBOOT_ARGV, timeout=60.0)
    except CommandTimeoutError as error:
        raise HostError(host, HostFault.TIMEOUT, "systemctl did not answer within 60 s") from error
    if not result.ok:
        # A unit that is not there is an answer; that nothing answers is none.
        return Greenboot(Verdict.RUNNING, f"systemctl ended with exit code {result.exit_code}")
    return read_greenboot(result.stdout)


def _probe(rule: HealthRule, host: Host, sleep: Sleep) -> str | None:
    """A probe from here, with its retries."""
    address = host.connection.address or host.name
    url = fill_authority(rule.url, {"host": host.name, "address": address})
    if rule.kind is HealthKind.HTTP:
        what = rule.name or f"GET {without_query(url)}"
    else:
        what = rule.name or f"TCP port {rule.port}"
    why = ""
    for attempt in range(rule.retries + 1):
        if attempt:
            sleep(rule.interval)
        try:
            if rule.kind is HealthKind.TCP:
                tcp_open(address, rule.port, timeout=rule.timeout)
                return None
            status = http_status(url, timeout=rule.timeout)
        except FleetError as error:
            why = error.message
            continue
        if status in rule.status:
            return None
        why = f"it answers HTTP {status}, not {' or '.join(map(str, rule.status))}"
    return f"check {what!r} failed: {why}"


def _command(rule: HealthRule, host: str, executor: Executor, sleep: Sleep) -> str | None:
    name = rule.name or " ".join(rule.argv)
    check = HealthCheck(name, rule.argv, rule.timeout, rule.retries, rule.interval)
    result = BootcHost(executor, host).run_check(check, sleep=sleep)
    return None if result.ok else f"check {name!r} failed: {result.message}"
