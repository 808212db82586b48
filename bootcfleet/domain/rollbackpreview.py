"""What a rollback would do to a host, before it is done.

A rollback boots the deployment in the rollback slot: its image, and its ``/etc`` as it was when
the host left it; ``/var`` stays (field note *bootc on a host*).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.bootc import BootcStatus, BootEntry
from bootcfleet.domain.imagestanding import Standings
from bootcfleet.domain.preflight_case import Finding, Severity, entry_title
from bootcfleet.errors import HostFault


@dataclass(frozen=True)
class RollbackPreview:
    """What one host runs, what it would return to, and what there is to know of that.

    A host whose findings refuse it stays out.
    """

    host: str
    runs: BootEntry | None
    returns_to: BootEntry | None
    findings: tuple[Finding, ...] = ()

    @property
    def refusal(self) -> Finding | None:
        """Why the host cannot go back."""
        return next((one for one in self.findings if one.severity is Severity.REFUSE), None)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is to be known or acknowledged first."""
        return tuple(one for one in self.findings if one.severity is not Severity.REFUSE)

    @property
    def line(self) -> str:
        """From what to what, for people."""
        if self.returns_to is None or self.runs is None:
            return "stays as it is"
        to = entry_title(self.returns_to)
        if self.returns_to.reference != self.runs.reference:
            to += f" of {self.returns_to.reference}"
        return f"returns to {to} from {entry_title(self.runs)}"

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "host": self.host,
            "runs": _slot(self.runs),
            "returns_to": _slot(self.returns_to),
            "findings": [one.to_json() for one in self.findings],
        }


def preview_rollback(
    host: str, status: BootcStatus, standings: Standings | None = None, *, timer: bool = False
) -> RollbackPreview:
    """What a rollback would do to a host.

    `standings` tell whether the image that it would return to is revoked or past its end of life;
    `timer` is whether bootc's update timer is active, which undoes a rollback.
    """
    booted, back = status.booted, status.rollback
    if booted is None or not status.booted_by_bootc:
        message = "is not booted by bootc"
        finding = Finding("bootc", Severity.REFUSE, message, None, HostFault.NOT_BOOTC_BOOTED)
        return RollbackPreview(host, booted, None, (finding,))
    if back is None or back.digest is None:
        what = "has no rollback deployment"
        if back is not None:
            what = "has a rollback deployment without an image (of rpm-ostree)"
        finding = Finding(
            "no-rollback",
            Severity.REFUSE,
            what,
            "go to an earlier image by its digest: bootcfleet fleet switch IMAGE@DIGEST",
            HostFault.NO_ROLLBACK,
        )
        return RollbackPreview(host, booted, None, (finding,))
    found = tuple(_notes(status, booted, back, standings or Standings(), timer))
    return RollbackPreview(host, booted, back, found)


def _notes(
    status: BootcStatus, booted: BootEntry, back: BootEntry, standings: Standings, timer: bool
) -> Iterator[Finding]:
    standing = standings.of(back.digest)
    to = entry_title(back)
    if standing.revoked is not None:
        yield Finding(
            "rollback-revoked",
            Severity.CONFIRM,
            f"would return to {to}, which must not be used: {standing.revoked.message}",
            standing.revoked.hint,
        )
    if standing.ended is not None:
        yield Finding(
            "rollback-end-of-life",
            Severity.WARN,
            f"would return to {to}, which is past its end: {standing.ended.message}",
        )
    if status.staged is not None:
        yield Finding(
            "staged",
            Severity.CONFIRM,
            f"has {entry_title(status.staged)} staged, which is discarded",
        )
    yield Finding(
        "etc",
        Severity.WARN,
        f"gets back the /etc of {to} as it was then; what was changed in /etc since stays with "
        f"{entry_title(booted)}, and /var is kept",
        "look at the difference: ostree admin config-diff there",
    )
    if back.digest == booted.digest:
        yield Finding(
            "same-image", Severity.WARN, f"has the same image, {to}, in its rollback slot"
        )
    elif back.reference != booted.reference:
        yield Finding(
            "follows", Severity.WARN, f"follows {back.reference} again, not {booted.reference}"
        )
    if status.rollback_queued:
        yield Finding(
            "queued", Severity.WARN, "has its rollback queued already: only the reboot is missing"
        )
    if timer:
        yield Finding(
            "update-timer",
            Severity.WARN,
            "updates itself (bootc-fetch-apply-updates.timer is active), which would undo the "
            "rollback",
            "hold the channel back first: bootcfleet channel rollback IMAGE CHANNEL",
        )


def _slot(entry: BootEntry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {"image": entry.reference, "digest": entry.digest, "version": entry.version}
