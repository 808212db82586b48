"""Promotion: an image's digest from one channel (or its build) to another, and back.

Everything is resolved once and decided in a plan; `ops/train.py` carries it out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bootcfleet.domain.artifact import artifact_type_of
from bootcfleet.domain.channel import ChannelAction, ChannelEntry, Move, keep_tag
from bootcfleet.domain.channel_spec import BUILD
from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.image import Config, Manifest
from bootcfleet.domain.promotion import SKIPPABLE, PromotionPlan
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.fanout import at_once
from bootcfleet.ops.gates import Candidate, examine
from bootcfleet.ops.train import recover, run_train


def plan_promotion(
    channels: Channels,
    images: Sequence[str],
    source: str,
    channel: str,
    *,
    everything: bool = False,
    why: str = "",
    skip: Collection[str] = (),
) -> PromotionPlan:
    """What a promotion would move; nothing is changed.

    `source` is a channel, ``build`` for the last build that was pushed, a digest or a
    tag.  With `everything`, all images that are in `source` and that the channel takes.
    Raises `UsageError`, and `RegistryError` when the registry does not say.
    """
    spec = channels.spec(channel)
    _require_sense(images, source, channel, everything=everything, why=why, skip=skip)
    left_out: dict[str, str] = {}
    if everything:
        images = []
        for image in channels.loaded.project.images:
            if not spec.takes(image):
                left_out[image] = f"{channel} does not take it"
            else:
                images = [*images, image]
    for image in images:
        channels.require_image(image)
        if not spec.takes(image):
            raise UsageError(
                f"the channel {channel} does not take {image}",
                hint=f"see channels.{channel}.images in bootcfleet.yaml",
            )

    def plan_one(image: str) -> Move | Digest | _NotThereError:
        try:
            return _plan_one(channels, image, source, channel, why)
        except _NotThereError as error:
            return error

    moves, unchanged = [], {}
    for image, planned in zip(images, at_once(images, plan_one), strict=True):
        if isinstance(planned, Move):
            moves.append(planned)
        elif isinstance(planned, Digest):
            unchanged[image] = str(planned)
        elif everything:
            left_out[image] = planned.message
        else:
            raise planned
    if everything and not moves and not unchanged:
        raise UsageError(
            f"no image of the project is in {source}",
            details=[f"{image}: {why}" for image, why in left_out.items()],
            hint=_way_into(channels, source),
        )
    return PromotionPlan(source, channel, tuple(moves), unchanged, left_out, frozenset(skip))


def _way_into(channels: Channels, source: str) -> str | None:
    """The command that brings the images of the project into `source`."""
    if source == BUILD:
        return "bootcfleet image build --push"
    spec = channels.loaded.project.channels.get(source)
    if spec is None:
        return None
    return f"bootcfleet channel promote --all-images {spec.from_ or BUILD} {source}"


def promote(channels: Channels, plan: PromotionPlan) -> tuple[ChannelEntry, ...]:
    """Carry a plan out, whole or not at all; the new entries of the histories.

    Raises `ChecksFailedError` for red gates, and as `run_train` does.
    """
    plan.require_green()
    return run_train(channels, plan.moves)


def promote_now(
    channels: Channels, images: Sequence[str], source: str, channel: str, *, why: str = ""
) -> tuple[ChannelEntry, ...]:
    """Settle what was left behind, plan and promote at once: for a build that ends in a channel.

    Raises as `plan_promotion` and `promote` do.
    """
    recover(channels)
    return promote(channels, plan_promotion(channels, images, source, channel, why=why))


#: The configurations of images; old ones say nothing.
_IMAGES = {
    None,
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
}
#: How a build ends that leaves a digest in the registry.
_BUILT = {"built", "unchanged"}


class _NotThereError(FleetError):
    """An image is not in the source; a train goes without it."""


def resolve(channels: Channels, image: str, source: str) -> ImageRef:
    """The image that `source` stands for now, by digest.

    Raises `FleetError` when there is none.
    """
    repository = channels.repository(image)
    if source == BUILD:
        return repository.with_digest(Digest(_last_build(channels, image)))
    if source in channels.loaded.project.channels:
        tag = channels.tag(image, source)
        found = channels.found(tag)
        if found is None:
            raise _NotThereError(
                f"{image} is not in {source}",
                hint=f"bootcfleet channel promote {image} "
                f"{channels.spec(source).from_ or BUILD} {source}",
            )
        return tag.with_digest(Digest(found))
    bare = source.removeprefix("@")
    if bare.startswith("sha256:"):
        return repository.with_digest(Digest(bare))
    try:
        tag = repository.with_tag(source.removeprefix(":"))
    except InvalidReferenceError as error:
        raise UsageError(
            f"{source!r} is no channel, tag or digest", hint=f"or {BUILD}: the last build"
        ) from error
    found = channels.found(tag)
    if found is None:
        known = ", ".join(channels.loaded.project.channels) or "none"
        raise _NotThereError(
            f"{source!r} is neither a channel nor a tag of {tag.name}",
            hint=f"channels: {known}; {BUILD} stands for the last build",
        )
    return tag.with_digest(Digest(found))


def _last_build(channels: Channels, image: str) -> str:
    """The digest of the newest build of an image that was pushed, by the ledger.

    A build that was found in the registry as somebody else had made it is one, too.
    """
    for entry in reversed(channels.ledger.entries(action="image.build", subject=image)):
        digest = entry.digests.get("image")
        if entry.action == "image.build" and entry.outcome in _BUILT and digest:
            return digest
    raise _NotThereError(
        f"no build of {image} was pushed, by the ledger",
        hint=f"bootcfleet image build {image} --push",
    )


def _require_sense(
    images: Sequence[str],
    source: str,
    channel: str,
    *,
    everything: bool,
    why: str,
    skip: Collection[str],
) -> None:
    if everything == bool(images):
        raise UsageError(
            "name the images, or say --all-images",
            hint=f"bootcfleet channel promote web {source} {channel}",
        )
    if source == channel:
        raise UsageError(f"{channel} cannot be promoted to itself")
    for name in images:
        if list(images).count(name) > 1:
            raise UsageError(f"{name} is named twice")
    check_skips(skip, why)


def check_skips(skip: Collection[str], why: str) -> None:
    """Raise `UsageError` for a gate that nobody may skip, or that is skipped without a reason."""
    for gate in skip:
        if gate not in SKIPPABLE:
            raise UsageError(
                f"there is no gate {gate!r} that can be skipped",
                hint=f"there are: {', '.join(SKIPPABLE)}",
            )
    if skip and not why.strip():
        raise UsageError(
            "a gate is skipped for a reason", hint="say it, for it is recorded: --reason '…'"
        )


def _plan_one(channels: Channels, image: str, source: str, channel: str, why: str) -> Move | Digest:
    """The move of one image; its digest when the channel and its history are there already."""
    at = resolve(channels, image, source)
    tag = channels.tag(image, channel)
    found = channels.found(tag)
    last = channels.store.current(image, channel)
    if at.digest and found == str(at.digest) and last is not None and last.digest == found:
        return at.digest
    manifest = channels.manifest(at)
    if not manifest.is_index and artifact_type_of(manifest) not in _IMAGES:
        raise UsageError(
            f"{source} of {image} is not an image, but {artifact_type_of(manifest)}",
            hint=f"what there is: skopeo list-tags docker://{at.name}",
        )
    candidate = Candidate(image, channel, source, at, manifest, found)
    return make_move(
        channels, candidate, ChannelAction.PROMOTE, why=why, gates=examine(channels, candidate)
    )


def make_move(
    channels: Channels,
    candidate: Candidate,
    action: ChannelAction,
    *,
    why: str,
    gates: tuple[GateResult, ...] = (),
) -> Move:
    """The move of a candidate, with its place in the history and the tags that keep digests."""
    image, channel, digest = candidate.image, candidate.channel, candidate.digest
    history = channels.store.history(image, channel)
    now, before = channels.clock(), candidate.found
    repository = channels.repository(image, channel)
    kept = {one.digest: one.keep for one in history if one.repository == repository.name}
    return Move(
        image=image,
        channel=channel,
        repository=repository.name,
        digest=digest,
        media_type=candidate.manifest.media_type,
        size=len(candidate.manifest.raw),
        before=before,
        number=len(history) + 1,
        keep=kept.get(digest) or keep_tag(channel, digest, now),
        keep_before=keep_tag(channel, before, now) if before and before not in kept else None,
        action=action,
        why=why,
        source=candidate.source,
        version=_version(channels, candidate.at, candidate.manifest),
        origin=candidate.at.name if candidate.at.name != repository.name else None,
        gates=gates,
    )


def _version(channels: Channels, at: ImageRef, manifest: Manifest) -> str | None:
    """The image's version label; an artifact or an index without images has none."""
    try:
        if manifest.is_index:
            return channels.registry.resolve(at).version
        return Config.parse(channels.registry.blob(at, manifest.config_digest)).version
    except FleetError:
        return None
