"""Runs every rule over one image, and takes out what is suppressed."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.lint.catalogue import ABOUT_SUPPRESSIONS, RULES
from bootcfleet.domain.lint.model import Finding, Rule, Subject
from bootcfleet.domain.lint.report import LintReport
from bootcfleet.domain.lint.suppress import Suppression, apply, suppressions


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
