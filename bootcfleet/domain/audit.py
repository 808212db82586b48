"""Entries of the ledger, and the chain of hashes that holds them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

#: What the first entry's `previous` is.
GENESIS = "0" * 64


@dataclass(frozen=True)
class AuditEntry:
    """Who did what, when, to which digests, and how it ended.

    `hash` covers every other field and the hash of the entry before, so that a
    changed, removed or inserted entry breaks the chain from there on.
    """

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    outcome: str
    git_commit: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    previous: str = GENESIS
    hash: str = ""

    def sealed(self) -> AuditEntry:
        """The entry with its hash."""
        return replace(self, hash=self.digest())

    def digest(self) -> str:
        """SHA-256 over the entry's canonical JSON (sorted keys, no spaces, UTC)."""
        body = self.to_json()
        del body["hash"]
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object; the keys are stable."""
        return {
            "number": self.number,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "outcome": self.outcome,
            "git_commit": self.git_commit,
            "digests": dict(self.digests),
            "details": dict(self.details),
            "previous": self.previous,
            "hash": self.hash,
        }


@dataclass(frozen=True)
class ChainReport:
    """What a walk along the chain found.

    `entries` is how many hold, from the first one on; `last` the hash of the last of
    them; `broken` says why the chain does not hold, or is None.
    """

    entries: int = 0
    last: str | None = None
    broken: str | None = None


def check_chain(entries: Iterable[AuditEntry], *, noted: str | None = None) -> ChainReport:
    """Walk along the chain, given from its first entry on.

    A chain cannot say by itself that its newest entries were removed, or that all of
    it was written anew.  `noted` can: a hash that somebody kept, and that an entry must have.
    """
    report = ChainReport()
    met = noted is None
    for entry in entries:
        number = report.entries + 1
        broken = None
        if entry.number != number:
            broken = f"entry {number} is missing: entry {entry.number} stands in its place"
        elif entry.previous != (report.last or GENESIS):
            broken = f"entry {number} does not follow the entry before it"
        elif entry.digest() != entry.hash:
            broken = f"entry {number} was changed after it was written"
        if broken:
            return replace(report, broken=broken)
        report = ChainReport(number, entry.hash)
        met = met or entry.hash == noted
    if met:
        return report
    return replace(
        report,
        broken=f"no entry has the hash {noted}: entries after entry {report.entries} were removed, "
        "or the chain was written anew",
    )


def verify_chain(entries: Iterable[AuditEntry]) -> str | None:
    """Why the chain is broken, naming the first entry that is; None when it holds."""
    return check_chain(entries).broken
