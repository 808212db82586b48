"""How a host differs from what the project, its channels and the ledger say of it.

`domain/drift.py` compares one digest with one reference; here everything else is looked at, too:
who moved the host, what it follows, and whether its images may be used at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from enum import StrEnum
from typing import Any

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.bootc import BootcStatus, BootEntry
from bootcfleet.domain.drift import Drift, drift
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.imagestanding import Standings
from bootcfleet.domain.preflight_case import entry_title
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import FAILURES, HostPhase


class DriftKind(StrEnum):
    """How a host differs; stable in JSON."""

    STAGED = "staged"
    BEHIND = "behind"
    OTHER_IMAGE = "other-image"
    FOLLOWS_OTHER = "follows-other"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    MOVED_OUTSIDE = "moved-outside"
    WAITING_OTHER = "waiting-other"
    CHANGED_LOCALLY = "changed-locally"
    UNKNOWN_IMAGE = "unknown-image"
    END_OF_LIFE = "end-of-life"
    REVOKED = "revoked"


#: One sentence for each, for documentation.
DESCRIPTIONS: dict[DriftKind, str] = {
    DriftKind.STAGED: "it does not run what it should, and that is staged: a reboot is missing",
    DriftKind.BEHIND: "the right repository, another digest",
    DriftKind.OTHER_IMAGE: "another image altogether",
    DriftKind.FOLLOWS_OTHER: "it follows another reference than the inventory says",
    DriftKind.PINNED: "it is pinned by digest, where the inventory or its peers follow a tag",
    DriftKind.UNPINNED: "it follows a tag, where the inventory pins a digest",
    DriftKind.MOVED_OUTSIDE: "its digest changed without a rollout: its timer, an admin, or itself",
    DriftKind.WAITING_OTHER: "the next reboot takes it to something else than it should run",
    DriftKind.CHANGED_LOCALLY: "layered packages, or an unlocked /usr",
    DriftKind.UNKNOWN_IMAGE: "the ledger has no entry of its image",
    DriftKind.END_OF_LIFE: "its image is past its end of life",
    DriftKind.REVOKED: "its image is revoked, or one that it stands on",
}


#: Stands in a hint for the hosts that it is about, and for one of them where a command takes one.
_HOSTS, _HOST = "<hosts>", "<host>"
#: How many hosts a sentence names.
_NAMED = 5


@dataclass(frozen=True)
class DriftFinding:
    """One difference, to be read behind the host's name; `slot` is where the image is.

    `advice` is what to run next.  It names no host, so that hosts that differ alike are equal.
    """

    kind: DriftKind
    message: str
    advice: str | None = None
    slot: str = "booted"

    def hint(self, hosts: Sequence[str]) -> str | None:
        """What to run next for `hosts`, which differ in this way; of many none is named."""
        if self.advice is None:
            return None
        several = " ".join(hosts) if len(hosts) <= _NAMED else "HOST…"
        return self.advice.replace(_HOSTS, several).replace(_HOST, hosts[0])

    def to_json(self, host: str) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "kind": str(self.kind),
            "slot": self.slot,
            "message": self.message,
            "hint": self.hint([host]),
        }


@dataclass(frozen=True)
class DriftSentence:
    """One difference, with all hosts that have it."""

    finding: DriftFinding
    hosts: tuple[str, ...]

    @property
    def text(self) -> str:
        """What the matter is, and with whom; of many hosts only the first five are named."""
        shown, more = ", ".join(self.hosts[:_NAMED]), len(self.hosts) - _NAMED
        names = f"{shown}{f' and {more} more' if more > 0 else ''}"
        return f"{self.finding.kind}: {names}: {self.finding.message}"

    @property
    def hint(self) -> str | None:
        """What to run next."""
        return self.finding.hint(self.hosts)


def drift_sentences(found: Iterable[tuple[str, DriftFinding]]) -> tuple[DriftSentence, ...]:
    """Findings by host, the same of several hosts said once, in the order of the first of them."""
    grouped: dict[DriftFinding, list[str]] = {}
    for host, one in found:
        grouped.setdefault(one, []).append(host)
    return tuple(DriftSentence(one, tuple(hosts)) for one, hosts in grouped.items())


@dataclass(frozen=True)
class DriftCase:
    """One host, and what it is compared with.

    `said` is what the inventory says that it should run; `wanted` the same, or else what it follows
    itself; `resolved` what that is by its channel's history, or by the registry.  `last` is the
    newest entry of a rollout about it that knows how it ended.  `peers_follow`: another host
    follows a tag of the same repository.
    """

    truth: HostTruth
    said: ImageRef | None
    wanted: ImageRef | None
    resolved: Resolved | None
    standings: Standings = field(default_factory=Standings)
    last: AuditEntry | None = None
    peers_follow: bool = False


def drift_of(case: DriftCase) -> tuple[DriftFinding, ...]:
    """All differences of a host that could be asked."""
    status = case.truth.status
    if status is None or status.booted is None:
        if case.said is None:
            return ()
        message = f"is not booted by bootc and should run {case.said}"
        return (DriftFinding(DriftKind.OTHER_IMAGE, message, "install it again from that image"),)
    return (
        *_digest(case, status),
        *_follows(case, status.booted),
        *_outside(case, status.booted),
        *_waiting(case, status),
        *_local(case, status.booted),
        *_images(case, status),
    )


def _digest(case: DriftCase, status: BootcStatus) -> Iterable[DriftFinding]:
    found = drift(status, case.wanted, case.resolved)
    if found in {Drift.IN_SYNC, Drift.UNKNOWN} or case.resolved is None or status.booted is None:
        return
    should = f"{case.wanted} ({case.resolved.digest.short})"
    runs = entry_title(status.booted)
    if found is Drift.STAGED:
        yield DriftFinding(
            DriftKind.STAGED,
            f"runs {runs}, and {should} is staged",
            f"bootcfleet fleet reboot --apply-staged {_HOSTS}",
        )
    elif found is Drift.BEHIND:
        yield DriftFinding(
            DriftKind.BEHIND,
            f"runs {runs} and should run {should}",
            f"bootcfleet fleet upgrade {_HOSTS}",
        )
    else:
        yield DriftFinding(
            DriftKind.OTHER_IMAGE,
            f"runs {status.booted.reference or 'no image'} {runs} and should run {should}",
            f"bootcfleet fleet switch {case.wanted} {_HOSTS}",
        )


def _follows(case: DriftCase, booted: BootEntry) -> Iterable[DriftFinding]:
    own, said = booted.ref, case.said
    if own is None:
        return
    switch = f"bootcfleet fleet switch {said or own.name + ':TAG'} {_HOSTS}"
    if own.pinned and (case.peers_follow if said is None else not said.pinned):
        why = f"the inventory says {said}" if said else "other hosts follow a tag of it"
        yield DriftFinding(
            DriftKind.PINNED, f"is pinned to {own}, and {why}: no upgrade moves it", switch
        )
    elif said is None:
        return
    elif said.pinned and not own.pinned:
        yield DriftFinding(
            DriftKind.UNPINNED,
            f"follows {own}, and the inventory pins {said}: its next upgrade moves it",
            switch,
        )
    elif not said.pinned and not own.pinned and _tag(own) != _tag(said):
        yield DriftFinding(
            DriftKind.FOLLOWS_OTHER, f"follows {own}, and the inventory says {said}", switch
        )


def _outside(case: DriftCase, booted: BootEntry) -> Iterable[DriftFinding]:
    last = case.last
    after = last.digests.get("after") if last else None
    if last is None or not after or booted.digest is None or booted.digest == after:
        return
    if case.truth.pull and drift_is_none(case):
        return  # its own timer moves it along its channel: that is what it was enrolled for
    if last.digests.get("before") == booted.digest:
        why = "it is back on what it ran before: by itself (greenboot), or by somebody"
    elif case.truth.timer:
        why = "its bootc-fetch-apply-updates.timer is active"
    else:
        why = "no rollout of this ledger moved it"
    rollout = last.details.get("rollout") or last.number
    when = last.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    yield DriftFinding(
        DriftKind.MOVED_OUTSIDE,
        f"runs {entry_title(booted)}, and rollout {rollout} left it on {_short(after)} at {when} "
        f"UTC: {why}",
        f"look at it: bootcfleet why {_HOST}",
    )


def drift_is_none(case: DriftCase) -> bool:
    """Whether the host runs what it should, by digest."""
    status = case.truth.status
    return status is not None and drift(status, case.wanted, case.resolved) is Drift.IN_SYNC


def _waiting(case: DriftCase, status: BootcStatus) -> Iterable[DriftFinding]:
    if status.rollback_queued and status.rollback is not None:
        yield DriftFinding(
            DriftKind.WAITING_OTHER,
            f"has a rollback to {entry_title(status.rollback)} queued",
            f"carry it out: bootcfleet fleet rollback {_HOSTS}; or undo it: bootc rollback there",
            "rollback",
        )
    staged = status.staged
    if staged is None or staged.digest is None or case.resolved is None:
        return
    if not case.resolved.accepts(staged.digest):
        by = f", staged {case.truth.staged_by.title}" if case.truth.staged_by.title else ""
        yield DriftFinding(
            DriftKind.WAITING_OTHER,
            f"has {entry_title(staged)} staged{by}, which is not what it should run",
            f"bootcfleet fleet upgrade {_HOSTS}",
            "staged",
        )


def _local(case: DriftCase, booted: BootEntry) -> Iterable[DriftFinding]:
    if booted.incompatible:
        yield DriftFinding(
            DriftKind.CHANGED_LOCALLY,
            "has layered packages",
            "rpm-ostree reset there, and build them into the image",
        )
    if case.truth.usr == "unlocked":
        yield DriftFinding(
            DriftKind.CHANGED_LOCALLY, "has its /usr unlocked", "a reboot takes the changes away"
        )


def _images(case: DriftCase, status: BootcStatus) -> Iterable[DriftFinding]:
    """What is wrong with the images that it runs, or would run after its next reboot.

    A revoked image in the rollback slot is what an update leaves behind, and no drift:
    a rollback is warned of it (`domain/rollbackpreview.py`).
    """
    for slot, entry in (("booted", status.booted), ("staged", status.staged)):
        if entry is None or entry.digest is None:
            continue
        standing = case.standings.of(entry.digest)
        what = f"{'runs' if slot == 'booted' else 'has staged'} {entry_title(entry)}"
        if standing.revoked is not None:
            yield DriftFinding(
                DriftKind.REVOKED,
                f"{what}: {standing.revoked.message}",
                "move it to another image, or back: bootcfleet fleet switch, fleet rollback",
                slot,
            )
        if standing.ended is not None:
            yield DriftFinding(
                DriftKind.END_OF_LIFE,
                f"{what}: {standing.ended.message}",
                standing.ended.hint,
                slot,
            )
        if standing.known is False:
            yield DriftFinding(
                DriftKind.UNKNOWN_IMAGE,
                f"{what} of {entry.reference}, of which the ledger has no entry",
                "take it in: bootcfleet channel import; or switch the host to a known image",
                slot,
            )


def following(statuses: Mapping[str, BootcStatus | None]) -> frozenset[str]:
    """The repositories of which some host follows a tag."""
    found = set()
    for status in statuses.values():
        ref = status.booted.ref if status and status.booted else None
        if ref is not None and not ref.pinned:
            found.add(ref.name)
    return frozenset(found)


#: The outcomes of hosts that a rollout may have rebooted; others it only looked at.
MOVED = frozenset(map(str, (HostPhase.UPDATED, *FAILURES)))


def newest_moves(entries: Iterable[AuditEntry]) -> dict[str, AuditEntry]:
    """The newest entry of each host that says on which digest a rollout left it.

    `entries` are those of ``fleet`` and its sub-actions, oldest first.
    """
    return {
        entry.subject: entry
        for entry in entries
        if entry.action.endswith(".host") and entry.digests.get("after")
    }


def rollout_registries(entries: Iterable[AuditEntry]) -> dict[str, frozenset[str]]:
    """The registries that each rollout had its images from, by its id."""
    return {
        entry.subject: frozenset(ref.partition("/")[0] for ref in entry.digests)
        for entry in entries
        if entry.outcome == "started" and entry.digests
    }


def _tag(ref: ImageRef) -> tuple[str, str]:
    return ref.name, ref.tag or "latest"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
