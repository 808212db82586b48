"""A simulated bootc host: its slots, its boots, its faults.  No sockets here.

The behaviour is that of field note *bootc on a host* and of bootc's published
documentation: a staged deployment takes effect at the reboot, a rollback swaps
booted and rollback, each boot has a new boot id, a reference with a digest never
moves.  What the host says is `simbootc` (bootc) and `simshell` (the rest).
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bootcfleet.domain.faults import COUNTED, Fault, FaultSpec
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.simparts import (
    BAD_UNIT,
    HEALTH_LABEL,
    LOCK,
    OTHERS,
    Deployment,
    Pull,
    Pulled,
    PullError,
    SimSystem,
    TimerUnit,
    other_lock,
)
from bootcfleet.drivers.simrecord import (
    BootLog,
    History,
    HistoryEntry,
    What,
    finalisation_failed,
    greenboot_rolled_back,
)

__all__ = [
    "BAD_UNIT",
    "HEALTH_LABEL",
    "LOCK",
    "Deployment",
    "Pull",
    "PullError",
    "Pulled",
    "SimHost",
    "SimSystem",
    "TimerUnit",
]


@dataclass
class SimHost:
    """One host.  Its methods may be called from several threads.

    `boot_seconds` is how long a reboot takes, `soft_boot_seconds` a soft one (None: a tenth of
    that), `pull_seconds` a download, `greenboot_seconds` greenboot's checks.
    `soft_reboot_capable`: what is staged or rolled back to has the running kernel.
    """

    name: str
    pull: Pull
    booted: Deployment
    boot_seconds: float = 1.0
    soft_boot_seconds: float | None = None
    pull_seconds: float = 0.0
    greenboot_seconds: float = 0.3
    soft_reboot_capable: bool = False
    staged: Deployment | None = None
    rollback: Deployment | None = None
    rollback_queued: bool = False
    cached_update: Pulled | None = None
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    #: It has been up for a day when it is made.
    boot_time: float = field(default_factory=lambda: time.time() - 86400)
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
    #: Its boots, the newest last.
    boots: list[BootLog] = field(default_factory=list)
    _history: History = field(default_factory=History)
    _up_at: float = 0.0
    _started_at: float = 0.0
    _lock_until: float = 0.0
    _left: dict[Fault, int] = field(default_factory=dict)
    _later: list[threading.Timer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.boots.append(BootLog(self.boot_id))
        self._note_booted(0.0)

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """What has happened to it, by its own clock."""
        return self._history.so_far()

    def note(self, what: What, detail: str = "") -> None:
        """Write down what happens now."""
        self._history.note(what, detail)

    def has(self, fault: Fault) -> bool:
        """Whether the host suffers the fault."""
        return fault in self.faults

    def spend(self, fault: Fault) -> bool:
        """Whether a fault that is counted strikes this time; after the last time it is gone."""
        with self.lock:
            left = self._left.get(fault, 0) if fault in self.faults else 0
            if left <= 1:
                self.faults.pop(fault, None)
            self._left[fault] = left - 1
            return left > 0

    def break_with(self, spec: FaultSpec) -> None:
        """Let the host suffer a fault until it is healed."""
        with self.lock:
            self.faults[spec.fault] = spec
            if spec.fault in COUNTED:
                self._left[spec.fault] = int(spec.number)
            if spec.fault is Fault.LOCK_HELD_FOR:
                self._lock_until = time.monotonic() + spec.number
            elif spec.fault is Fault.STAGED_BY_OTHER:
                self.staged = replace(self.others(), reference=self.booted.reference)
            elif spec.fault is Fault.LOCKED_BY_OTHER:
                self.files[LOCK] = other_lock(self.now)
            elif spec.fault in {Fault.TIMER_ACTIVE, Fault.TIMER_MOVES}:
                self.timer.enabled = self.timer.active = True
                self.timer.since = time.monotonic()

    @property
    def now(self) -> float:
        """What its clock says, in seconds since the epoch."""
        skew = self.faults.get(Fault.CLOCK_SKEW)
        return time.time() + self.system.clock_offset + (skew.number if skew else 0.0)

    def heal(self) -> None:
        """Take all faults away; a host that did not come back does so now."""
        with self.lock:
            if self.faults.pop(Fault.DOES_NOT_RETURN, None) and self._up_at == float("inf"):
                self._up_at = self._started_at = 0.0
                self.note(What.UP)
                self._note_booted(0.0)
            ours = self.staged is None or self.staged.image != self.others().image
            if self.has(Fault.STAGED_BY_OTHER) and not ours:
                self.staged = None
            if self.has(Fault.LOCKED_BY_OTHER):
                self.files.pop(LOCK, None)
            if self.has(Fault.TIMER_ACTIVE) or self.has(Fault.TIMER_MOVES):
                self.timer.enabled = self.timer.active = False
            self._lock_until = 0.0
            self._started_at = min(self._started_at, self._up_at)
            self.faults.clear()
        with self.healed:
            self.healed.notify_all()

    def stop(self) -> None:
        """Nothing more happens to it by itself."""
        self.heal()
        for timer in self._later:
            timer.cancel()

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
    def starting(self) -> bool:
        """Whether it answers and systemd still starts: greenboot's checks run."""
        return time.monotonic() < self._started_at

    @property
    def healthy(self) -> bool:
        """Whether the units of its image run in this boot."""
        return self.booted.image.healthy and not self.has(Fault.HEALTH_FAILS)

    @property
    def failed_units(self) -> tuple[str, ...]:
        """All units that failed in this boot."""
        return (*(() if self.healthy else (BAD_UNIT,)), *self.boots[-1].failed)

    @property
    def lock_holder(self) -> str | None:
        """Who holds bootc's lock, because of a fault; None when nobody does."""
        held = self.has(Fault.LOCK_HELD) or time.monotonic() < self._lock_until
        return "rpm-ostree upgrade" if held else None

    def take_lock(self, gone: Callable[[], bool]) -> bool:
        """Wait as bootc does while another process holds the lock, and take it.

        False: the caller hung up before.  Whoever takes it releases `sysroot`.
        """
        with self.healed:
            while self.lock_holder:
                if gone():
                    return False
                self.healed.wait(0.1)
        while not self.sysroot.acquire(timeout=0.1):
            if gone():
                return False
        return True

    def others(self) -> Deployment:
        """A deployment that somebody else made."""
        digest = Digest("sha256:" + hashlib.sha256(f"{OTHERS} {self.name}".encode()).hexdigest())
        image = replace(self.booted.image, digest=digest, version="other", healthy=True)
        return Deployment(OTHERS, "registry", image, self.booted.serial + 1)

    def status_was_shown(self) -> None:
        """Somebody knows now what is staged: the moment for others to stage something else."""
        with self.lock:
            if not self.has(Fault.OTHER_ADMIN_STAGES) or self.staged is None:
                return
            if self.staged.reference != OTHERS:
                self.staged = self.others()
                self.note(What.STAGED, f"{self.staged.image.digest} by another")

    def stage(
        self,
        reference: str,
        transport: str,
        image: Pulled,
        *,
        download_only: bool = False,
        enforced: bool = False,
    ) -> None:
        """Make a deployment for the next boot; a rollback that is queued waits beneath it."""
        with self.lock:
            serial = self.booted.serial + 1
            self.staged = Deployment(reference, transport, image, serial, download_only, enforced)
            self.soft_prepared = False
            self.cached_update = None
            self.note(What.STAGED, str(image.digest))
            if download_only:
                self.note(What.HELD_BACK, str(image.digest))

    def hold_staged(self, held: bool) -> bool:
        """Let the next reboot drop what is staged, or take it up; whether that is a change."""
        with self.lock:
            if self.staged is None or self.staged.download_only is held:
                return False
            self.staged = replace(self.staged, download_only=held)
            what = What.HELD_BACK if held else What.RELEASED
            self.note(what, str(self.staged.image.digest))
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
            what = What.ROLLBACK_QUEUED if self.rollback_queued else What.ROLLBACK_REVERTED
            self.note(what, str(self.rollback.image.digest))
            return self.rollback_queued

    def reboot(self, *, soft: bool = False, full: bool = False) -> None:
        """Go down, take up what is staged or queued, and come back in another boot.

        A prepared soft reboot takes the place of a reboot that is not asked to be `full`.
        A `soft` one without preparation restarts the same userspace; what was staged is
        finalised by it and is the next boot's.
        """
        with self.lock:
            soft = soft or (self.soft_prepared and not full)
            before, new = self.booted, None
            log = self.boots[-1]
            if not soft:
                self.boot_id, self.soft_reboots = str(uuid.uuid4()), 0
                self.boots.append(BootLog(self.boot_id))
            else:
                self.soft_reboots += 1
            if not soft or self.soft_prepared:
                new = self._take_up(log)
            elif self.staged is not None and not self.staged.download_only:
                self.rollback, self.rollback_queued = self.staged, True
            self.staged, self.cached_update, self.soft_prepared = None, None, False
            # What is written over /usr is gone with the boot, and nobody unlocked it in this one.
            self.faults.pop(Fault.USR_UNLOCKED, None)
            self.faults.pop(Fault.STAGED_BY_OTHER, None)
            seconds = self._go_down(soft=soft)
            if self.booted != before:
                self._note_booted(seconds)
            if new is not None and self.has(Fault.GREENBOOT_ROLLS_BACK):
                # Its checks take a while, in which SSH is there and systemd still starts.
                self._started_at = float("inf")
                self._in(seconds + self.greenboot_seconds, lambda: self._greenboot_gives_up(new))
        self.on_reboot()

    def _go_down(self, *, soft: bool) -> float:
        """Be away for a reboot; how many seconds (infinite: until it is healed)."""
        self.reboots += 1
        seconds = self.boot_seconds
        if soft:
            short = self.soft_boot_seconds
            seconds = seconds / 10 if short is None else short
        if Fault.RETURNS_AFTER in self.faults:
            seconds = self.faults[Fault.RETURNS_AFTER].number
        lost = self.has(Fault.DOES_NOT_RETURN)
        seconds = float("inf") if lost else seconds
        self._up_at = self._started_at = time.monotonic() + seconds
        if not soft:
            self.boot_time = time.time() + (0 if lost else seconds)
        # /run, where a mask of --runtime is, outlives a soft reboot.
        self.timer.masked_now = self.timer.masked or (soft and self.timer.masked_now)
        self.timer.active = self.timer.enabled and not self.timer.masked_now
        self.timer.since = time.monotonic()
        self.note(What.SOFT_DOWN if soft else What.DOWN)
        if not lost:
            self._history.note(What.UP, after=seconds)
        return seconds

    def _take_up(self, log: BootLog) -> Deployment | None:
        """Boot what is to be booted; `log` is the boot that ends.

        What was staged and is booted for the first time, or None.
        """
        staged = self.staged if self.staged and not self.staged.download_only else None
        queued = self.rollback if self.rollback_queued and staged is None else None
        new = staged or queued
        self.rollback_queued = False
        if self.has(Fault.COMES_BACK_NEITHER):
            self.booted, self.rollback = self.others(), self.booted
        elif new is None or self.has(Fault.RETURNS_OLD):
            pass
        elif staged and self.has(Fault.FINALIZE_FAILS):
            finalisation_failed(log, self.boots[-1])
        elif self.has(Fault.BOOT_FALLS_BACK):
            self.rollback, self.rollback_queued = new, True
        else:
            self.booted, self.rollback = new, self.booted
            return staged
        return None

    def _greenboot_gives_up(self, failed: Deployment) -> None:
        """The second reboot: the host's own, back to where it came from."""
        with self.lock:
            if self.booted is not failed or not self.has(Fault.GREENBOOT_ROLLS_BACK):
                self._started_at = min(self._started_at, time.monotonic())
                return
            if self.rollback is not None:
                self.booted, self.rollback = self.rollback, self.booted
            self.rollback_queued, self.staged = False, None
            self.boot_id, self.soft_reboots = str(uuid.uuid4()), 0
            self.boots.append(BootLog(self.boot_id))
            greenboot_rolled_back(self.boots[-2], self.boots[-1])
            self._note_booted(self._go_down(soft=False))
        self.on_reboot()

    def _note_booted(self, after: float) -> None:
        self._history.note(What.BOOTED, str(self.booted.image.digest), after=after)

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen later, unless the host is stopped before."""
        if seconds < float("inf"):
            timer = threading.Timer(seconds, act)
            timer.daemon = True
            self._later = [each for each in self._later if each.is_alive()] + [timer]
            timer.start()
