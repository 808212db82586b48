"""Which of two RPM versions is newer, as rpm decides: epoch, version, release, tilde and caret.

Source: rpm-version(7) and rpm's own ``rpmvercmp``; the tests ask the real one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

#: What separates segments: everything but ASCII letters and digits, tilde and caret.
_BETWEEN = re.compile(r"[^A-Za-z0-9~^]+")
#: What ends a segment of one kind.
_DIGITS = re.compile(r"[^0-9]")
_LETTERS = re.compile(r"[^A-Za-z]")


@total_ordering
@dataclass(frozen=True)
class Evr:
    """Epoch, version and release of a package; ordered as rpm orders them.

    Two that rpm takes for the same (1.0 and 1.00) are neither older nor newer, and
    yet not equal: they are other packages.
    """

    epoch: int
    version: str
    release: str

    def __str__(self) -> str:
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{epoch}{self.version}-{self.release}"

    def compare(self, other: Evr) -> int:
        """-1 when this is older than `other`, 1 when it is newer, 0 when rpm sees no difference."""
        if self.epoch != other.epoch:
            return 1 if self.epoch > other.epoch else -1
        return compare_versions(self.version, other.version) or compare_versions(
            self.release, other.release
        )

    def __lt__(self, other: Evr) -> bool:
        texts = (self.version, self.release) < (other.version, other.release)
        order = self.compare(other)
        return order < 0 or (order == 0 and texts)


def compare_versions(one: str, two: str) -> int:
    """-1, 0 or 1, as rpm compares two versions or two releases."""
    if one == two:
        return 0
    while one or two:
        one, two = _skip(one), _skip(two)
        for mark in "~^":
            if one[:1] == mark or two[:1] == mark:
                break
        else:
            mark = ""
        if mark:
            decided = _marked(mark, one, two)
            if decided:
                return decided
            one, two = one[1:], two[1:]
            continue
        if not (one and two):
            break
        decided, one, two = _segment(one, two)
        if decided:
            return decided
    return (one > "") - (two > "")


def _skip(text: str) -> str:
    found = _BETWEEN.match(text)
    return text[found.end() :] if found else text


def _marked(mark: str, one: str, two: str) -> int:
    """A tilde is older than anything, also than the end; a caret newer than the end alone."""
    if mark == "~":
        return (two[:1] == mark) - (one[:1] == mark)
    if not one or not two:
        return (one > "") - (two > "")
    return (two[:1] == mark) - (one[:1] == mark)


def _segment(one: str, two: str) -> tuple[int, str, str]:
    """Compare the first segments, and what is left of both."""
    numeric = one[0] in "0123456789"
    kind = _DIGITS if numeric else _LETTERS
    left, right = kind.split(one, 1)[0], kind.split(two, 1)[0]
    after, behind = one[len(left) :], two[len(right) :]
    if not right:
        # A number is newer than letters.
        return (1 if numeric else -1), "", ""
    if numeric:
        # Not as int(): the length of a version is nobody's business but its author's.
        left, right = left.lstrip("0"), right.lstrip("0")
        if len(left) != len(right):
            return (1 if len(left) > len(right) else -1), "", ""
    return (left > right) - (left < right), after, behind
