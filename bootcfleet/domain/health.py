"""How a host's answers after its reboot are judged: systemd's state and greenboot's verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from bootcfleet.domain.rollout_policy import HealthKind, HealthRule

#: Answers of ``systemctl is-system-running`` while the system still starts (systemctl(1)).
STARTING = frozenset({"starting", "initializing", "offline", "unknown", ""})

#: greenboot's service that runs the checks of /etc/greenboot/check, and the target that is reached
#: when they passed (systemd.special(7)); greenboot rolls a host back that does not reach it.
GREENBOOT_UNITS = ("greenboot-healthcheck.service", "boot-complete.target")
GREENBOOT_ARGV = (
    "systemctl",
    "show",
    "--property=Id,LoadState,UnitFileState,ActiveState,Result",
    *GREENBOOT_UNITS,
)


class Verdict(StrEnum):
    """greenboot's verdict about the running boot."""

    #: Not installed, or not enabled: it has no say.
    NONE = "none"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class Greenboot:
    """A verdict, and the sentence that says what it was read from."""

    verdict: Verdict
    message: str = ""


def with_system(rules: Sequence[HealthRule]) -> tuple[HealthRule, ...]:
    """The rules with that about the system first; it is always asked, also when nobody named it.

    Several of them are one that allows what any of them allows.
    """
    systems = [rule for rule in rules if rule.kind is HealthKind.SYSTEM]
    allow = tuple(dict.fromkeys(glob for rule in systems for glob in rule.allow))
    first = HealthRule(HealthKind.SYSTEM, allow=allow)
    return (first, *(rule for rule in rules if rule.kind is not HealthKind.SYSTEM))


def judge_system(
    state: str,
    failed: Sequence[str],
    *,
    allow: Sequence[str] = (),
    before_state: str = "running",
    before_units: Sequence[str] = (),
) -> str | None:
    """Why the system does not count as well, or None.

    `failed` are the units that failed, `allow` globs of those that do not count.  A host that was
    degraded before may be degraded after, by the same units where they are known (`before_units`).
    """
    if state == "running":
        return None
    if state != "degraded":
        if state == before_state and state not in STARTING:
            return None
        return f"systemd says {state or 'nothing'}"
    counting = [
        unit
        for unit in failed
        if unit not in before_units and not any(fnmatchcase(unit, glob) for glob in allow)
    ]
    if failed and not counting:
        return None
    if before_state == "degraded" and not before_units:
        return None
    if not counting:
        return "systemd says degraded"
    return f"systemd says degraded (failed units: {', '.join(counting)})"


def read_greenboot(text: str) -> Greenboot:
    """The verdict in what `GREENBOOT_ARGV` printed: a block of ``KEY=VALUE`` for each unit."""
    blocks = [_properties(block) for block in text.split("\n\n")]
    units = {block.get("Id", ""): block for block in blocks}
    check, complete = (units.get(name, {}) for name in GREENBOOT_UNITS)
    if check.get("LoadState") != "loaded":
        return Greenboot(Verdict.NONE)
    name, state = GREENBOOT_UNITS[0], check.get("ActiveState", "")
    if state == "failed":
        return Greenboot(Verdict.FAILED, f"{name} failed ({check.get('Result', 'unknown')})")
    if complete.get("ActiveState") == "active":
        return Greenboot(Verdict.PASSED)
    if state == "inactive" and not check.get("UnitFileState", "").startswith("enabled"):
        return Greenboot(Verdict.NONE)
    if state == "active":
        if complete.get("LoadState") != "loaded":
            return Greenboot(Verdict.PASSED)
        return Greenboot(Verdict.RUNNING, f"{GREENBOOT_UNITS[1]} is not reached")
    return Greenboot(Verdict.RUNNING, f"{name} is {state or 'in no state'}")


def _properties(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value.strip() for key, equals, value in pairs if equals}
