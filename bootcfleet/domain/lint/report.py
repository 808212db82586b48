"""What a lint found in one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.lint.model import Finding, Severity


@dataclass(frozen=True)
class LintReport:
    """What was found in one image.

    `suppressed` are the findings that a comment takes out, with its reason;
    `notes` say what was not looked at, such as hadolint when it is not installed.
    """

    image: str
    findings: tuple[Finding, ...] = ()
    suppressed: Mapping[Finding, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def count(self, severity: Severity) -> int:
        """How many findings there are of one severity."""
        return sum(1 for one in self.findings if one.severity is severity)

    def ok(self, *, strict: bool = False) -> bool:
        """Whether there is no error, and with `strict` no warning."""
        return not self.count(Severity.ERROR) and not (strict and self.count(Severity.WARNING))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "image": self.image,
            "ok": self.ok(),
            **{f"{one.value}s": self.count(one) for one in (Severity.ERROR, Severity.WARNING)},
            "info": self.count(Severity.INFO),
            "findings": [one.to_json() for one in self.findings],
            "suppressed": [
                {**one.to_json(), "reason": reason} for one, reason in self.suppressed.items()
            ],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Place:
    """Where a finding is in the sources: a URI, relative to the project with `in_project`."""

    uri: str
    line: int | None
    in_project: bool
