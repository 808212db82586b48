"""Runs every rule over one image, and takes out what is suppressed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.lint.catalogue import ABOUT_SUPPRESSIONS, RULES
from bootcfleet.domain.lint.model import Finding, Rule, Severity, Subject
from bootcfleet.domain.lint.suppress import Suppression, apply, suppressions


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


def lint(
    subject: Subject, *, further: Iterable[Finding] = (), notes: Iterable[str] = ()
) -> LintReport:
    """Every finding about an image, by file and line; `further` are those of another linter."""
    found: list[Finding] = []
    for rule, check in RULES.values():
        for at in check(subject):
            found.append(_finding(rule, at.file, at.line, at.message))
    unique = tuple(dict.fromkeys(found))
    comments = suppressions(subject)
    left, suppressed, unused = apply(unique, comments)
    complaints = _about(comments, unused)
    order = sorted(
        {*left, *complaints, *further},
        key=lambda one: (one.file != "Containerfile", one.file, one.line, one.rule, one.message),
    )
    reasons = {finding: comment.reason for finding, comment in suppressed.items()}
    return LintReport(subject.image, tuple(order), reasons, tuple(notes))


def _finding(rule: Rule, file: str, line: int, message: str) -> Finding:
    return Finding(rule.id, rule.severity, message, file, line, rule.remedy)


def _about(comments: Iterable[Suppression], unused: Iterable[Suppression]) -> Iterable[Finding]:
    no_reason, nothing, unknown = ABOUT_SUPPRESSIONS
    left = set(unused)
    for one in comments:
        if not one.reason:
            yield _finding(no_reason, one.file, one.line, f"ignore={one.id} gives no reason")
        if one.id not in RULES:
            yield _finding(unknown, one.file, one.line, f"there is no rule {one.id}")
        elif one in left:
            message = f"ignore={one.id} suppresses nothing here"
            yield _finding(nothing, one.file, one.line, message)
