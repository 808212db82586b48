"""Asks the ledger and the registries whether images are known, revoked, or past their end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import date

from bootcfleet.domain.bootc import BootcStatus, BootEntry
from bootcfleet.domain.channel import ChannelEntry
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.image import DOCKER_LIST, OCI_INDEX
from bootcfleet.domain.imagestanding import ImageStanding, Standings
from bootcfleet.domain.lifecycle import Life, end_of_life, life_from_labels
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError
from bootcfleet.drivers.channelstore import ChannelStore
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.errors import FleetError
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.lineage import learn, same_registry
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.revocation import load_revocations, read_notices
from bootcfleet.ops.survey import learn_platforms

#: Says of images (by digest) whether hosts should have them.
Judge = Callable[[Sequence[ImageRef]], Standings]

#: Days before its end from which on an image without a project is warned of.
_WARN = 30


def image_standings(
    images: Sequence[ImageRef],
    loaded: LoadedProject | None,
    ledger: Ledger,
    channels: Iterable[ChannelEntry],
    client: RegistryClient | None,
    *,
    today: date,
) -> Standings:
    """What is known of `images` (by digest); `channels` are the newest entries of all channels.

    Without `client` only the ledger is asked: revocations of other ledgers and the labels of images
    that were built elsewhere are not known then.  What a registry did not say is in the notes.
    `today` is in UTC.  Raises `FleetError` when the ledger cannot be read.
    """
    lineage = Lineage.of(ledger)
    revocations = load_revocations(ledger)
    notes: list[str] = []
    moved = list(channels)
    wanted = {str(ref.digest): ref for ref in images if ref.digest is not None}
    recorded = {one for one in wanted if one in lineage and lineage.made(one) is not None}
    recorded |= {entry.digest for entry in moved}
    if client is not None and not set(wanted) <= recorded:
        # Hosts tell the digest of their platform, and channels that of the index.
        notes += learn_platforms(lineage, client, _indexes(moved))
    known = {one for one in wanted if {*lineage.same(one)} & recorded}
    lives: dict[str, Life] = {}
    if client is not None:
        artifacts = Artifacts(client)
        ours = [ref for ref in wanted.values() if same_registry(ref, loaded) or loaded is None]
        by_text = {str(ref): ref for ref in ours}
        said = gather(tuple(by_text), lambda text: read_notices(artifacts, by_text[text]))
        for text, found in said.items():
            if isinstance(found, FleetError):
                notes.append(
                    f"whether {text} is revoked its registry does not say: {found.message}"
                )
            else:
                revocations = revocations.noticed(found)
        for ref in ours:
            notes += learn(lineage, client, ref)
        lives = _from_labels(list(wanted.values()), loaded, client, today)
    standings = {}
    for digest in wanted:
        own = _from_project(lineage.name(digest), loaded, today)
        standings[digest] = ImageStanding(
            digest in known if loaded is not None else None,
            revocations.reason(digest, lineage),
            own or lives.get(digest),
        )
    return Standings(standings, tuple(dict.fromkeys(notes)))


def image_judge(
    loaded: LoadedProject | None, client: RegistryClient | None, *, today: date
) -> Judge:
    """What says of images (by digest) whether hosts should have them; see `image_standings`.

    The ledger is opened when it is first needed.
    """

    def judge(images: Sequence[ImageRef]) -> Standings:
        if not images:
            return Standings()
        with closing(open_ledger(loaded)) as ledger:
            histories = ChannelStore.of(ledger.db).all() if loaded else {}
            newest = [history[-1] for history in histories.values() if history]
            return image_standings(images, loaded, ledger, newest, client, today=today)

    return judge


def slot_refs(status: BootcStatus) -> list[tuple[str, ImageRef]]:
    """The images of a host's slots by digest, those that came from a registry."""
    found = []
    slots: list[tuple[str, BootEntry | None]] = [
        ("booted", status.booted),
        ("staged", status.staged),
        ("rollback", status.rollback),
    ]
    for name, entry in slots:
        if entry is None or entry.ref is None or entry.digest is None:
            continue
        try:
            found.append((name, entry.ref.with_digest(Digest(entry.digest))))
        except InvalidReferenceError:
            continue
    return found


def _indexes(entries: Iterable[ChannelEntry]) -> list[ImageRef]:
    return [entry.reference for entry in entries if entry.media_type in {OCI_INDEX, DOCKER_LIST}]


def _from_project(name: str | None, loaded: LoadedProject | None, today: date) -> Life | None:
    if loaded is None or name not in loaded.project.images:
        return None
    return end_of_life(loaded.project, ImageGraph.of(loaded.project), name, today)


def _from_labels(
    images: Sequence[ImageRef], loaded: LoadedProject | None, client: RegistryClient, today: date
) -> dict[str, Life]:
    """What labels tell; an image that is gone from its registry tells nothing."""
    warn = loaded.project.end_of_life_warning if loaded else _WARN
    by_text = {str(ref): ref for ref in images}
    found = gather(tuple(by_text), lambda text: client.config(by_text[text]).labels, parallel=8)
    return {
        str(by_text[text].digest): life_from_labels(by_text[text].name, dict(labels), today, warn)
        for text, labels in found.items()
        if not isinstance(labels, FleetError)
    }
