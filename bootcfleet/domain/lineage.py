"""Which image was built from which, by digest: what the ledger wrote down, and what labels say.

An image has several digests: its own in each registry that took it (a push may compress it
anew), that of its configuration (podman's image id), and one for each platform of an
index.  They are one node here: whoever asks about one of them asks about the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, Self

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.reference import Digest, InvalidReferenceError

#: Labels that the build puts on every image.
IMAGE_LABEL = "io.bootcfleet.image"
BUILD_ID_LABEL = "io.bootcfleet.build-id"
BASE_NAME_LABEL = "org.opencontainers.image.base.name"
BASE_DIGEST_LABEL = "org.opencontainers.image.base.digest"
REVISION_LABEL = "org.opencontainers.image.revision"

#: Outcomes of a build that made no image.
_NOT_BUILT = frozenset({"failed", "skipped", "cancelled"})


class Entries(Protocol):
    """Where entries of the ledger come from; `drivers.ledger.Ledger` has it."""

    def entries(self, *, action: str | None = None) -> list[AuditEntry]:
        """Entries of an action, oldest first.  Raises `FleetError`."""
        ...


class Proof(StrEnum):
    """How it is known what an image was built from."""

    LEDGER = "ledger"
    #: The layers of the base are the first layers of the image.
    LAYERS = "layers"
    #: Its label says so, and nothing has confirmed it.
    LABEL = "label"


@dataclass(frozen=True)
class Made:
    """How an image came to be.

    `digests` are all that it is known by, a registry's first; `base` is what it was
    built FROM: ``REPOSITORY@sha256:…``, an image id, or nothing that is known.  `at` is
    aware; `number` is the ledger's entry.
    """

    name: str
    digests: tuple[str, ...]
    base: str | None = None
    proof: Proof = Proof.LEDGER
    number: int | None = None
    at: datetime | None = None
    actor: str | None = None
    commit: str | None = None
    log: str | None = None
    build_id: str | None = None
    tags: tuple[str, ...] = ()
    #: Those of `digests` that a registry has; the others are podman's ids.
    pushed: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The digest to show: a registry's where there is one."""
        return self.digests[0]

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "digest": self.digest,
            "digests": list(self.digests),
            "pushed": bool(self.pushed),
            "name": self.name,
            "base": self.base,
            "proof": self.proof.value,
            "entry": self.number,
            "at": self.at.isoformat() if self.at else None,
            "actor": self.actor,
            "commit": self.commit,
            "log": self.log,
            "build_id": self.build_id,
            "tags": list(self.tags),
        }


class Lineage:
    """A forest of images by digest.  Digests are given and returned as text."""

    def __init__(self) -> None:
        #: Any digest → the first digest by which its image was met.
        self._nodes: dict[str, str] = {}
        self._digests: dict[str, list[str]] = {}
        self._made: dict[str, Made] = {}
        #: Node → what it was built from, as written; and the digest in that.
        self._bases: dict[str, str] = {}
        #: Digest → a repository that is said to have it.
        self._repositories: dict[str, str] = {}
        self._children: dict[str, list[str]] = {}

    @classmethod
    def of(cls, ledger: Entries) -> Self:
        """The lineage that the ledger's builds and pushes tell.  Raises `FleetError`."""
        lineage = cls()
        entries = [*ledger.entries(action="image.build"), *ledger.entries(action="image.push")]
        for entry in sorted(entries, key=lambda one: one.number):
            if (made := _made(entry)) is not None:
                lineage.learn(made)
        return lineage

    def learn(self, made: Made) -> None:
        """Take an image in; what is known of it already is kept, and what was not is added."""
        known = [self._nodes[one] for one in made.digests if one in self._nodes]
        node = known[0] if known else made.digests[0]
        for other in dict.fromkeys(known[1:]):
            if other != node:
                self._merge(other, node)
        for digest in made.digests:
            self._alias(digest, node)
        before = self._made.get(node)
        if before is None or (before.base is None and made.base is not None):
            self._made[node] = made
        elif made.pushed and not before.pushed:
            # The build stays the first one; what it is called in a registry is new.
            digests = tuple(dict.fromkeys((*made.digests, *before.digests)))
            self._made[node] = replace(before, digests=digests, pushed=made.pushed)
        if made.base is None or node in self._bases:
            return
        self._bases[node] = made.base
        repository, _, _ = made.base.rpartition("@")
        if (base := base_digest(made.base)) is not None:
            parent = self._nodes.get(base) or base
            self._alias(base, parent)
            self._children.setdefault(parent, []).append(node)
            if repository:
                self._repositories.setdefault(base, repository)

    def found_on(self, digest: str, base: str, repository: str) -> None:
        """Note that an image stands on another one, which its layers tell and no label.

        It may stand on others between the two: its parent stays unknown.
        """
        node = self._nodes.get(digest, digest)
        self._alias(digest, node)
        self._repositories.setdefault(digest, repository)
        below = self._nodes.get(base, base)
        self._alias(base, below)
        self._children.setdefault(below, []).append(node)

    def __contains__(self, digest: object) -> bool:
        """Whether anything is known of a digest: as an image, or as something's base."""
        return str(digest) in self._nodes

    def same(self, digest: str) -> tuple[str, ...]:
        """All digests of the image that has this one; itself alone when it is not known."""
        node = self._nodes.get(str(digest))
        return tuple(self._digests[node]) if node else (str(digest),)

    def made(self, digest: str) -> Made | None:
        """How the image came to be; None for one that was not built here."""
        node = self._nodes.get(str(digest))
        return self._made.get(node) if node else None

    def name(self, digest: str) -> str | None:
        """The image's name; of an image from outside, its repository."""
        if (made := self.made(digest)) is not None:
            return made.name
        found = (self._repositories.get(one) for one in self.same(digest))
        return next((one for one in found if one), None)

    def repository(self, digest: str) -> str | None:
        """A repository (with its registry) that a child was built from it in, if any was."""
        found = (self._repositories.get(one) for one in self.same(digest))
        return next((one for one in found if one), None)

    def commit(self, digest: str) -> str | None:
        """The git commit that the image was built from."""
        made = self.made(digest)
        return made.commit if made else None

    def base(self, digest: str) -> str | None:
        """What the image was built FROM, as it was written down."""
        node = self._nodes.get(str(digest))
        return self._bases.get(node) if node else None

    def parent(self, digest: str) -> str | None:
        """The digest of what the image was built from; None where that is not known."""
        base = self.base(digest)
        found = base_digest(base) if base else None
        return self._shown(found) if found else None

    def ancestors(self, digest: str) -> tuple[str, ...]:
        """The parent, the parent's parent, … up to an image from outside."""
        found: dict[str, None] = {}
        current = self.parent(digest)
        # What is written down might go in a circle; nothing that was built can.
        while current is not None and current not in found:
            found[current] = None
            current = self.parent(current)
        return tuple(found)

    def descendants(self, digest: str) -> tuple[str, ...]:
        """Every image that stands on it, directly or not, parents first."""
        start = self._nodes.get(str(digest), str(digest))
        seen, found, queue = {start}, [], [start]
        for node in queue:
            for child in self._children.get(node, ()):
                child = self._nodes[child]
                if child not in seen:
                    seen.add(child)
                    queue.append(child)
                    found.append(self._shown(child))
        return tuple(found)

    def children(self, digest: str) -> tuple[str, ...]:
        """The images that were built from it directly."""
        node = self._nodes.get(str(digest), str(digest))
        below = (self._nodes[one] for one in self._children.get(node, ()))
        return tuple(dict.fromkeys(self._shown(child) for child in below))

    def named(self, name: str) -> Iterator[Made]:
        """Every build of an image, oldest first."""
        return (made for made in self._made.values() if made.name == name)

    def bases_in(self, repository: str) -> tuple[str, ...]:
        """The digests of a repository (with its registry) that images were built from."""
        found = (one for one, where in self._repositories.items() if where == repository)
        return tuple(dict.fromkeys(self._shown(one) for one in found))

    def find(self, start: str) -> tuple[str, ...]:
        """The images one of whose digests begins so, with or without ``sha256:``; each once."""
        wanted = start if start.startswith("sha256:") else f"sha256:{start}"
        nodes = (node for digest, node in self._nodes.items() if digest.startswith(wanted))
        return tuple(dict.fromkeys(self._shown(node) for node in nodes))

    def _shown(self, digest: str) -> str:
        """The digest to show for an image."""
        made = self.made(digest)
        return made.digest if made else digest

    def _alias(self, digest: str, node: str) -> None:
        if digest not in self._nodes:
            self._nodes[digest] = node
            self._digests.setdefault(node, []).append(digest)

    def _merge(self, old: str, node: str) -> None:
        """Two images are found to be one."""
        for digest in self._digests.pop(old, []):
            self._nodes[digest] = node
            self._digests[node].append(digest)
        if (made := self._made.pop(old, None)) is not None:
            self._made.setdefault(node, made)
        if (base := self._bases.pop(old, None)) is not None:
            self._bases.setdefault(node, base)
        self._children.setdefault(node, []).extend(self._children.pop(old, []))


def base_digest(base: str) -> str | None:
    """The digest in what an image was built FROM; None for a tag alone, which says nothing."""
    text = base.rpartition("@")[2]
    try:
        return str(Digest(text))
    except InvalidReferenceError:
        return None


def made_from_labels(
    digests: tuple[str, ...], labels: Mapping[str, str], *, layers: bool | None = None
) -> Made | None:
    """What an image's labels say of it; None where no build of ours put them there.

    `layers`: whether the base's layers are the image's first ones; None when that was
    not looked at.  A child that somebody else builds inherits the labels of its
    base, so that they may tell of an image further up.  Labels that layers
    contradict say nothing of the base.
    """
    name = labels.get(IMAGE_LABEL)
    if not name:
        return None
    base = labels.get(BASE_DIGEST_LABEL)
    known = base_digest(base) if base else None
    written = None
    if known is not None and layers is not False:
        repository = labels.get(BASE_NAME_LABEL, "").partition("@")[0]
        head, colon, tag = repository.rpartition(":")
        repository = head if colon and "/" not in tag else repository
        written = f"{repository}@{known}" if repository else known
    return Made(
        name,
        digests,
        written,
        Proof.LAYERS if layers else Proof.LABEL,
        commit=labels.get(REVISION_LABEL) or None,
        build_id=labels.get(BUILD_ID_LABEL) or None,
        pushed=digests,
    )


def _made(entry: AuditEntry) -> Made | None:
    """What an entry says; None for a build that made nothing."""
    if entry.outcome in _NOT_BUILT:
        return None
    said = [entry.digests.get("image"), entry.digests.get("image-id")]
    platforms = entry.details.get("platforms")
    if isinstance(platforms, Mapping):
        said += [one for one in platforms.values() if isinstance(one, str)]
    digests = tuple(dict.fromkeys(one for one in said if one and base_digest(one) == one))
    if not digests:
        return None
    log, build_id, tags = (entry.details.get(key) for key in ("log", "build_id", "tags"))
    return Made(
        entry.subject,
        digests,
        entry.digests.get("base"),
        Proof.LEDGER,
        entry.number,
        entry.at,
        entry.actor,
        entry.git_commit,
        log if isinstance(log, str) else None,
        build_id if isinstance(build_id, str) else None,
        tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        tuple(one for one in digests if one != entry.digests.get("image-id")),
    )
