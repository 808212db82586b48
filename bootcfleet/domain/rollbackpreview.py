"""What a rollback would do to a host, before it is done: where it returns to, and what to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.bootc import BootEntry
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.imagestanding import ImageStanding
from bootcfleet.domain.preflight import judge
from bootcfleet.domain.preflight_case import Finding, Limits, Planned, Severity, entry_title
from bootcfleet.domain.rollout import Operation


@dataclass(frozen=True)
class RollbackPreview:
    """What one host runs, what it would return to (None: it cannot), and what there is to know."""

    host: str
    runs: BootEntry | None
    returns_to: BootEntry | None
    findings: tuple[Finding, ...] = ()

    @property
    def refusal(self) -> Finding | None:
        """Why the host cannot go back."""
        return next((one for one in self.findings if one.severity is Severity.REFUSE), None)

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
    truth: HostTruth,
    standing: ImageStanding | None = None,
    *,
    rollout: str | None = None,
    limits: Limits | None = None,
) -> RollbackPreview:
    """What a rollback would do to a host that was looked at.

    `standing` is that of the image in its rollback slot; `rollout` the one that asks.
    """
    planned = Planned(Operation.ROLLBACK, rollout=rollout, standing=standing or ImageStanding())
    findings = judge(truth, planned, limits)
    booted = truth.status.booted if truth.status else None
    back = truth.status.rollback if truth.status else None
    refused = any(one.severity is Severity.REFUSE for one in findings)
    return RollbackPreview(truth.host, booted, None if refused else back, findings)


def _slot(entry: BootEntry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {"image": entry.reference, "digest": entry.digest, "version": entry.version}
