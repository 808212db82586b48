"""Images that must not be used any more, and all that stands on them.

A revocation counts until the same digest is restored.  What was built on a revoked image
is revoked with it: a fix in the base is a new base, and the child is built again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.lineage import Lineage, base_digest

#: Actions of the ledger.
REVOKE, RESTORE = "image.revoke", "image.restore"
#: A revocation that is attached to the image in its registry.
ARTIFACT_TYPE = "application/vnd.bootcfleet.revocation.v1+json"


@dataclass(frozen=True)
class Revoked:
    """A revocation.  `asked` is the digest that it was looked up for, which may stand on `digest`.

    `at` is aware; `source` is ``ledger`` or ``registry``.
    """

    digest: str
    name: str
    reason: str
    at: datetime
    actor: str
    source: str = "ledger"
    asked: str = ""

    @property
    def inherited(self) -> bool:
        """Whether not the image itself was revoked, but one that it stands on."""
        return bool(self.asked) and self.asked != self.digest

    @property
    def message(self) -> str:
        """Who revoked it when and why, as a sentence."""
        what = f"{self.name or 'the image'} {_short(self.digest)}"
        if self.inherited:
            what = f"it stands on {what}, which"
        when = self.at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return f"{what} was revoked at {when} by {self.actor}: {self.reason}"

    @property
    def hint(self) -> str:
        """What to run next."""
        if self.inherited:
            return f"build it again on another base, or: bootcfleet image restore {self.digest}"
        return f"use another build, or: bootcfleet image restore {self.digest} --reason …"

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "digest": self.digest,
            "name": self.name,
            "reason": self.reason,
            "at": self.at.isoformat(),
            "actor": self.actor,
            "source": self.source,
            "inherited": self.inherited,
        }


@dataclass(frozen=True)
class Notice:
    """What an artifact in a registry says: that a digest is revoked, or is so no longer."""

    revoked: bool
    digest: str
    name: str
    reason: str
    at: datetime
    actor: str

    def to_bytes(self) -> bytes:
        """The artifact's document."""
        body = {
            "version": 1,
            "state": "revoked" if self.revoked else "restored",
            "digest": self.digest,
            "name": self.name,
            "reason": self.reason,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": self.actor,
        }
        return json.dumps(body, sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def parse(cls, raw: bytes) -> Notice | None:
        """Read a document; None for one that cannot be understood."""
        try:
            body = json.loads(raw)
            at = datetime.fromisoformat(body["at"])
            texts = [body[key] for key in ("digest", "name", "reason", "actor")]
            if not all(isinstance(text, str) for text in texts) or at.tzinfo is None:
                return None
            if body["state"] not in {"revoked", "restored"}:
                return None
            return cls(body["state"] == "revoked", texts[0], texts[1], texts[2], at, texts[3])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


@dataclass(frozen=True)
class Revocations:
    """Every digest that is revoked now."""

    by_digest: Mapping[str, Revoked]
    #: When the ledger restored a digest: older notices in a registry count no more.
    restored: Mapping[str, datetime]

    @classmethod
    def of(cls, entries: Iterable[AuditEntry]) -> Revocations:
        """What revocations and restorations come to, given in any order."""
        found: dict[str, Revoked] = {}
        restored: dict[str, datetime] = {}
        for entry in sorted(entries, key=lambda one: one.number):
            digests = [entry.digests.get("image", "")]
            platforms = entry.details.get("platforms")
            digests += platforms if isinstance(platforms, list) else []
            reason = str(entry.details.get("reason", ""))
            for digest in digests:
                if base_digest(str(digest)) is None:
                    continue
                if entry.action == REVOKE and entry.outcome == "revoked":
                    found[digest] = Revoked(
                        entry.digests["image"], entry.subject, reason, entry.at, entry.actor
                    )
                    restored.pop(digest, None)
                elif entry.action == RESTORE and entry.outcome == "restored":
                    found.pop(digest, None)
                    restored[digest] = entry.at
        return cls(found, restored)

    def noticed(self, notices: Iterable[Notice]) -> Revocations:
        """With what registries say; the ledger's own word on a digest goes before theirs."""
        found = dict(self.by_digest)
        newest: dict[str, Notice] = {}
        for notice in notices:
            before = newest.get(notice.digest)
            if before is None or notice.at >= before.at:
                newest[notice.digest] = notice
        for digest, notice in newest.items():
            lifted = self.restored.get(digest)
            if not notice.revoked or digest in found or (lifted and lifted >= notice.at):
                continue
            found[digest] = Revoked(
                digest, notice.name, notice.reason, notice.at, notice.actor, "registry"
            )
        return replace(self, by_digest=found)

    def direct(self, digest: str, lineage: Lineage) -> Revoked | None:
        """The revocation of the image itself, whatever it stands on."""
        found = (self.by_digest.get(one) for one in lineage.same(digest))
        return next((one for one in found if one), None)

    def adding(self, revoked: Revoked) -> Revocations:
        """With one that is not written down yet."""
        return replace(self, by_digest={**self.by_digest, revoked.digest: revoked})

    def reason(self, digest: str, lineage: Lineage) -> Revoked | None:
        """Why an image may not be used: it is revoked, or something that it stands on."""
        own = str(digest)
        for image in (own, *lineage.ancestors(own)):
            for one in lineage.same(image):
                if (revoked := self.by_digest.get(one)) is not None:
                    # Of an image's several digests it does not matter which one was named.
                    itself = image == own
                    return replace(revoked, asked=revoked.digest if itself else own)
        return None


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
