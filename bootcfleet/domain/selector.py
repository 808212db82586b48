"""Selectors: ``role=web,site!=ams``, groups, and host names or globs."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, assert_never

from bootcfleet.domain.inventory import Host
from bootcfleet.errors import UsageError


class Operator(StrEnum):
    """How a label is compared."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(frozen=True)
class Term:
    """One condition on one label.  A host without the label satisfies ``!=`` and ``notin``."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, host: Host) -> bool:
        """Whether the host's labels satisfy it."""
        value = host.labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case _ as never:
                assert_never(never)


_KEY = r"[A-Za-z0-9_][A-Za-z0-9._/-]*"
_VALUE = r"[A-Za-z0-9._:@/+~ -]*"
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!\s*{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:(?P<op>==|!=|=)\s*(?P<value>{_VALUE})"
    rf"|(?P<set>\s(?:in|notin))\s*\(\s*(?P<values>[^()]*)\))?)\s*"
)


@dataclass(frozen=True)
class Selector:
    """Every term must hold; the host must be in every group and match one of the patterns."""

    terms: tuple[Term, ...] = ()
    groups: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls, labels: Sequence[str] = (), groups: Sequence[str] = (), patterns: Sequence[str] = ()
    ) -> Self:
        """Read selectors as they stand on a command line.  Raises `UsageError`."""
        terms = [term for text in labels for term in _terms(text)]
        return cls(tuple(terms), tuple(groups), tuple(patterns))

    def matches(self, host: Host) -> bool:
        """Whether the selector chooses this host."""
        return (
            all(term.matches(host) for term in self.terms)
            and all(group in host.groups or group == "all" for group in self.groups)
            and (
                not self.patterns
                or any(fnmatch.fnmatchcase(host.name, pattern) for pattern in self.patterns)
            )
        )

    def __str__(self) -> str:
        parts = [_term_text(term) for term in self.terms]
        parts += [f"group {group}" for group in self.groups]
        parts += list(self.patterns)
        return ", ".join(parts) or "all hosts"


def _terms(text: str) -> list[Term]:
    found = []
    for part in _split(text):
        match = _TERM.fullmatch(part)
        if match is None:
            raise UsageError(
                f"{part.strip()!r} in the selector {text!r} is not a condition",
                hint="write role=web, site!=ams, role in (web,db), role notin (web,db), gpu or "
                "!gpu, joined by commas",
            )
        found.append(_term(match))
    return found


def _term(match: re.Match[str]) -> Term:
    if match["absent"]:
        return Term(match["absent"][1:].strip(), Operator.ABSENT)
    key = match["key"]
    if match["op"]:
        operator = Operator.NOT_IN if match["op"] == "!=" else Operator.IN
        return Term(key, operator, frozenset({match["value"].strip()}))
    if match["set"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Term(key, Operator(match["set"].strip()), values)
    return Term(key, Operator.EXISTS)


def _split(text: str) -> list[str]:
    """At the commas that are not inside parentheses."""
    return re.split(r",(?![^()]*\))", text)


def _term_text(term: Term) -> str:
    values = ",".join(sorted(term.values))
    match term.operator:
        case Operator.IN:
            return f"{term.key} in ({values})" if len(term.values) > 1 else f"{term.key}={values}"
        case Operator.NOT_IN:
            many = len(term.values) > 1
            return f"{term.key} notin ({values})" if many else f"{term.key}!={values}"
        case Operator.EXISTS:
            return term.key
        case Operator.ABSENT:
            return f"!{term.key}"
        case _ as never:
            assert_never(never)
