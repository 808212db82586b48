"""An image into another repository, with its signatures and whatever else belongs to it."""

from __future__ import annotations

from bootcfleet.domain.artifact import fallback_tag
from bootcfleet.domain.channel import Move
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.skopeo import Skopeo
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import Channels


def bring(channels: Channels, move: Move) -> Manifest:
    """The manifest that is moved; it is in the channel's repository when this returns.

    From another repository, skopeo brings the blobs under the tag that keeps the digest;
    signatures and referrers follow, of the images of an index too.  Raises `FleetError`.
    """
    if move.origin is None:
        return channels.manifest(move.reference)
    origin, target = ImageRef.parse(move.origin), ImageRef.parse(move.repository)
    digest = Digest(move.digest)
    manifest = channels.manifest(origin.with_digest(digest))
    kept = target.with_tag(move.keep)
    if channels.found(kept) != move.digest:
        Skopeo(channels.executor).copy(origin.with_digest(digest), kept)
        found = channels.found(kept)
        if found != move.digest:
            raise FleetError(f"{kept} is {found or 'not there'} after {digest} was copied to it")
    subjects = [digest, *(manifest.references if manifest.is_index else ())]
    _signatures(channels, origin, target, subjects)
    for subject in subjects:
        for one in channels.artifacts.referrers(origin, subject):
            channels.artifacts.copy(origin.with_digest(one.digest), target)
    return manifest


def _signatures(
    channels: Channels, origin: ImageRef, target: ImageRef, subjects: list[Digest]
) -> None:
    """The tags in which cosign keeps signatures and attestations: ``sha256-<hex>.sig``."""
    beginnings = tuple(f"{fallback_tag(digest)}." for digest in subjects)
    for tag in channels.registry.tags(origin):
        if not tag.startswith(beginnings):
            continue
        source = origin.with_tag(tag)
        if channels.found(target.with_tag(tag)) != channels.found(source):
            Skopeo(channels.executor).copy(source, target.with_tag(tag))
