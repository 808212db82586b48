"""A simulated bootc host: its slots, its boots, its faults.  No sockets here.

The behaviour is that of field note *bootc on a host* and of bootc's published
documentation: a staged deployment takes effect at the reboot, a rollback swaps
booted and rollback, each boot has a new boot id, a reference with a digest never
moves.  What the host says is `simbootc` (bootc) and `simshell` (the rest).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from bootcfleet.domain.faults import Fault, FaultSpec
from bootcfleet.domain.reference import Digest

#: A label of an image that is bad: its units fail once it is booted.
HEALTH_LABEL = "bootcfleet.lab.health"
#: The unit that fails then.
BAD_UNIT = "demo-web.service"


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
    """A bootable version of the system on the host's disk."""

    reference: str
    transport: str
    image: Pulled
    serial: int = 0

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
class SimHost:
    """One host.  Its methods may be called from several threads."""

    name: str
    pull: Pull
    booted: Deployment
    boot_seconds: float = 1.0
    staged: Deployment | None = None
    rollback: Deployment | None = None
    rollback_queued: bool = False
    cached_update: Pulled | None = None
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    boot_time: float = field(default_factory=time.time)
    reboots: int = 0
    faults: dict[Fault, FaultSpec] = field(default_factory=dict)
    on_reboot: Callable[[], None] = field(default=lambda: None)
    lock: threading.RLock = field(default_factory=threading.RLock)
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

    def heal(self) -> None:
        """Take all faults away; a host that did not come back does so now."""
        with self.lock:
            if self.faults.pop(Fault.DOES_NOT_RETURN, None) and self._up_at == float("inf"):
                self._up_at = 0.0
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

    def wait_for_lock(self, gone: Callable[[], bool]) -> None:
        """Block as bootc does while another process holds the lock; until healed or `gone`."""
        with self.healed:
            while self.has(Fault.LOCK_HELD) and not gone():
                self.healed.wait(0.2)

    def stage(self, reference: str, transport: str, image: Pulled) -> None:
        """Make a deployment for the next boot.  A queued rollback is undone by it."""
        with self.lock:
            serial = self.booted.serial + 1
            self.staged = Deployment(reference, transport, image, serial)
            self.rollback_queued = False
            self.cached_update = None

    def queue_rollback(self) -> bool | None:
        """Swap what boots next.

        True: the rollback deployment; False: the current one again (it toggles);
        None: there is nothing to go back to.  A staged update is discarded.
        """
        with self.lock:
            if self.rollback is None:
                return None
            self.staged = None
            self.rollback_queued = not self.rollback_queued
            return self.rollback_queued

    def reboot(self) -> None:
        """Go down, take up what is staged or queued, and come back in another boot."""
        with self.lock:
            keeps_old = self.has(Fault.RETURNS_OLD)
            if self.rollback_queued and self.rollback and not keeps_old:
                self.booted, self.rollback = self.rollback, self.booted
            elif self.staged is not None and not keeps_old:
                self.booted, self.rollback = self.staged, self.booted
            self.staged, self.rollback_queued, self.cached_update = None, False, None
            self.boot_id = str(uuid.uuid4())
            self.reboots += 1
            seconds = self.boot_seconds
            if Fault.RETURNS_AFTER in self.faults:
                seconds = self.faults[Fault.RETURNS_AFTER].seconds
            lost = self.has(Fault.DOES_NOT_RETURN)
            self._up_at = float("inf") if lost else time.monotonic() + seconds
            self.boot_time = time.time() + (0 if lost else seconds)
            self.timer.masked_now = self.timer.masked
            self.timer.active = self.timer.enabled and not self.timer.masked
            self.timer.since = time.monotonic()
        self.on_reboot()
