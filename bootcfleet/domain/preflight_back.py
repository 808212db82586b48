"""Rules of a preflight about where a host would go: an image that it should not have, or back.

A rollback boots the deployment in the rollback slot: its image, and its ``/etc`` as it was when
the host left it; ``/var`` stays (field note *bootc on a host*).
"""

from __future__ import annotations

from bootcfleet.domain.preflight_case import Case, Finding, Found, Severity, entry_title
from bootcfleet.domain.rollout import Operation
from bootcfleet.errors import HostFault


def revoked(case: Case) -> Found:
    """An image that is revoked, or stands on one that is."""
    if (found := case.planned.standing.revoked) is not None:
        yield Finding(
            "revoked",
            Severity.CONFIRM,
            f"would go to an image that must not be used: {found.message}",
            found.hint,
        )


def end_of_life(case: Case) -> Found:
    """An image past its last day."""
    if (found := case.planned.standing.ended) is not None:
        yield Finding(
            "end-of-life",
            Severity.WARN,
            f"would go to an image past its end: {found.message}",
            found.hint,
        )


def no_rollback(case: Case) -> Found:
    """Something to go back to."""
    status = case.truth.status
    if case.planned.operation is not Operation.ROLLBACK or status is None:
        return
    back = status.rollback
    if case.booted is None or (back is not None and back.digest is not None):
        return
    yield Finding(
        "no-rollback",
        Severity.REFUSE,
        "has no rollback deployment"
        if back is None
        else "has a rollback deployment without an image (of rpm-ostree)",
        "go to an earlier image by its digest: bootcfleet fleet switch IMAGE@DIGEST",
        HostFault.NO_ROLLBACK,
    )


def etc(case: Case) -> Found:
    """Configuration goes back with the deployment."""
    back = case.truth.status.rollback if case.truth.status else None
    if case.planned.operation is not Operation.ROLLBACK or not back or not case.booted:
        return
    if back.digest is not None:
        yield Finding(
            "etc",
            Severity.WARN,
            f"gets back the /etc of {entry_title(back)} as it was then; what was changed in /etc "
            f"since stays with {entry_title(case.booted)}, and /var is kept",
            "look at the difference: ostree admin config-diff there",
        )


def slot(case: Case) -> Found:
    """What is odd about the rollback slot."""
    status, booted = case.truth.status, case.booted
    back = status.rollback if status else None
    if case.planned.operation is not Operation.ROLLBACK or not status or not back or not booted:
        return
    if back.digest is None:
        return
    if back.digest == booted.digest:
        yield Finding(
            "rollback-slot",
            Severity.WARN,
            f"has the same image, {entry_title(back)}, in its rollback slot",
        )
    if back.reference != booted.reference:
        yield Finding(
            "rollback-slot",
            Severity.WARN,
            f"would follow {back.reference} again, not {booted.reference}",
        )
    if status.rollback_queued:
        yield Finding(
            "rollback-slot",
            Severity.WARN,
            "has its rollback queued already: only the reboot is missing",
        )
