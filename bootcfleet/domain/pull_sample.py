"""One sampled host of a rollout in pull mode: what it said before, what it says, what that means.

Nobody tells the host to move: its own timer does.  So a host that has not moved is not at
fault before the deadline, and one that rebooted for another reason has not failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bootcfleet.domain.rollout import Observation

#: What ``systemctl is-system-running`` says while the system still starts.
_STARTING = frozenset({"starting", "initializing", "offline", "unknown", ""})
#: What it says on the way into a boot, or out of one.
_PASSING = _STARTING | {"stopping"}


@dataclass(frozen=True)
class Baseline:
    """What a sampled host was before its channel was promoted.

    `staged` and `rollback` are what was in these slots then; `units` those that had failed, None
    where an older bootcfleet did not ask.
    """

    booted: str | None
    boot_id: str
    system_state: str = "running"
    staged: str | None = None
    rollback: str | None = None
    units: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Look:
    """One look at a sampled host: what it said, or why it said nothing.

    `silent` is since when it says nothing, or is on its way into a boot or out of one; `units` are
    those that failed; `was_good`: an earlier look has found it good.
    """

    seen: Observation | None = None
    system: str = ""
    units: tuple[str, ...] = ()
    error: str = ""
    silent: datetime | None = None
    was_good: bool = False

    @property
    def settled(self) -> bool:
        """Whether it answers, and neither starts nor stops."""
        return self.seen is not None and self.system not in _PASSING

    def excused(self, now: datetime, silence: timedelta) -> bool:
        """Whether it may be in a reboot of its own, at the very moment in which it is asked."""
        return self.was_good and self.silent is not None and now - self.silent < silence


class VerdictKind(StrEnum):
    """What is thought of a sampled host; stable words in JSON."""

    GOOD = "good"
    WAITING = "waiting"
    CAME_BACK_OLD = "came-back-old"
    UNHEALTHY = "unhealthy"
    ELSEWHERE = "elsewhere"
    LATE = "late"
    SILENT = "silent"


@dataclass(frozen=True)
class Verdict:
    """A verdict, and why."""

    kind: VerdictKind
    message: str

    @property
    def failed(self) -> bool:
        """Whether it counts against the rollout."""
        return self.kind not in (VerdictKind.GOOD, VerdictKind.WAITING)


def judge(
    baseline: Baseline,
    look: Look,
    *,
    accepted: frozenset[str],
    late: str | None,
    now: datetime,
    silence: timedelta,
    former: str | None = None,
) -> Verdict:
    """What is thought of a host.

    `late` is set once the deadline is over, and says which; `former` is the digest that the
    channel had: who was under way to it is not at fault.
    """
    seen = look.seen
    if seen is None:
        return _silent(look, late, now, silence)
    if seen.booted in accepted:
        patient = late is None or look.excused(now, silence)
        return _arrived(baseline, look, seen, None if patient else late)
    if seen.boot_id != baseline.boot_id:
        old = {baseline.booted, baseline.staged or baseline.booted, former or baseline.booted}
        if seen.booted not in old:
            return Verdict(
                VerdictKind.ELSEWHERE,
                f"runs {_short(seen.booted)}, neither the promoted digest nor its old one: "
                "somebody else moved it",
            )
        # One that was there before says nothing: the digest was taken back once already.
        if seen.rollback in accepted and baseline.rollback not in accepted:
            return Verdict(
                VerdictKind.CAME_BACK_OLD,
                f"came back on its old {_short(seen.booted)}: the new one did not boot, or "
                "greenboot rolled it back",
            )
    where = "has it staged" if seen.staged in accepted else f"still runs {_short(seen.booted)}"
    if late is None:
        return Verdict(VerdictKind.WAITING, where)
    return Verdict(VerdictKind.LATE, f"{where}, and did not move {late}")


def _arrived(baseline: Baseline, look: Look, seen: Observation, late: str | None) -> Verdict:
    short = _short(seen.booted)
    if seen.boot_id == baseline.boot_id and baseline.booted != seen.booted:
        # A status that says so in the old boot is none that a host can give.
        return Verdict(VerdictKind.ELSEWHERE, f"says {short} in the boot of its old digest")
    if look.system in _PASSING:
        if late is None:
            doing = "starts with" if look.system in _STARTING else "goes down from"
            return Verdict(VerdictKind.WAITING, f"{doing} {short}")
        return Verdict(VerdictKind.UNHEALTHY, f"runs {short} and did not start up {late}")
    before = look.units if baseline.units is None else baseline.units
    new = [unit for unit in look.units if unit not in before]
    if look.system == "running" or (look.system == baseline.system_state and not new):
        return Verdict(VerdictKind.GOOD, f"runs {short}, healthy")
    units = f" (failed units: {', '.join(new or look.units)})" if look.units else ""
    return Verdict(VerdictKind.UNHEALTHY, f"runs {short} and systemd says {look.system}{units}")


def _silent(look: Look, late: str | None, now: datetime, silence: timedelta) -> Verdict:
    why = look.error or "was not asked yet"
    if late is None or not look.error:
        return Verdict(VerdictKind.WAITING, why)
    if look.excused(now, silence):
        return Verdict(VerdictKind.WAITING, why)
    return Verdict(VerdictKind.SILENT, f"does not answer: {why}")


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "nothing"
