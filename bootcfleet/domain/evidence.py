"""Proof about an image: which examination, of which digest, when, and how it ended.

An image that was never examined is not green, nor one whose examination was
skipped, nor one that was examined too long ago.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from bootcfleet.domain.gate import GateResult, span


class EvidenceKind(StrEnum):
    """What was examined; the value is the action of its entry in the ledger."""

    CHECK = "image.check"
    LINT = "image.lint"
    SIGN = "image.sign"
    SBOM = "image.sbom"

    @property
    def gate(self) -> str:
        """The gate's name: the command's last word."""
        return self.value.rpartition(".")[2]

    @property
    def command(self) -> str:
        """What makes such evidence."""
        # A document that nobody can find proves nothing.
        attach = " --attach" if self is EvidenceKind.SBOM else ""
        return f"bootcfleet {self.value.replace('.', ' ')}{attach}"


class EvidenceOutcome(StrEnum):
    """How an examination ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Evidence:
    """One examination of one digest; `at` is aware, `details` JSON-ready."""

    kind: EvidenceKind
    image: str
    digest: str
    outcome: EvidenceOutcome
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)


def judge(
    kind: EvidenceKind,
    evidence: Evidence | None,
    now: datetime,
    max_age: timedelta | None = None,
    *,
    image: str = "",
) -> GateResult:
    """Whether evidence is green: there, passed, and not older than `max_age` (None: any age)."""
    hint = f"{kind.command} {image}".rstrip()
    if evidence is None:
        return GateResult(kind.gate, False, f"{kind.gate} was never run on this digest", hint)
    match evidence.outcome:
        case EvidenceOutcome.FAILED:
            return GateResult(kind.gate, False, f"{kind.gate} failed at {_time(evidence.at)}", hint)
        case EvidenceOutcome.SKIPPED:
            return GateResult(kind.gate, False, f"{kind.gate} was skipped", hint)
        case EvidenceOutcome.PASSED:
            age = now - evidence.at
            if max_age is not None and age > max_age:
                message = f"{kind.gate} is stale: passed {span(age)} ago, at most {span(max_age)}"
                return GateResult(kind.gate, False, message, hint)
            return GateResult(kind.gate, True, f"{kind.gate} passed at {_time(evidence.at)}")
        case _:
            assert_never(evidence.outcome)


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
