"""Why an image is where it is: who moved it there, who built it, on what, with which proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.channel import ChannelEntry
from bootcfleet.domain.evidence import Evidence, EvidenceKind
from bootcfleet.domain.fleetdrift import MOVED
from bootcfleet.domain.lineage import Lineage, Made
from bootcfleet.domain.lock import Lock
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.revocation import Revocations, Revoked
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.ops.evidence import latest_evidence


@dataclass(frozen=True)
class Link:
    """One image of a chain: how it was made (None: elsewhere), and what is known of it."""

    digest: str
    name: str | None
    made: Made | None
    base: str | None
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    revoked: Revoked | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "digest": self.digest,
            "name": self.name,
            "base": self.base,
            "build": self.made.to_json() if self.made else None,
            "evidence": {
                kind: {"outcome": one.outcome.value, "at": one.at.isoformat()}
                for kind, one in self.evidence.items()
            },
            "revoked": self.revoked.to_json() if self.revoked else None,
        }


def locked(lock: Lock | None, digest: str, repository: str | None) -> str | None:
    """What ``bootcfleet.lock`` says today of a base from outside; None where it has no pin."""
    for declared, pin in (lock.pins if lock else {}).items():
        at = f"{pin.locked:%Y-%m-%d %H:%M:%SZ}"
        if digest in map(str, (pin.digest, *pin.platforms.values())):
            return f"bootcfleet.lock pins {declared} to it, since {at}"
        if repository is not None and ImageRef.parse(declared).name == repository:
            return f"bootcfleet.lock pins {declared} to {pin.digest}, since {at}"
    return None


def chain(
    digest: str, lineage: Lineage, revocations: Revocations, ledger: Ledger | None = None
) -> tuple[Link, ...]:
    """The image and all that it stands on, itself first; with evidence where a ledger is given."""
    links = []
    for one in (digest, *lineage.ancestors(digest)):
        revoked = revocations.reason(one, lineage)
        links.append(
            Link(
                one,
                lineage.name(one),
                lineage.made(one),
                lineage.base(one),
                evidence_of(ledger, lineage, one) if ledger and lineage.made(one) else {},
                revoked,
            )
        )
    return tuple(links)


def evidence_of(ledger: Ledger, lineage: Lineage, digest: str) -> dict[str, Evidence]:
    """The newest evidence of each kind about an image, by whatever digest it was examined."""
    found: dict[str, Evidence] = {}
    for kind in EvidenceKind:
        about = (latest_evidence(ledger, kind, one) for one in lineage.same(digest))
        newest = max((one for one in about if one), key=lambda one: one.at, default=None)
        if newest is not None:
            found[kind.gate] = newest
    return found


@dataclass(frozen=True)
class HostMove:
    """The entry of the ledger that says how a host came to its image, and its rollout's."""

    host: AuditEntry
    rollout: AuditEntry | None

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "action": self.host.action.removesuffix(".host"),
            "outcome": self.host.outcome,
            "at": self.host.at.isoformat(),
            "actor": self.host.actor,
            "before": self.host.digests.get("before"),
            "rollout": self.host.details.get("rollout"),
            "entry": self.host.number,
        }


def channel_entries(
    histories: Mapping[tuple[str, str], Sequence[ChannelEntry]], digests: Sequence[str]
) -> tuple[tuple[ChannelEntry, bool], ...]:
    """For each channel that ever had the image: the newest entry that put it there.

    With each, whether the channel has it still; those that do come first.
    """
    found = []
    for history in histories.values():
        entry = next((one for one in reversed(history) if one.digest in digests), None)
        if entry is not None:
            found.append((entry, history[-1].digest in digests))
    return tuple(sorted(found, key=lambda one: (not one[1], one[0].at)))


def last_move(ledger: Ledger, host: str, digests: Sequence[str]) -> HostMove | None:
    """The newest rollout that left a host on one of `digests`.

    None for a host that came to it in another way: it was installed so, or somebody ran
    bootc on it.  Raises `FleetError`.
    """
    for entry in reversed(ledger.entries(action="fleet", subject=host)):
        if not entry.action.endswith(".host") or entry.outcome not in MOVED:
            continue
        after = entry.digests.get("after")
        if (after and after not in digests) or after == entry.digests.get("before"):
            continue  # it was there already, or elsewhere: an earlier entry says how
        rollout = entry.details.get("rollout")
        begun = ledger.entries(action=entry.action.removesuffix(".host"), subject=str(rollout))
        started = next((one for one in begun if one.outcome == "started"), None)
        # Nobody saw what it booted where it did not come back: it is what was planned for it.
        if after or (started and not set(digests).isdisjoint(started.digests.values())):
            return HostMove(entry, started)
    return None
