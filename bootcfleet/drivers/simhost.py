"""A simulated bootc host: its slots, its boots, its faults.  No sockets here.

The behaviour is that of field note *bootc on a host* and of bootc's published
documentation: a staged deployment takes effect at the reboot, a rollback swaps
booted and rollback, each boot has a new boot id, a reference with a digest never
moves.  What the host says is `simbootc` (bootc) and `simshell` (the rest).
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bootcfleet.domain.faults import Fault, FaultSpec
from bootcfleet.domain.reference import Digest

#: A label of an image that is bad: its units fail once it is booted.
HEALTH_LABEL = "bootcfleet.lab.health"
#: The unit that fails then.
BAD_UNIT = "demo-web.service"
#: Where a rollout's lock is (`drivers/hostlock.py`).
LOCK = "/var/lib/bootcfleet/lock.json"
#: The image that somebody else staged.
_OTHER = Digest("sha256:" + "0" * 60 + "cafe")


@dataclass(frozen=True)
class Pulled:
    """An image as a host pulls it: the manifest of its own platform."""

    digest: Digest
    version: str | None
    created: str | None
    architecture: str
    healthy: bool
    layers: tuple[tuple[Digest, int], ...]


#: Pulls a reference by HTTP; raises `PullError` with the text that bootc would show.
Pull = Callable[[str], Pulled]


class PullError(Exception):
    """A pull failed; the message is what skopeo's proxy says in bootc's error chain."""


@dataclass(frozen=True)
class Deployment:
    """A bootable version of the system on the host's disk.

    `download_only`: staged, and dropped at a reboot.
    """

    reference: str
    transport: str
    image: Pulled
    serial: int = 0
    download_only: bool = False

    @property
    def pinned_by_digest(self) -> bool:
        """Whether the reference has a digest: an upgrade never finds anything for it."""
        return "@" in self.reference


@dataclass
class TimerUnit:
    """``bootc-fetch-apply-updates.timer`` on a host; `drivers/simtimer.py` is what it does.

    `since` is when it was activated, `fired` when it last fired (both monotonic, in seconds);
    `masked` outlives a reboot, `masked_now` alone (``--runtime``) does not; `moved` counts
    how often it rebooted the host.
    """

    enabled: bool = False
    active: bool = False
    masked: bool = False
    masked_now: bool = False
    since: float = 0.0
    fired: float = 0.0
    moved: int = 0


@dataclass
class SimSystem:
    """What a host is besides its deployments; bytes and seconds.

    `os_version` is that of its os-release, and the image's without one.
    """

    free_bytes: int = 20_000_000_000
    total_bytes: int = 40_000_000_000
    zone: str = "UTC"
    clock_offset: float = 0.0
    greenboot: bool = False
    os_version: str | None = None
    kernel: str = "6.12.0-lab.x86_64"
    bound_images: tuple[str, ...] = ()


@dataclass
class SimHost:
    """One host.  Its methods may be called from several threads.

    `boot_seconds` is how long a reboot takes, `soft_boot_seconds` a soft one (None: a tenth of
    that), `pull_seconds` a download.  `soft_reboot_capable`: what is staged or rolled back to has
    the running kernel.
    """

    name: str
    pull: Pull
    booted: Deployment
    boot_seconds: float = 1.0
    soft_boot_seconds: float | None = None
    pull_seconds: float = 0.0
    soft_reboot_capable: bool = False
    staged: Deployment | None = None
    rollback: Deployment | None = None
    rollback_queued: bool = False
    cached_update: Pulled | None = None
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    boot_time: float = field(default_factory=time.time)
    reboots: int = 0
    #: How often this boot's userspace was restarted, and whether one is prepared (/run/nextroot).
    soft_reboots: int = 0
    soft_prepared: bool = False
    faults: dict[Fault, FaultSpec] = field(default_factory=dict)
    system: SimSystem = field(default_factory=SimSystem)
    on_reboot: Callable[[], None] = field(default=lambda: None)
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: The lock that every bootc and ostree process takes.
    sysroot: threading.Lock = field(default_factory=threading.Lock)
    healed: threading.Condition = field(default_factory=threading.Condition)
    #: What was written under /etc and /var, by path; it outlives reboots.
    files: dict[str, bytes] = field(default_factory=dict)
    timer: TimerUnit = field(default_factory=TimerUnit)
    _up_at: float = 0.0

    def has(self, fault: Fault) -> bool:
        """Whether the host suffers the fault."""
        return fault in self.faults

    def break_with(self, spec: FaultSpec) -> None:
        """Let the host suffer a fault until it is healed."""
        with self.lock:
            self.faults[spec.fault] = spec
            if spec.fault is Fault.STAGED_BY_OTHER:
                other = replace(self.booted.image, digest=_OTHER, version="other")
                self.staged = replace(self.booted, image=other, serial=self.booted.serial + 1)
            elif spec.fault is Fault.LOCKED_BY_OTHER:
                self.files[LOCK] = _other_lock(self.now)
            elif spec.fault is Fault.TIMER_ACTIVE:
                self.timer.enabled = self.timer.active = True
                self.timer.since = time.monotonic()

    @property
    def now(self) -> float:
        """What its clock says, in seconds since the epoch."""
        skew = self.faults.get(Fault.CLOCK_SKEW)
        return time.time() + self.system.clock_offset + (skew.seconds if skew else 0.0)

    def heal(self) -> None:
        """Take all faults away; a host that did not come back does so now."""
        with self.lock:
            if self.faults.pop(Fault.DOES_NOT_RETURN, None) and self._up_at == float("inf"):
                self._up_at = 0.0
            if (
                self.has(Fault.STAGED_BY_OTHER)
                and self.staged
                and self.staged.image.digest == _OTHER
            ):
                self.staged = None
            if self.has(Fault.LOCKED_BY_OTHER):
                self.files.pop(LOCK, None)
            if self.has(Fault.TIMER_ACTIVE):
                self.timer.enabled = self.timer.active = False
            self.faults.clear()
        with self.healed:
            self.healed.notify_all()

    @property
    def up(self) -> bool:
        """Whether it answers: it is not rebooting, not lost and not unreachable."""
        return time.monotonic() >= self._up_at and not self.has(Fault.UNREACHABLE)

    @property
    def state(self) -> str:
        """``up``, ``rebooting`` or ``down``, for people."""
        if self.has(Fault.UNREACHABLE) or self._up_at == float("inf"):
            return "down"
        return "up" if self.up else "rebooting"

    @property
    def healthy(self) -> bool:
        """Whether all units run in this boot."""
        return self.booted.image.healthy and not self.has(Fault.HEALTH_FAILS)

    def take_lock(self, gone: Callable[[], bool]) -> bool:
        """Wait as bootc does while another process holds the lock, and take it.

        False: the caller hung up before.  Whoever takes it releases `sysroot`.
        """
        with self.healed:
            while self.has(Fault.LOCK_HELD):
                if gone():
                    return False
                self.healed.wait(0.2)
        while not self.sysroot.acquire(timeout=0.1):
            if gone():
                return False
        return True

    def stage(
        self, reference: str, transport: str, image: Pulled, *, download_only: bool = False
    ) -> None:
        """Make a deployment for the next boot.  A queued rollback is undone by it."""
        with self.lock:
            serial = self.booted.serial + 1
            self.staged = Deployment(reference, transport, image, serial, download_only)
            self.rollback_queued, self.soft_prepared = False, False
            self.cached_update = None

    def hold_staged(self, held: bool) -> bool:
        """Let the next reboot drop what is staged, or take it up; whether that is a change."""
        with self.lock:
            if self.staged is None or self.staged.download_only is held:
                return False
            self.staged = replace(self.staged, download_only=held)
            return True

    def prepare_soft_reboot(self) -> None:
        """Let a soft reboot go to what is staged, or to the rollback that is queued."""
        with self.lock:
            self.soft_prepared = True

    def queue_rollback(self) -> bool | None:
        """Swap what boots next.

        True: the rollback deployment; False: the current one again (it toggles);
        None: there is nothing to go back to.  A staged update is discarded.
        """
        with self.lock:
            if self.rollback is None:
                return None
            self.staged, self.soft_prepared = None, False
            self.rollback_queued = not self.rollback_queued
            return self.rollback_queued

    def reboot(self, *, soft: bool = False, full: bool = False) -> None:
        """Go down, take up what is staged or queued, and come back in another boot.

        A prepared soft reboot takes the place of a reboot that is not asked to be `full`.
        A `soft` one without preparation restarts the same userspace; what was staged is
        finalised by it and is the next boot's.
        """
        with self.lock:
            soft = soft or (self.soft_prepared and not full)
            if not soft or self.soft_prepared:
                self._take_up()
            elif self.staged is not None and not self.staged.download_only:
                self.rollback, self.rollback_queued = self.staged, True
            self.staged, self.cached_update, self.soft_prepared = None, None, False
            # What is written over /usr is gone with the boot, and nobody unlocked it in this one.
            self.faults.pop(Fault.USR_UNLOCKED, None)
            self.faults.pop(Fault.STAGED_BY_OTHER, None)
            self.reboots += 1
            seconds = self.boot_seconds
            if soft:
                self.soft_reboots += 1
                short = self.soft_boot_seconds
                seconds = seconds / 10 if short is None else short
            else:
                self.boot_id, self.soft_reboots = str(uuid.uuid4()), 0
            if Fault.RETURNS_AFTER in self.faults:
                seconds = self.faults[Fault.RETURNS_AFTER].seconds
            lost = self.has(Fault.DOES_NOT_RETURN)
            self._up_at = float("inf") if lost else time.monotonic() + seconds
            if not soft:
                self.boot_time = time.time() + (0 if lost else seconds)
            self.timer.masked_now = self.timer.masked
            self.timer.active = self.timer.enabled and not self.timer.masked
            self.timer.since = time.monotonic()
        self.on_reboot()

    def _take_up(self) -> None:
        """Boot what is to be booted."""
        keeps_old = self.has(Fault.RETURNS_OLD)
        if self.rollback_queued and self.rollback and not keeps_old:
            self.booted, self.rollback = self.rollback, self.booted
        elif self.staged is not None and not self.staged.download_only and not keeps_old:
            self.booted, self.rollback = self.staged, self.booted
        self.rollback_queued = False


def _other_lock(now: float) -> bytes:
    """The lock of a rollout that is not ours, good for an hour."""
    body = {
        "version": 1,
        "owner": "somebody@elsewhere",
        "rollout": "another-rollout",
        "controller": "elsewhere",
        "taken": int(now),
        "expires": int(now) + 3600,
    }
    return json.dumps(body, indent=1).encode() + b"\n"
