"""Conditions on the versions of RPM packages, such as ``>= 1.26, < 2``."""

from __future__ import annotations

import re
from collections.abc import Callable

from bootcfleet.domain.evr import compare_versions

_CONDITION = re.compile(r"(>=|<=|==|=|!=|>|<)\s*([^\s,<>=!]+)")

_OPERATORS: dict[str, Callable[[int], bool]] = {
    ">=": lambda order: order >= 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    "==": lambda order: order == 0,
    "!=": lambda order: order != 0,
    ">": lambda order: order > 0,
    "<": lambda order: order < 0,
}


def split(evr: str) -> tuple[int, str, str]:
    """Epoch, version and release of ``[EPOCH:]VERSION[-RELEASE]``; no release is empty."""
    epoch, colon, rest = evr.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", evr
    version, _, release = rest.partition("-")
    return int(epoch), version, release


def compare(left: str, right: str) -> int:
    """-1, 0 or 1: the order of two ``[EPOCH:]VERSION[-RELEASE]``.

    A side without a release is like every release, as in an RPM dependency.
    """
    a, b = split(left), split(right)
    if a[0] != b[0]:
        return 1 if a[0] > b[0] else -1
    if order := compare_versions(a[1], b[1]):
        return order
    return compare_versions(a[2], b[2]) if a[2] and b[2] else 0


def parse_constraint(text: str) -> tuple[tuple[str, str], ...]:
    """The conditions of ``>= 1.26, < 2``; a bare version means equality.

    Raises `ValueError` that says what is allowed.
    """
    found = []
    for part in text.split(","):
        word = part.strip()
        match = _CONDITION.fullmatch(word)
        if match:
            found.append((match[1], match[2]))
        elif re.fullmatch(r"[^\s,<>=!]+", word):
            found.append(("=", word))
        else:
            raise ValueError(f'{word!r} is no condition on a version; for example ">= 1.26, < 2"')
    return tuple(found)


def satisfies(evr: str, constraint: str) -> bool:
    """Whether a version fulfils every condition.

    A condition without an epoch is compared without one: nobody knows them by heart.
    """
    for operator, wanted in parse_constraint(constraint):
        own = evr if re.match(r"\d+:", wanted) else evr.partition(":")[2] or evr
        if not _OPERATORS[operator](compare(own, wanted)):
            return False
    return True
