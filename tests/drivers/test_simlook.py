"""What a simulated host answers to the look before a rollout: well, and with each fault."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bootcfleet.domain.faults import Fault, FaultSpec
from bootcfleet.domain.hostpolicy import ANYTHING, REJECT
from bootcfleet.domain.hosttruth import UPDATE_TIMER, HostTruth
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers import simshell
from bootcfleet.drivers.command import CommandResult
from bootcfleet.drivers.hostprobe import FOLLOWED, probe
from bootcfleet.drivers.simhost import Deployment, Pulled, PullError, SimHost
from bootcfleet.errors import HostFault

REFERENCE = "r.example/acme/web:prod"
OLD, NEW = (Pulled(Digest("sha256:" + c * 64), c, None, "amd64", True, ()) for c in "ab")


class Shell:
    """The host's shell, as an executor."""

    def __init__(self, host: SimHost) -> None:
        self.host = host

    def run(self, argv: Sequence[str], **_: Any) -> CommandResult:
        session = simshell.Session(self.host, "root", simshell.Input(lambda: b""), lambda: False)
        said = simshell.run(session, shlex.join(argv))
        return CommandResult(tuple(argv), said.code, said.stdout, said.stderr, 0.0)

    put = get = close = None


@pytest.fixture
def host() -> SimHost:
    return SimHost("h", lambda reference: NEW, Deployment(REFERENCE, "registry", OLD))


def look(host: SimHost, reference: str = FOLLOWED) -> HostTruth:
    return probe(Shell(host), host.name, reference=reference)  # type: ignore[arg-type]


def test_a_host_that_is_well(host: SimHost) -> None:
    host.system.zone = "Europe/Amsterdam"
    host.system.os_version = "9.6"
    host.system.bound_images = ("r.example/app:1",)
    host.system.greenboot = True
    truth = look(host)
    assert truth.problem is None
    assert truth.status is not None
    assert truth.status.booted is not None
    assert truth.status.booted.digest == str(OLD.digest)
    assert truth.boot_id == host.boot_id
    assert (truth.zone, truth.os_version, truth.kernel) == (
        "Europe/Amsterdam",
        "9.6",
        "6.12.0-lab.x86_64",
    )
    assert truth.space is not None
    assert truth.space.free == host.system.free_bytes // 1024 * 1024
    assert truth.registry is not None
    assert (truth.registry.reference, truth.registry.digest) == (REFERENCE, str(NEW.digest))
    assert truth.policy is not None
    assert truth.policy.default == ANYTHING
    assert (truth.timer, truth.greenboot, truth.usr) == (False, True, "locked")
    assert truth.units[UPDATE_TIMER].enabled == "disabled"
    assert truth.bound_images == ("r.example/app:1",)
    assert (truth.system_state, truth.lock) == ("running", None)
    assert truth.clock is not None
    assert truth.clock.skew == 0.0
    json.dumps(truth.to_json())


#: Fault → what the look tells of it.
PREFLIGHT_FAULTS: dict[Fault, Callable[[HostTruth], bool]] = {
    Fault.CLOCK_SKEW: lambda truth: truth.clock is not None and 590 < truth.clock.skew < 610,
    Fault.TIMER_ACTIVE: lambda truth: truth.timer,
    Fault.USR_UNLOCKED: lambda truth: truth.usr == "unlocked",
    Fault.PINNED: lambda truth: truth.pinned == 1,
    Fault.STAGED_BY_OTHER: lambda truth: (
        truth.staged_by.who == "somebody" and bool(truth.status and truth.status.staged)
    ),
    Fault.LOCKED_BY_OTHER: lambda truth: truth.lock is not None and not truth.lock.stale,
    Fault.REJECTS_IMAGES: lambda truth: truth.policy is not None and truth.policy.default == REJECT,
}

OTHER_FAULTS: dict[Fault, Callable[[HostTruth], bool]] = {
    Fault.LAYERED_PACKAGES: lambda truth: bool(
        truth.status and truth.status.booted and truth.status.booted.incompatible
    ),
    Fault.DISK_FULL: lambda truth: truth.space is not None and truth.space.usable == 0,
    Fault.REGISTRY_REFUSES: lambda truth: (
        truth.registry is not None and truth.registry.fault is HostFault.REGISTRY_REFUSED
    ),
    Fault.REGISTRY_5XX: lambda truth: truth.registry is not None and truth.registry.passing,
    Fault.RATE_LIMITED: lambda truth: truth.registry is not None and truth.registry.passing,
    Fault.HEALTH_FAILS: lambda truth: truth.system_state == "degraded",
    Fault.NO_BOOTC: lambda truth: _fault(truth) is HostFault.NO_BOOTC and truth.kernel is not None,
    Fault.NOT_ROOT: lambda truth: _fault(truth) is HostFault.NOT_ROOT,
    Fault.GARBAGE_OUTPUT: lambda truth: _fault(truth) is HostFault.GARBAGE_OUTPUT,
    Fault.NOT_BOOTC: lambda truth: truth.status is not None and not truth.status.booted_by_bootc,
}


NUMBERS = {Fault.CLOCK_SKEW: 600.0, Fault.REGISTRY_5XX: 1, Fault.RATE_LIMITED: 1}


def _fault(truth: HostTruth) -> HostFault | None:
    return truth.problem.fault if truth.problem else None


@pytest.mark.parametrize("fault", [*PREFLIGHT_FAULTS, *OTHER_FAULTS])
def test_a_fault_is_seen_and_healed(host: SimHost, fault: Fault) -> None:
    tells = (PREFLIGHT_FAULTS | OTHER_FAULTS)[fault]
    assert not tells(look(host))
    host.break_with(FaultSpec(fault, NUMBERS.get(fault, 0.0)))
    assert tells(look(host))
    host.heal()
    assert not tells(look(host))


def test_what_a_reboot_takes_away(host: SimHost) -> None:
    host.break_with(FaultSpec(Fault.USR_UNLOCKED))
    host.reboot()
    host._up_at = 0.0
    assert look(host).usr == "locked"


def test_an_image_that_is_not_there(host: SimHost) -> None:
    def pull(reference: str) -> Pulled:
        raise PullError("reading manifest gone in r.example/acme/web: manifest unknown")

    host.pull = pull
    truth = look(host, "r.example/acme/web:gone")
    assert truth.registry is not None
    assert truth.registry.fault is HostFault.IMAGE_NOT_FOUND
    assert look(host, "").registry is None
