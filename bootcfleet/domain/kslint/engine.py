"""Runs every rule over one kickstart, and takes out what is suppressed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bootcfleet.domain.kslint import disks, machine, payload, scripts
from bootcfleet.domain.kslint.model import KickstartSubject
from bootcfleet.domain.lint.catalogue import ABOUT_SUPPRESSIONS, rows
from bootcfleet.domain.lint.engine import finding_of, report_of
from bootcfleet.domain.lint.model import At, Finding, Rule, Severity
from bootcfleet.domain.lint.report import LintReport
from bootcfleet.domain.lint.suppress import Suppression, suppressed_ids

#: What Anaconda's own parser says; it is asked by a driver.
SYNTAX = Rule(
    "BKS001",
    Severity.ERROR,
    "not a kickstart of this release",
    "Anaconda reads kickstarts with this very parser, and stops",
    "pykickstart",
    "correct the line; the message is pykickstart's",
)
OUTDATED = Rule(
    "BKS002",
    Severity.WARNING,
    "outdated",
    "a later release refuses it",
    "pykickstart",
    "do what the message says; it is pykickstart's",
)

_THEMES = (
    ("The image", payload.RULES),
    ("Disks and boot loader", disks.RULES),
    ("The machine", machine.RULES),
    ("Scripts", scripts.RULES),
)

KICKSTART_RULES: dict[str, tuple[Rule, Callable[[KickstartSubject], Iterable[At]]]] = {
    id: entry for _, rules in _THEMES for id, entry in sorted(rules.rules.items())
}


def every_kickstart_rule() -> tuple[Rule, ...]:
    """All rules in the order of their ids, and those about suppressions."""
    own = (rule for rule, _ in KICKSTART_RULES.values())
    return (SYNTAX, OUTDATED, *own, *ABOUT_SUPPRESSIONS)


def kickstart_table() -> str:
    """The rules as Markdown, by theme; docs/kickstarts.md has it."""
    lines = ["### Syntax", "", *rows((SYNTAX, OUTDATED)), ""]
    for title, rules in _THEMES:
        lines += [f"### {title}", "", *rows(rule for rule, _ in rules.rules.values()), ""]
    return "\n".join(lines)


def lint_kickstart(
    subject: KickstartSubject,
    *,
    syntax: Iterable[tuple[Rule, At]] = (),
    notes: Iterable[str] = (),
) -> LintReport:
    """Every finding about a kickstart; `syntax` is what pykickstart said."""
    found = [_finding(subject, rule, at) for rule, at in syntax]
    for rule, check in KICKSTART_RULES.values():
        found += [_finding(subject, rule, at) for at in check(subject)]
    known = {SYNTAX.id, OUTDATED.id, *KICKSTART_RULES}
    return report_of(subject.name, found, _suppressions(subject), known, notes=notes)


def _finding(subject: KickstartSubject, rule: Rule, at: At) -> Finding:
    return finding_of(rule, subject.name, at.line, at.message)


def _suppressions(subject: KickstartSubject) -> tuple[Suppression, ...]:
    """Every suppression: of its own line, of the next command or section, or of the whole file.

    Inside of a script it covers its own line or, alone on a line, the next one. What is
    missing is reported on the last line, so a comment there (or at the top) covers it.
    """
    parsed = subject.parsed
    found = []
    for number, comment in sorted(parsed.comments.items()):
        for id_, reason in suppressed_ids(comment):
            lines = _covered(subject, number)
            found.append(Suppression(id_, reason, subject.name, number, lines))
    return tuple(found)


def _covered(subject: KickstartSubject, number: int) -> tuple[int, int] | None:
    parsed = subject.parsed
    lines = subject.text.split("\n")
    for section in parsed.sections:
        if section.head.line < number <= section.last:
            alone = lines[number - 1].lstrip().startswith("#")
            return (number, number + 1) if alone else (number, number)
    starts = [(one.line, one.line) for one in (*parsed.commands, *parsed.includes)]
    starts += [(one.head.line, one.last) for one in parsed.sections]
    first = min((start for start, _ in starts), default=None)
    if first is None or number < first:
        return None
    after = sorted(place for place in starts if place[1] >= number)
    return after[0] if after else (number, max(number, parsed.last_line))
