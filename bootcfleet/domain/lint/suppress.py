"""``# bootcfleet: ignore=ID[,ID] reason``: findings that somebody has decided to live with.

Before an instruction (or between its lines) a suppression is about that
instruction and about the context files that it copies; before the first
instruction about the whole Containerfile; in a context file about that file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bootcfleet.domain.containerfile import Containerfile
from bootcfleet.domain.lint.model import CONTAINERFILE, Finding, Subject, decoded

_COMMENT = re.compile(
    r"(?:^|\s)(?:#|;|//|<!--|\{\{?[#!]|--)\s*bootcfleet:\s*ignore=(\S+)[ \t]*(.*?)\s*(?:-->)?\s*$"
)


@dataclass(frozen=True)
class Suppression:
    """One id of one comment; `lines` of `file` are covered (None: all), and all of `files`."""

    id: str
    reason: str
    file: str
    line: int
    lines: tuple[int, int] | None = None
    files: frozenset[str] = frozenset()

    def covers(self, finding: Finding) -> bool:
        """Whether it is about this finding."""
        if finding.rule != self.id:
            return False
        if finding.file != self.file:
            return finding.file in self.files
        return self.lines is None or self.lines[0] <= finding.line <= self.lines[1]


def suppressions(subject: Subject) -> tuple[Suppression, ...]:
    """Every suppression in the Containerfile and in the text files of the context."""
    found = list(_in_containerfile(subject))
    for path, file in subject.files.items():
        if b"bootcfleet:" in file.data:
            for number, line in enumerate((decoded(file) or "").split("\n"), 1):
                found += [Suppression(i, r, path, number) for i, r in suppressed_ids(line)]
    return tuple(found)


def suppressed_ids(line: str) -> list[tuple[str, str]]:
    """The ids that a line's comment suppresses, each with the reason."""
    match = _COMMENT.search(line)
    if match is None:
        return []
    return [(one, match[2]) for one in match[1].split(",") if one]


def _in_containerfile(subject: Subject) -> Iterable[Suppression]:
    parsed = subject.containerfile
    copied: dict[int, set[str]] = {}
    for file in subject.placed:
        copied.setdefault(file.line, set()).add(file.source)
    for number, comment in sorted(parsed.comments.items()):
        for id_, reason in suppressed_ids(comment):
            lines = _instruction_lines(parsed, number)
            files = frozenset(copied.get(lines[0], ())) if lines else frozenset()
            yield Suppression(id_, reason, CONTAINERFILE, number, lines, files)


def _instruction_lines(parsed: Containerfile, comment: int) -> tuple[int, int] | None:
    """The lines of the instruction that a comment is about; None for the whole file."""
    if not parsed.instructions or comment < parsed.instructions[0].line:
        return None
    for one in parsed.instructions:
        if comment <= one.end:
            return one.line, one.end
    return comment, comment


def apply(
    findings: Sequence[Finding], found: Sequence[Suppression]
) -> tuple[tuple[Finding, ...], Mapping[Finding, Suppression], tuple[Suppression, ...]]:
    """What is left, what is suppressed by which comment, and the comments that suppress nothing."""
    suppressed: dict[Finding, Suppression] = {}
    used: set[Suppression] = set()
    for finding in findings:
        for one in found:
            if one.covers(finding):
                suppressed.setdefault(finding, one)
                used.add(one)
    left = tuple(one for one in findings if one not in suppressed)
    return left, suppressed, tuple(one for one in found if one not in used)
