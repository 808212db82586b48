"""Rules of a preflight about the host itself, whatever it is to become."""

from __future__ import annotations

from bootcfleet.domain.abilities import SINCE, Abilities
from bootcfleet.domain.hosttruth import OSTREE_TIMER, UPDATE_SERVICE
from bootcfleet.domain.preflight_case import Case, Finding, Found, Severity
from bootcfleet.domain.rollout import Operation
from bootcfleet.domain.rollout_standing import OVER, TO_RESUME
from bootcfleet.errors import HostFault


def bootc(case: Case) -> Found:
    """bootc answers, as root, and has booted the system."""
    if case.truth.problem is not None:
        problem = case.truth.problem
        yield Finding("bootc", Severity.REFUSE, problem.message, problem.hint, problem.fault)
    elif case.booted is not None and case.booted.incompatible:
        # bootc's answer then has neither an image nor a type; `layered` says why.
        return
    elif case.truth.status is None or not case.truth.status.booted_by_bootc:
        yield Finding(
            "bootc",
            Severity.REFUSE,
            "is not booted by bootc",
            "install a bootc image on it, or take it out of the inventory",
            HostFault.NOT_BOOTC_BOOTED,
        )


#: What is done without an ability that a policy wants.
_WITHOUT = {
    "soft_reboot": "soft reboots: it reboots in full",
    "download_only": "downloads that are held back: what is downloaded ahead is staged, and any "
    "reboot boots it",
    "progress_fd": "progress: its download is not shown",
}


def abilities(case: Case) -> Found:
    """What the policy wants of bootc, and this version does not have."""
    if case.truth.status is None:
        return
    able = Abilities.of(case.truth.bootc).names
    for name in case.planned.wants:
        if name not in able and name in _WITHOUT:
            since = ".".join(map(str, SINCE[name]))
            yield Finding(
                "abilities",
                Severity.WARN,
                f"has bootc {case.truth.bootc} without {_WITHOUT[name]} (there since {since})",
            )


def layered(case: Case) -> Found:
    """Packages that rpm-ostree has layered: bootc carries them on no further.

    Of a deployment with them bootc does not say which image it is (its ``status.rs``), so not
    even a reboot of it could be told from another one.
    """
    status = case.truth.status
    if status is None:
        return
    upgrade = case.planned.operation is Operation.UPGRADE
    staged = upgrade and status.staged is not None and status.staged.incompatible
    if staged or (case.booted is not None and case.booted.incompatible):
        yield Finding(
            "layered-packages",
            Severity.REFUSE,
            f"has local rpm-ostree changes (layered packages){' staged' if staged else ''}, which "
            "bootc refuses to carry on",
            "look with `rpm-ostree status` there, and remove them with `rpm-ostree reset`",
            HostFault.INCOMPATIBLE,
        )


def locked(case: Case) -> Found:
    """The lock of another rollout."""
    lock = case.truth.lock
    if lock is None or (lock.readable and lock.rollout == case.planned.rollout):
        return
    standing = case.planned.lock_standing
    message = f"{'has a stale lock' if lock.stale else 'is locked'}: {lock.title}"
    unlock = f"bootcfleet fleet unlock {'' if lock.stale else '--force '}{case.truth.host}"
    if standing in OVER:
        message += f"; that rollout has ended ({standing})"
        hint = f"it could not take its lock away; break it: {unlock}"
    elif standing in TO_RESUME:
        message += f"; nobody carries that rollout out ({standing})"
        hint = (
            f"take it up again: bootcfleet rollout resume {lock.rollout}, "
            f"or give it up: bootcfleet rollout abort {lock.rollout}"
        )
    elif lock.stale:
        hint = f"resume that rollout, or break the lock: {unlock}"
    else:
        hint = f"wait for that rollout, or when it is gone for good break the lock: {unlock}"
    # A stale one as well: no rollout takes it over, so that the host would fail in its wave.
    yield Finding("locked", Severity.REFUSE, message, hint, HostFault.LOCKED)


def clock(case: Case) -> Found:
    """The host's clock against the controller's."""
    skew = case.truth.clock.skew if case.truth.clock else 0.0
    if abs(skew) < case.limits.clock_warn:
        return
    refuses = abs(skew) >= case.limits.clock_refuse
    yield Finding(
        "clock",
        Severity.REFUSE if refuses else Severity.WARN,
        f"has a clock that is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        + (": TLS, signatures and maintenance windows go wrong by it" if refuses else ""),
        "look with `chronyc tracking` and `timedatectl` there, or at the clock here",
        HostFault.CLOCK_SKEW if refuses else None,
    )


def usr(case: Case) -> Found:
    """What was written over ``/usr`` goes with the boot."""
    if case.truth.usr == "unlocked":
        yield Finding(
            "usr-unlocked",
            Severity.CONFIRM,
            "has its /usr unlocked: what was changed there is lost with the reboot",
            "look what was changed: rpm -Va there",
        )
    elif case.truth.usr == "read-only overlay":
        yield Finding(
            "usr-unlocked", Severity.WARN, "has an overlay over /usr, which the reboot takes away"
        )


def pinned(case: Case) -> Found:
    """Deployments that no update removes."""
    if case.planned.pulls and case.truth.pinned:
        count = case.truth.pinned
        yield Finding(
            "pinned-deployments",
            Severity.WARN,
            f"has {count} pinned deployment{'s' if count > 1 else ''}, which no update removes",
            "look with `ostree admin status` there; unpin with `ostree admin pin --unpin INDEX`",
        )


def timer(case: Case) -> Found:
    """Whoever else updates the host."""
    service = case.truth.units.get(UPDATE_SERVICE)
    if service is not None and service.running:
        yield Finding(
            "update-timer",
            Severity.REFUSE,
            "updates itself at this moment (bootc-fetch-apply-updates.service runs)",
            "wait until it is through, and look again",
            HostFault.LOCK_HELD,
        )
    elif case.truth.timer:
        yield Finding(
            "update-timer",
            Severity.WARN,
            "updates itself (bootc-fetch-apply-updates.timer is active); it is kept from that "
            "while the rollout runs",
        )
    other = case.truth.units.get(OSTREE_TIMER)
    if other is not None and other.running:
        yield Finding(
            "update-timer",
            Severity.WARN,
            "updates itself (rpm-ostreed-automatic.timer is active); it is kept from that while "
            "the rollout runs",
        )


def uptime(case: Case) -> Found:
    """A host that has just booted, unless that was a rollout of this ledger."""
    since, moved = case.truth.uptime, case.planned.moved_ago
    if since is not None and since < case.limits.young and (moved is None or moved > since):
        yield Finding(
            "uptime",
            Severity.WARN,
            f"booted {since:.0f} s ago: somebody else may be at work on it",
        )


def system(case: Case) -> Found:
    """systemd's own verdict."""
    match case.truth.system_state:
        case "stopping" | "maintenance" as state:
            yield Finding(
                "system",
                Severity.REFUSE,
                "shuts down" if state == "stopping" else "is in rescue or emergency mode",
                "look at its console",
                HostFault.HEALTH_FAILED,
            )
        case "starting" | "initializing":
            yield Finding("system", Severity.WARN, "has not finished its start yet")
        case "degraded":
            units = ", ".join(case.truth.failed_units) or "some"
            yield Finding("system", Severity.WARN, f"is degraded already; failed units: {units}")
