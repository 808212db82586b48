"""What may be deleted from a registry, and what something needs still.

Deleting a manifest kills all its tags, so that the unit of everything here is the digest:
each is kept for a reason, or deleted because there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bootcfleet.domain.audit import AuditEntry

#: Tags that this tool writes and that nobody follows: by build id, date, commit; and those
#: that keep the digests of a channel's history.
_OWN = re.compile(
    r"bf-[0-9a-f]{32}|[0-9]{8}|[0-9a-f]{12}(?:-dirty)?"
    r"|[A-Za-z0-9_][A-Za-z0-9._-]*-[0-9]{8}T[0-9]{4}Z-[0-9a-f]{12}"
)
#: The tag of a channel's history.
_HISTORY = re.compile(r"channel-.+\.history")
#: The tag of what belongs to a digest: a list of referrers, a signature, an attestation.
_BELONGS = re.compile(r"sha256-([0-9a-f]{64})(?:\.[A-Za-z0-9._-]+)?")


@dataclass(frozen=True)
class Stored:
    """A manifest in a repository: all tags that point at it, and what it says of others.

    `children` are the manifests of an index; `subject` the digest that it belongs to, by
    its own word; `owner_there` whether the repository has what it belongs to; `at` (aware)
    is when it was made, None where that is not known.
    """

    repository: str
    digest: str
    tags: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    subject: str | None = None
    owner_there: bool = True
    at: datetime | None = None

    @property
    def owner(self) -> str | None:
        """The digest that it belongs to, by its own word or by its tag's."""
        if self.subject is not None:
            return self.subject
        for tag in self.tags:
            if (match := _BELONGS.fullmatch(tag)) is not None:
                return f"sha256:{match[1]}"
        return None

    @property
    def foreign(self) -> tuple[str, ...]:
        """The tags that somebody may follow: all but those that only keep it."""
        return tuple(
            tag for tag in self.tags if not _OWN.fullmatch(tag) and not _BELONGS.fullmatch(tag)
        )


@dataclass(frozen=True)
class Kept:
    """A manifest that stays, and all the reasons."""

    stored: Stored
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**_json(self.stored), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Deletion:
    """A manifest that goes, with all its tags."""

    stored: Stored
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**_json(self.stored), "reason": self.reason}


@dataclass(frozen=True)
class PrunePlan:
    """What is deleted, in this order, and what is kept."""

    delete: tuple[Deletion, ...]
    keep: tuple[Kept, ...]
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "delete": [one.to_json() for one in self.delete],
            "keep": [one.to_json() for one in self.keep],
            "notes": list(self.notes),
        }


def plan_prune(
    stored: Sequence[Stored],
    needed: Mapping[str, Iterable[str]],
    *,
    bases: Callable[[str], Iterable[str]],
    now: datetime,
    younger_than: timedelta,
    chosen: Callable[[str], bool] = lambda _: True,
) -> PrunePlan:
    """Decide about every manifest.

    `stored` has the tagged manifests, and what those name: children of indexes, and what
    belongs to them.  `needed` are digests that something outside needs (channels, hosts, a
    lock), with the reasons; `bases` says what an image was built from.  A repository that
    is not `chosen` loses nothing, and what it has counts.  Whatever is younger than
    `younger_than`, or of unknown age, stays.
    """
    reasons: dict[str, dict[str, None]] = {}
    direct: set[str] = set()
    queue: list[str] = []
    by_digest: dict[str, list[Stored]] = {}
    belongings: dict[str, list[Stored]] = {}
    indexes: dict[str, list[str]] = {}
    for one in stored:
        by_digest.setdefault(one.digest, []).append(one)
        if one.owner is not None:
            belongings.setdefault(one.owner, []).append(one)
        else:
            for child in one.children:
                indexes.setdefault(child, []).append(one.digest)

    def keep(digest: str, reason: str, *, itself: bool = True) -> None:
        if digest not in reasons or (itself and digest not in direct):
            queue.append(digest)
        if itself:
            direct.add(digest)
        reasons.setdefault(digest, {})[reason] = None

    for digest, why in needed.items():
        for reason in why:
            keep(digest, reason)
    for one in stored:
        for reason in _own_reasons(one, by_digest, now, younger_than, chosen=chosen):
            keep(one.digest, reason)
    # What is kept needs more: its bases, the rest of itself, and what belongs to it.
    while queue:
        digest = queue.pop()
        for base in bases(digest):
            if base != digest:
                keep(base, f"{_short(digest)} is built on it")
        for one in by_digest.get(digest, ()):
            for child in one.children:
                keep(child, f"the index {_short(digest)} has it", itself=False)
        for one in belongings.get(digest, ()):
            keep(one.digest, f"it belongs to {_short(digest)}", itself=False)
        if digest in direct:
            # A platform's manifest without its index has no tag: a registry may collect it.
            for index in indexes.get(digest, ()):
                keep(index, f"the platform {_short(digest)} of it is needed", itself=False)
    gone = [one for one in stored if one.digest not in reasons]
    return PrunePlan(
        tuple(Deletion(one, _why_gone(one)) for one in sorted(gone, key=_order)),
        tuple(Kept(one, tuple(reasons[one.digest])) for one in stored if one.digest in reasons),
    )


def pruned(entries: Iterable[AuditEntry]) -> frozenset[str]:
    """The digests that were deleted on purpose, by the ledger's entries of it."""
    manifests = (
        one
        for entry in entries
        for one in entry.details.get("manifests") or ()
        if isinstance(one, Mapping)
    )
    return frozenset(str(one.get("digest")) for one in manifests)


def _own_reasons(
    one: Stored,
    by_digest: Mapping[str, Sequence[Stored]],
    now: datetime,
    younger_than: timedelta,
    *,
    chosen: Callable[[str], bool],
) -> list[str]:
    """Why a manifest stays by what it is itself."""
    reasons = []
    if not chosen(one.repository):
        reasons.append("its repository was not asked for")
    if any(_HISTORY.fullmatch(tag) for tag in one.tags):
        reasons.append("it is the history of a channel")
    elif one.foreign:
        noun = "tag" if len(one.foreign) == 1 else "tags"
        reasons.append(f"somebody may follow the {noun} {', '.join(one.foreign)}")
    owner = one.owner
    if owner is not None and owner not in by_digest and one.owner_there:
        reasons.append(f"it belongs to {_short(owner)}, which is there without a tag")
    if one.tags and not one.foreign and (owner is None or owner not in by_digest):
        if one.at is None:
            reasons.append("it is not known how old it is")
        elif now - one.at < younger_than:
            reasons.append("it is younger than what may be deleted")
    return reasons


def _why_gone(one: Stored) -> str:
    if one.owner is not None:
        return f"it belongs to {_short(one.owner)}, which is deleted or gone"
    return "nothing needs it"


def _order(one: Stored) -> tuple[bool, bool, str, str]:
    """Indexes before what is in them, and images before what belongs to them.

    Broken off anywhere, nothing that is left names what is gone.
    """
    return one.owner is not None, not one.children, one.repository, one.digest


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _json(one: Stored) -> dict[str, Any]:
    return {
        "repository": one.repository,
        "digest": one.digest,
        "tags": list(one.tags),
        "at": one.at.isoformat() if one.at else None,
    }
