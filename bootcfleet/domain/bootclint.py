"""What `bootc container lint` said, and which of its warnings are new.

Base images warn themselves (bootc#1546: /root/buildinfo), so that
``--fatal-warnings`` fails every child for what only the base can mend.  A
warning counts when the parent does not have it.

The output is for people and no stable format.  Read is what bootc 1.x prints
(crates/lib/src/lints.rs): ``Lint warning: NAME: TEXT`` and ``Failed lint: NAME:
TEXT``, further lines of the text, indented items, ``...and N more``, and at the
end ``Checks passed: N``, without which nothing was checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_BEGIN = re.compile(
    r"(?P<kind>Lint warning|Failed lint|Lint failed): (?P<name>[a-z0-9-]+):\s*(?P<text>.*)"
)
_END = re.compile(r"(Checks (passed|skipped|failed)|Warnings|error): ?")
_MORE = re.compile(r"\.\.\.and \d+ more|\(and \d+ more\)")


class BootcLintPolicy(StrEnum):
    """Which warnings of `bootc container lint` fail an image; its errors always do."""

    NEW = "new"
    ALL = "all"
    ERRORS = "errors"


@dataclass(frozen=True)
class BootcFinding:
    """One thing that a lint of bootc names: the lint, what it says, and the item (may be empty)."""

    lint: str
    text: str
    item: str = ""

    def __str__(self) -> str:
        return f"{self.lint}: {self.text} {self.item}".rstrip()


@dataclass(frozen=True)
class BootcLint:
    """One run of `bootc container lint`; `cut` are lints that did not name everything."""

    warnings: tuple[BootcFinding, ...] = ()
    errors: tuple[BootcFinding, ...] = ()
    cut: frozenset[str] = frozenset()

    def without(self, lints: Iterable[str]) -> BootcLint:
        """The same without some lints."""
        left_out = set(lints)
        warnings = tuple(one for one in self.warnings if one.lint not in left_out)
        errors = tuple(one for one in self.errors if one.lint not in left_out)
        return BootcLint(warnings, errors, self.cut - left_out)


def parse_bootc_lint(output: str) -> BootcLint | None:
    """Read the output; None when it is not that of a finished run."""
    warnings: list[BootcFinding] = []
    errors: list[BootcFinding] = []
    cut: set[str] = set()
    finished = False
    name, text, into = "", "", warnings
    for line in output.splitlines():
        begin = _BEGIN.fullmatch(line.rstrip())
        if begin is not None:
            name, into = begin["name"], warnings if begin["kind"] == "Lint warning" else errors
            text = ""
            line = begin["text"]
        elif _END.match(line):
            finished = finished or line.startswith("Checks passed:")
            name = ""
        if not name:
            continue
        if _MORE.search(line):
            cut.add(name)
            line = _MORE.sub("", line)
        if line.startswith("  ") and begin is None:
            # An item takes the place of the bare sentence above it.
            if into and into[-1] == BootcFinding(name, text):
                into.pop()
            into.append(BootcFinding(name, text, line.strip()))
        elif line.strip() or begin is not None:
            text = line.strip().rstrip(":")
            into.append(BootcFinding(name, text))
    return BootcLint(tuple(warnings), tuple(errors), frozenset(cut)) if finished else None


def new_warnings(child: BootcLint, parent: BootcLint) -> tuple[BootcFinding, ...]:
    """The warnings of a child that its parent does not have.

    Item by item, as far as both named all of them; else by the name of the lint.
    """
    cut = child.cut | parent.cut
    names = {one.lint for one in parent.warnings}
    known = set(parent.warnings)
    return tuple(
        one
        for one in child.warnings
        if (one.lint not in names if one.lint in cut else one not in known)
    )
