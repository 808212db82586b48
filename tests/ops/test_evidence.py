"""Evidence in a real ledger: the newest of its kind about one digest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.ops.evidence import latest_by_digest, latest_evidence

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ONE, OTHER = ("sha256:" + digit * 64 for digit in "12")


def test_the_newest_counts(tmp_path: Path) -> None:
    ledger = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    for minute, (action, digest, outcome) in enumerate(
        [
            ("image.check", ONE, "passed"),
            ("image.check", ONE, "failed"),
            ("image.check", OTHER, "passed"),
            ("image.lint", ONE, "passed"),
            ("image.check", "sha256:" + "3" * 64, "as a newer version says"),
        ]
    ):
        ledger.record(
            action, "web", outcome, actor="me", now=NOW + timedelta(minutes=minute),
            digests={"image": digest}, details={"n": minute},
        )  # fmt: skip
    # What stood on it is no evidence about it.
    ledger.record(
        "image.check", "shop", "passed", actor="me", now=NOW,
        digests={"image": OTHER[:-1] + "f", "base": ONE},
    )  # fmt: skip
    found = latest_evidence(ledger, EvidenceKind.CHECK, ONE)
    assert found is not None
    assert (found.outcome, found.details["n"]) == (EvidenceOutcome.FAILED, 1)
    assert found.at == NOW + timedelta(minutes=1)
    assert latest_evidence(ledger, EvidenceKind.LINT, OTHER) is None
    unknown = latest_evidence(ledger, EvidenceKind.CHECK, "sha256:" + "3" * 64)
    assert unknown is not None
    assert unknown.outcome is EvidenceOutcome.SKIPPED
    every = latest_by_digest(ledger, EvidenceKind.CHECK)
    assert every[ONE] == found
    assert len(every) == 4
