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


#: One sentence for each, for help and documentation.
DESCRIPTIONS: dict[Fault, str] = {
    Fault.UNREACHABLE: "closes every connection at once",
    Fault.HOST_KEY_CHANGED: "answers with another host key",
    Fault.DROPS_CONNECTION: "cuts the connection in the middle of bootc upgrade or switch",
    Fault.DISK_FULL: "bootc upgrade and switch find no space",
    Fault.REGISTRY_REFUSES: "the registry refuses this host with 403",
    Fault.DOES_NOT_RETURN: "does not come back from its next reboot",
    Fault.RETURNS_OLD: "comes back from its next reboots on the old deployment",
    Fault.RETURNS_AFTER: "comes back N seconds after a reboot (returns-after=N)",
    Fault.HEALTH_FAILS: "a unit fails in every boot from now on",
    Fault.SUDO_REFUSED: "sudo asks for a password that nobody has",
    Fault.GARBAGE_OUTPUT: "bootc status prints something that is not JSON",
    Fault.LOCK_HELD: "bootc waits for a lock, without a word, until the fault is healed",
    Fault.NO_BOOTC: "bootc is not installed",
    Fault.NOT_BOOTC: "the system was not booted by bootc",
    Fault.NOT_ROOT: "bootc says that it needs root rights",
    Fault.CLOCK_SKEW: "its clock is N seconds ahead (clock-skew=N)",
    Fault.TIMER_ACTIVE: "bootc-fetch-apply-updates.timer is active",
    Fault.LAYERED_PACKAGES: "rpm-ostree has layered packages, and bootc refuses to upgrade",
    Fault.USR_UNLOCKED: "/usr is unlocked by bootc usr-overlay, until the next reboot",
    Fault.PINNED: "its booted deployment is pinned",
    Fault.STAGED_BY_OTHER: "somebody has staged another image",
    Fault.LOCKED_BY_OTHER: "another rollout has locked it for an hour",
    Fault.REJECTS_IMAGES: "its policy.json rejects every image",
}

#: Faults that have a number, in seconds.
_WITH_NUMBER = frozenset({Fault.RETURNS_AFTER, Fault.CLOCK_SKEW})


@dataclass(frozen=True)
class FaultSpec:
    """A fault and its number, where it has one (seconds)."""

    fault: Fault
    seconds: float = 0.0

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
        takes = fault in _WITH_NUMBER
        if takes != bool(equals) or (takes and not re.fullmatch(r"\d{1,5}(\.\d+)?", number)):
            example = f"{name}=20" if takes else name
            raise UsageError(f"{text!r} is not a fault", hint=f"write {example}")
        return cls(fault, float(number or 0))

    def __str__(self) -> str:
        return f"{self.fault}={self.seconds:g}" if self.seconds else str(self.fault)
