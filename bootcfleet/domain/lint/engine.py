"""Runs every rule over one image, and takes out what is suppressed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bootcfleet.domain.lint.catalogue import ABOUT_SUPPRESSIONS, RULES
from bootcfleet.domain.lint.model import CONTAINERFILE, Finding, Rule, Subject
from bootcfleet.domain.lint.report import LintReport
from bootcfleet.domain.lint.suppress import Suppression, apply, suppressions


def lint(
    subject: Subject, *, further: Iterable[Finding] = (), notes: Iterable[str] = ()
) -> LintReport:
    """Every finding about an image, by file and line; `further` are those of another linter."""
    found: list[Finding] = []
    for rule, check in RULES.values():
        for at in check(subject):
            found.append(finding_of(rule, at.file, at.line, at.message))
    return report_of(subject.image, found, suppressions(subject), RULES, further, notes)


def report_of(
    name: str,
    found: Iterable[Finding],
    comments: Sequence[Suppression],
    known: Collection[str],
    further: Iterable[Finding] = (),
    notes: Iterable[str] = (),
) -> LintReport:
    """The findings of rules, in order, without what comments suppress.

    `known` are the ids of all rules; `further` findings cannot be suppressed.
    """
    unique = tuple(dict.fromkeys(found))
    left, suppressed, unused = apply(unique, comments)
    complaints = _about(comments, unused, known)
    order = sorted(
        {*left, *complaints, *further},
        key=lambda one: (one.file != CONTAINERFILE, one.file, one.line, one.rule, one.message),
    )
    reasons = {finding: comment.reason for finding, comment in suppressed.items()}
    return LintReport(name, tuple(order), reasons, tuple(notes))


def finding_of(rule: Rule, file: str, line: int, message: str) -> Finding:
    """A finding of a rule.  Its remedy is the rule's."""
    return Finding(rule.id, rule.severity, message, file, line, rule.remedy)


def _about(
    comments: Iterable[Suppression], unused: Iterable[Suppression], known: Collection[str]
) -> Iterable[Finding]:
    no_reason, nothing, unknown = ABOUT_SUPPRESSIONS
    left = set(unused)
    for one in comments:
        if not one.reason:
            yield finding_of(no_reason, one.file, one.line, f"ignore={one.id} gives no reason")
        if one.id not in known:
            yield finding_of(unknown, one.file, one.line, f"there is no rule {one.id}")
        elif one in left:
            message = f"ignore={one.id} suppresses nothing here"
            yield finding_of(nothing, one.file, one.line, message)
