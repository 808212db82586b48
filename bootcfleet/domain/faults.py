"""What a lab host can be told to suffer, and how each shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from bootcfleet.domain.document import did_you_mean
from bootcfleet.errors import UsageError


class Fault(StrEnum):
    """A fault of a simulated host."""

    UNREACHABLE = "unreachable"
    HOST_KEY_CHANGED = "host-key-changed"
    DROPS_CONNECTION = "drops-connection"
    DISK_FULL = "disk-full"
    REGISTRY_REFUSES = "registry-refuses"
    DOES_NOT_RETURN = "does-not-return"
    RETURNS_OLD = "returns-old"
    RETURNS_AFTER = "returns-after"
    HEALTH_FAILS = "health-fails"
    SUDO_REFUSED = "sudo-refused"
    GARBAGE_OUTPUT = "garbage-output"
    LOCK_HELD = "lock-held"
    NO_BOOTC = "no-bootc"
    NOT_BOOTC = "not-bootc"
    NOT_ROOT = "not-root"
    CLOCK_SKEW = "clock-skew"
    TIMER_ACTIVE = "timer-active"
    LAYERED_PACKAGES = "layered-packages"
    USR_UNLOCKED = "usr-unlocked"
    PINNED = "pinned"
    STAGED_BY_OTHER = "staged-by-other"
    LOCKED_BY_OTHER = "locked-by-other"
    REJECTS_IMAGES = "rejects-images"
    GREENBOOT_ROLLS_BACK = "greenboot-rolls-back"
    FINALIZE_FAILS = "finalize-fails"
    BOOT_FALLS_BACK = "boot-falls-back"
    COMES_BACK_NEITHER = "comes-back-neither"
    OTHER_ADMIN_STAGES = "other-admin-stages"
    TIMER_MOVES = "timer-moves"
    REGISTRY_5XX = "registry-5xx"
    RATE_LIMITED = "rate-limited"
    SLOW_PULL = "slow-pull"
    LOCK_HELD_FOR = "lock-held-for"
    DRAIN_FAILS = "drain-fails"


#: One sentence for each, for help and documentation.
DESCRIPTIONS: dict[Fault, str] = {
    Fault.UNREACHABLE: "closes every connection at once",
    Fault.HOST_KEY_CHANGED: "answers with another host key",
    Fault.DROPS_CONNECTION: "cuts the connection in the middle of bootc upgrade or switch",
    Fault.DISK_FULL: "bootc upgrade and switch find no space",
    Fault.REGISTRY_REFUSES: "the registry refuses this host with 403",
    Fault.DOES_NOT_RETURN: "does not come back from its next reboot",
    Fault.RETURNS_OLD: "comes back from its next reboots on the old deployment",
    Fault.RETURNS_AFTER: "comes back N seconds after a reboot",
    Fault.HEALTH_FAILS: "a unit fails in every boot from now on",
    Fault.SUDO_REFUSED: "sudo asks for a password that nobody has",
    Fault.GARBAGE_OUTPUT: "bootc status prints something that is not JSON",
    Fault.LOCK_HELD: "bootc waits for a lock, without a word, until the fault is healed",
    Fault.NO_BOOTC: "bootc is not installed",
    Fault.NOT_BOOTC: "the system was not booted by bootc",
    Fault.NOT_ROOT: "bootc says that it needs root rights",
    Fault.CLOCK_SKEW: "its clock is N seconds ahead",
    Fault.TIMER_ACTIVE: "bootc-fetch-apply-updates.timer is active",
    Fault.LAYERED_PACKAGES: "rpm-ostree has layered packages, and bootc refuses to upgrade",
    Fault.USR_UNLOCKED: "/usr is unlocked by bootc usr-overlay, until the next reboot",
    Fault.PINNED: "its booted deployment is pinned",
    Fault.STAGED_BY_OTHER: "somebody has staged another image",
    Fault.LOCKED_BY_OTHER: "another rollout has locked it for an hour",
    Fault.REJECTS_IMAGES: "its policy.json rejects every image",
    Fault.GREENBOOT_ROLLS_BACK: "boots a new deployment, fails greenboot's checks there and goes "
    "back by itself",
    Fault.FINALIZE_FAILS: "cannot finalise what is staged, and comes back on the old deployment",
    Fault.BOOT_FALLS_BACK: "cannot boot a new deployment; its boot loader falls back to the old "
    "one",
    Fault.COMES_BACK_NEITHER: "comes back from its next reboots on a deployment that nobody "
    "planned",
    Fault.OTHER_ADMIN_STAGES: "once bootc status has shown what is staged, somebody else stages "
    "another image",
    Fault.TIMER_MOVES: "follows its tag by bootc's own timer, and reboots by itself",
    Fault.REGISTRY_5XX: "the registry answers its next N pulls with 503",
    Fault.RATE_LIMITED: "the registry answers its next N pulls with 429",
    Fault.SLOW_PULL: "a pull takes N seconds",
    Fault.LOCK_HELD_FOR: "bootc waits for a lock, without a word, for N seconds from now on",
    Fault.DRAIN_FAILS: "its command drain fails",
}

#: The faults that have a number, and an example of it; a whole one counts.
NUMBERED: dict[Fault, str] = {
    Fault.RETURNS_AFTER: "20",
    Fault.CLOCK_SKEW: "20",
    Fault.REGISTRY_5XX: "3",
    Fault.RATE_LIMITED: "3",
    Fault.SLOW_PULL: "20",
    Fault.LOCK_HELD_FOR: "20",
}
#: Of these the ones that are counted and not measured in seconds.
COUNTED = frozenset({Fault.REGISTRY_5XX, Fault.RATE_LIMITED})


@dataclass(frozen=True)
class FaultSpec:
    """A fault and its number, where it has one: seconds, or how often (see `COUNTED`)."""

    fault: Fault
    number: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``disk-full`` or ``returns-after=20``.  Raises `UsageError`."""
        name, equals, number = text.partition("=")
        try:
            fault = Fault(name)
        except ValueError as error:
            known = ", ".join(Fault)
            raise UsageError(
                f"there is no fault {name!r}",
                hint=did_you_mean(name, list(Fault)) or f"known: {known}",
            ) from error
        example = f"{fault}={NUMBERED[fault]}" if fault in NUMBERED else str(fault)
        form = r"\d{1,5}" if fault in COUNTED else r"\d{1,5}(\.\d+)?"
        good = re.fullmatch(form, number) if fault in NUMBERED else not equals
        if not good:
            raise UsageError(f"{text!r} is not a fault", hint=f"write {example}")
        return cls(fault, float(number or 0))

    def __str__(self) -> str:
        return f"{self.fault}={self.number:g}" if self.fault in NUMBERED else str(self.fault)


def spelled(fault: Fault) -> str:
    """The fault as it is written, with ``=N`` where it has a number."""
    return f"{fault}=N" if fault in NUMBERED else str(fault)
