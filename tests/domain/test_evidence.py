"""When proof about a digest is green: there, passed, fresh; and what is said when it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bootcfleet.domain.evidence import Evidence, EvidenceKind, EvidenceOutcome, judge
from bootcfleet.domain.gate import GateResult, span

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PASSED, FAILED, SKIPPED = EvidenceOutcome


def proof(outcome: EvidenceOutcome, age: timedelta = timedelta(hours=1)) -> Evidence:
    return Evidence(EvidenceKind.CHECK, "web", "sha256:" + "1" * 64, outcome, NOW - age)


@pytest.mark.parametrize(
    ("evidence", "max_age", "ok", "message"),
    [
        (None, None, False, "check was never run on this digest"),
        (proof(FAILED), None, False, "check failed at 2026-11-21T11:00:00Z"),
        (proof(SKIPPED), None, False, "check was skipped"),
        (proof(PASSED), None, True, "check passed at 2026-11-21T11:00:00Z"),
        (proof(PASSED), timedelta(hours=1), True, "check passed at 2026-11-21T11:00:00Z"),
        (
            proof(PASSED, timedelta(days=8, hours=2, minutes=5)),
            timedelta(days=7),
            False,
            "check is stale: passed 8 d 2 h ago, at most 7 d",
        ),
        (proof(FAILED, timedelta(days=8)), timedelta(days=7), False,
         "check failed at 2026-11-13T12:00:00Z"),
    ],
)  # fmt: skip
def test_judge(
    evidence: Evidence | None, max_age: timedelta | None, ok: bool, message: str
) -> None:
    found = judge(EvidenceKind.CHECK, evidence, NOW, max_age, image="web")
    hint = None if ok else "bootcfleet image check web"
    assert found == GateResult("check", ok, message, hint)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(minutes=1), "1 min"),
        (timedelta(hours=24), "1 d"),
        (timedelta(days=1, seconds=7), "1 d 7 s"),
    ],
)
def test_spans(length: timedelta, text: str) -> None:
    assert span(length) == text
