"""What a host is, as one look at it tells: everything that a rollout must know before it begins.

Every part is optional: what a host has no tool for is not known, and None here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bootcfleet.domain.bootc import BootcStatus
from bootcfleet.domain.hostlock import LockHolder
from bootcfleet.domain.hostpolicy import HostPolicy
from bootcfleet.errors import HostError, HostFault

#: The timer that upgrades and reboots a host by itself (bootc's documentation).
UPDATE_TIMER = "bootc-fetch-apply-updates.timer"
UPDATE_SERVICE = "bootc-fetch-apply-updates.service"
#: The same of rpm-ostree, which a host may still have.
OSTREE_TIMER = "rpm-ostreed-automatic.timer"
#: Where ``fleet enroll --pull`` puts what makes the timer follow a channel.
PULL_DROP_IN = f"/etc/systemd/system/{UPDATE_TIMER}.d/50-bootcfleet.conf"
GREENBOOT = "greenboot-healthcheck.service"
UNITS = (UPDATE_TIMER, UPDATE_SERVICE, OSTREE_TIMER, GREENBOOT)


_PASSING = re.compile(r"toomanyrequests|too many requests|\b(?:429|50[0234])\b", re.IGNORECASE)


@dataclass(frozen=True)
class Space:
    """The filesystem that deployments are on, in bytes.

    `reserved` is what ostree keeps free: it refuses to write an object into it.
    """

    free: int
    total: int
    reserved: int = 0

    @property
    def usable(self) -> int:
        """What an update may take."""
        return max(0, self.free - self.reserved)


@dataclass(frozen=True)
class UnitState:
    """A unit as ``systemctl show`` has it (LoadState, ActiveState, UnitFileState)."""

    load: str
    active: str
    enabled: str

    @property
    def installed(self) -> bool:
        """Whether there is such a unit."""
        return self.load not in {"not-found", ""}

    @property
    def running(self) -> bool:
        """Whether it is active, or becomes so."""
        return self.active in {"active", "activating", "reloading"}


@dataclass(frozen=True)
class RegistryAnswer:
    """What a registry said to the host itself.

    `ok` is None where nothing there could ask.  `digest` is that of the manifest's bytes as the
    host got them: another than ours, and it has another registry in view.  `tool` is what asked:
    skopeo, as bootc itself pulls with it and with the same credentials; curl knows only whether the
    registry answers at all.
    """

    reference: str
    tool: str | None
    ok: bool | None
    digest: str | None = None
    message: str = ""
    fault: HostFault | None = None
    hint: str | None = None

    @property
    def passing(self) -> bool:
        """Whether the registry answered, and only not now: asked too much, or ill itself."""
        return _PASSING.search(self.message) is not None


@dataclass(frozen=True)
class Clock:
    """How far a host's clock is off, in seconds: somewhere from `least` to `most`.

    The round trip leaves room; a host is not accused of what the network did.
    """

    least: float
    most: float

    @property
    def skew(self) -> float:
        """The least amount by which it is certainly off; positive where it is ahead."""
        if self.least <= 0 <= self.most:
            return 0.0
        return self.least if self.least > 0 else self.most


@dataclass(frozen=True)
class StagedBy:
    """When the staged deployment was made, and who called bootc, where the journal tells."""

    at: datetime | None = None
    who: str | None = None

    @property
    def title(self) -> str:
        """Who and when, for people; empty where nothing is known."""
        when = f"at {self.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if self.at else ""
        return " ".join(filter(None, (when, f"by {self.who}" if self.who else "")))


@dataclass(frozen=True)
class HostTruth:
    """One host.  `status` is None with `problem` saying why.

    `boot_id` is as `drivers/bootc.py` has it.  `usr` is ``locked``, ``unlocked`` (what is written
    there is lost with the boot, or with the next update) or ``read-only overlay``.  `uptime` is in
    seconds.  `zone` is as in the time zone database.  `bound_images` are those that the running
    image brings along (logically bound).  `lock` is a rollout's.  `pull`: it is enrolled in pull
    mode, and moves by its own timer.
    """

    host: str
    status: BootcStatus | None = None
    problem: HostError | None = None
    bootc: str = "unknown"
    boot_id: str | None = None
    boot_time: datetime | None = None
    os_id: str | None = None
    os_version: str | None = None
    os_name: str | None = None
    kernel: str | None = None
    machine: str | None = None
    uptime: float | None = None
    zone: str | None = None
    clock: Clock | None = None
    space: Space | None = None
    policy: HostPolicy | None = None
    registry: RegistryAnswer | None = None
    usr: str | None = None
    staged_by: StagedBy = field(default_factory=StagedBy)
    units: Mapping[str, UnitState] = field(default_factory=dict)
    system_state: str = "unknown"
    failed_units: tuple[str, ...] = ()
    bound_images: tuple[str, ...] = ()
    lock: LockHolder | None = None
    pull: bool = False

    @property
    def timer(self) -> bool:
        """Whether the host updates itself by bootc's timer, now or when it fires next."""
        return self.runs(UPDATE_TIMER) or self.runs(UPDATE_SERVICE)

    def runs(self, unit: str) -> bool:
        """Whether a unit of `UNITS` is active."""
        state = self.units.get(unit)
        return state is not None and state.running

    @property
    def greenboot(self) -> bool:
        """Whether greenboot judges a boot."""
        unit = self.units.get(GREENBOOT)
        # A masked unit is loaded as such, and one that only the image's own links start is called
        # disabled by systemd (systemctl(1), is-enabled).
        return (
            unit is not None
            and unit.load == "loaded"
            and (unit.enabled != "disabled" or unit.running)
        )

    @property
    def pinned(self) -> int:
        """How many deployments are pinned (``ostree admin pin``): they are never removed."""
        if self.status is None:
            return 0
        slots = (self.status.booted, self.status.staged, self.status.rollback, *self.status.others)
        return sum(1 for slot in slots if slot is not None and slot.pinned)

    def to_json(self) -> dict[str, Any]:
        """The facts as a JSON object; the keys are stable, what is not known is null."""
        booted = self.status.booted if self.status else None
        registry, space = self.registry, self.space
        timer = self.units.get(UPDATE_TIMER)
        return {
            "host": self.host,
            "error": None
            if self.problem is None
            else {
                "fault": str(self.problem.fault),
                "message": self.problem.message,
                "hint": self.problem.hint,
            },
            "os": {"id": self.os_id, "version": self.os_version, "name": self.os_name},
            "kernel": self.kernel,
            "machine": self.machine,
            "bootc": self.bootc if self.bootc != "unknown" else None,
            "image": booted.reference if booted else None,
            "version": booted.version if booted else None,
            "digest": booted.digest if booted else None,
            "architecture": booted.architecture if booted else None,
            "boot_id": self.boot_id,
            "boot_time": self.boot_time.isoformat() if self.boot_time else None,
            "uptime": self.uptime,
            "time_zone": self.zone,
            "clock_skew": round(self.clock.skew, 3) if self.clock else None,
            "free_bytes": space.free if space else None,
            "total_bytes": space.total if space else None,
            "reserved_bytes": space.reserved if space else None,
            "signature_policy": self.policy.default if self.policy else None,
            "registry": {
                "reference": registry.reference,
                "tool": registry.tool,
                "ok": registry.ok,
                "digest": registry.digest,
                "message": registry.message,
            }
            if registry
            else None,
            "usr": self.usr,
            "layered_packages": booted.incompatible if booted else None,
            "pinned_deployments": self.pinned,
            "staged": self.status.staged.digest if self.status and self.status.staged else None,
            "staged_at": self.staged_by.at.isoformat() if self.staged_by.at else None,
            "staged_by": self.staged_by.who,
            "update_timer": timer.active if timer and timer.installed else None,
            "pull": self.pull,
            "greenboot": self.greenboot,
            "system_state": self.system_state,
            "failed_units": list(self.failed_units),
            "bound_images": list(self.bound_images),
            "lock": self.lock.to_json() if self.lock else None,
        }
