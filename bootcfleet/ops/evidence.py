"""Evidence about images in the ledger: written once an examination has ended, read by gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.evidence import Evidence, EvidenceKind, EvidenceOutcome
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.ops.audit import Record


def record_evidence(
    record: Record,
    kind: EvidenceKind,
    image: str,
    digest: str,
    outcome: EvidenceOutcome,
    details: Mapping[str, Any],
) -> None:
    """Write down how an examination of `digest` ended.  Raises `FleetError`."""
    record(kind.value, image, outcome.value, digests={"image": digest}, details=details)


def latest_evidence(ledger: Ledger, kind: EvidenceKind, digest: str) -> Evidence | None:
    """The newest evidence of its kind about a digest, or None.  Raises `FleetError`."""
    for entry in reversed(ledger.entries(action=kind.value, digest=digest)):
        if entry.action == kind.value and entry.digests.get("image") == digest:
            return _evidence(kind, entry)
    return None


def latest_by_digest(ledger: Ledger, kind: EvidenceKind) -> dict[str, Evidence]:
    """The newest evidence of its kind about every digest, in one look.  Raises `FleetError`."""
    found: dict[str, Evidence] = {}
    for entry in ledger.entries(action=kind.value):
        if entry.action == kind.value and "image" in entry.digests:
            found[entry.digests["image"]] = _evidence(kind, entry)
    return found


def _evidence(kind: EvidenceKind, entry: AuditEntry) -> Evidence:
    try:
        outcome = EvidenceOutcome(entry.outcome)
    except ValueError:
        # Of a newer version: what is not understood proves nothing.
        outcome = EvidenceOutcome.SKIPPED
    return Evidence(
        kind, entry.subject, entry.digests["image"], outcome, entry.at, dict(entry.details)
    )
