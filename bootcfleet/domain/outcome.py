"""What became of a host, told apart: a pure judgement of what it was, is, and says of itself.

How each cause shows is in field note *fleet rollouts*.  Of bootc's status two more things tell
(bootc's source, ``status.rs``): the rollback slot is the first deployment that is neither booted
nor staged, and ``rollbackQueued`` says that it stands before the booted one.  So a boot loader that
fell back leaves the new deployment queued in the rollback slot; ``bootc rollback``, which greenboot
runs, leaves it there and not queued; and a finalisation that failed leaves it nowhere.
"""

from __future__ import annotations

from collections.abc import Collection

from bootcfleet.domain.hostevidence import GreenbootVerdict, HostEvidence
from bootcfleet.domain.rollout import Observation, Target
from bootcfleet.errors import HostFault


def explain(
    target: Target,
    before: Observation | None,
    seen: Observation | None,
    evidence: HostEvidence | None = None,
    *,
    resolved_now: Collection[str] | None = None,
) -> tuple[HostFault | None, str]:
    """What became of a host, and a sentence for people; no fault when it is as planned.

    `before` is the last observation in the boot of the plan (None: there is none, after a crash
    say), `seen` the newest (None: it does not answer).  `resolved_now` are the digests that the
    target's reference has in the registry by now, when somebody has looked.
    """
    if seen is None:
        return (
            HostFault.DID_NOT_RETURN,
            "it has not come back from its reboot: it needs its console; it counts as down until "
            "it answers",
        )
    if seen.boot_id == target.boot_id:
        return _not_rebooted(target, before, seen, resolved_now)
    if seen.booted in target.accepted:
        return None, f"runs {short(seen.booted)} in a new boot"
    if seen.booted == target.before:
        return _came_back_old(target, before, seen, evidence)
    return _came_back_neither(target, seen, resolved_now)


def _not_rebooted(
    target: Target,
    before: Observation | None,
    seen: Observation,
    resolved_now: Collection[str] | None,
) -> tuple[HostFault | None, str]:
    """In the boot of the plan: is what is staged what was planned?"""
    if seen.staged in target.accepted and not seen.rollback_queued:
        held = ", held back from a reboot" if seen.download_only else ""
        return None, f"{short(seen.staged)} is staged{held}"
    was_staged = before is not None and before.staged in target.accepted
    if seen.staged is not None and seen.staged not in target.accepted:
        if not was_staged and resolved_now is not None and seen.staged in resolved_now:
            return (
                HostFault.TAG_MOVED,
                f"staged {short(seen.staged)} instead of the planned {planned(target)}: the tag "
                f"{_name(target)}moved since the plan; the host was not rebooted",
            )
        if was_staged or (resolved_now is not None and target.accepted & set(resolved_now)):
            return (
                HostFault.REPLACED,
                f"somebody else staged {short(seen.staged)} in place of the planned "
                f"{planned(target)}; the host was not rebooted",
            )
        return (
            HostFault.WRONG_DIGEST,
            f"staged {short(seen.staged)} instead of the planned {planned(target)}: the tag moved "
            "since the plan, or somebody else staged it; the host was not rebooted",
        )
    if was_staged and seen.staged is None:
        queued = "a rollback was queued" if seen.rollback_queued else "it was discarded"
        return (
            HostFault.REPLACED,
            f"the planned {planned(target)} was staged and is no longer: {queued} by somebody "
            "else; the host was not rebooted",
        )
    if seen.rollback_queued and seen.rollback not in target.accepted:
        return (
            HostFault.REPLACED,
            f"a rollback to {short(seen.rollback)} is queued, so a reboot would not boot "
            f"{planned(target)}",
        )
    if seen.rollback_queued:
        return None, f"the rollback to {short(seen.rollback)} is queued"
    if seen.booted in target.accepted:
        return None, f"runs {short(seen.booted)} already"
    return (
        HostFault.WRONG_DIGEST,
        f"bootc staged nothing; it still runs {short(seen.booted)} and the plan is "
        f"{planned(target)}",
    )


def _came_back_old(
    target: Target, before: Observation | None, seen: Observation, evidence: HostEvidence | None
) -> tuple[HostFault, str]:
    """Rebooted, and on its old deployment."""
    came = f"came back on its old deployment {short(seen.booted)}"
    there = seen.rollback in target.accepted
    if evidence is not None and not there and (why := evidence.finalize_failure):
        return (
            HostFault.FINALIZE_FAILED,
            f"{came}: {planned(target)} could not be made bootable at the shutdown: {why}",
        )
    if evidence is not None and evidence.greenboot is GreenbootVerdict.ROLLED_BACK and there:
        reason = (
            f": its check {evidence.greenboot_reason} failed" if evidence.greenboot_reason else ""
        )
        return (
            HostFault.GREENBOOT,
            f"{came}: greenboot rolled {short(seen.rollback)} back{reason}",
        )
    if there and seen.rollback_queued:
        return (
            HostFault.BOOT_FELL_BACK,
            f"{came}: {short(seen.rollback)} did not boot and the boot loader fell back; the next "
            "reboot would try it again",
        )
    if there:
        return (
            HostFault.CAME_BACK_OLD,
            f"{came} after {short(seen.rollback)} had been made bootable: something ran `bootc "
            "rollback` there (greenboot, another controller, an admin)",
        )
    if before is not None and before.download_only:
        return (
            HostFault.CAME_BACK_OLD,
            f"{came}: {planned(target)} was held back (--download-only) when it was rebooted",
        )
    if before is not None and before.staged not in target.accepted:
        return (
            HostFault.CAME_BACK_OLD,
            f"{came}: it was rebooted before {planned(target)} was staged, and not by this rollout",
        )
    return (
        HostFault.CAME_BACK_OLD,
        f"{came}, and {planned(target)} is in none of its slots: it could not be made bootable at "
        "the shutdown, and its journal does not say why",
    )


def _came_back_neither(
    target: Target, seen: Observation, resolved_now: Collection[str] | None
) -> tuple[HostFault, str]:
    """Rebooted, and on something else."""
    if seen.booted is None:
        return (
            HostFault.CAME_BACK_NEITHER,
            "came back on something that is no image of bootc, neither the planned "
            f"{planned(target)} nor its old {short(target.before)}: look at its boot order, and at "
            "`bootc status` there",
        )
    came = (
        f"came back on {short(seen.booted)}, which is neither the planned {planned(target)} nor "
        f"its old {short(target.before)}"
    )
    if resolved_now is not None and seen.booted in resolved_now:
        return (
            HostFault.TAG_MOVED,
            f"{came}: the tag {_name(target)}moved since the plan, and something upgraded the host "
            "to it",
        )
    who = "another controller, an admin"
    if target.timer:
        who = f"bootc-fetch-apply-updates.timer (active when planned), {who}"
    return HostFault.CAME_BACK_NEITHER, f"{came}: somebody else moved it ({who})"


def planned(target: Target) -> str:
    """The planned digests, as people read them."""
    return " or ".join(sorted(short(digest) for digest in target.accepted)) or "nothing"


def short(digest: str | None) -> str:
    """A digest as people read it."""
    return digest.removeprefix("sha256:")[:12] if digest else "nothing"


def _name(target: Target) -> str:
    return f"{target.reference} " if target.reference else ""
