"""The copy of a channel's history in the registry, as an artifact beside the image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from bootcfleet.domain.channel import (
    HISTORY_TYPE,
    ChannelEntry,
    Pair,
    canonical,
    check_history,
    history_tag,
)
from bootcfleet.domain.event import Event
from bootcfleet.domain.image import ManifestError
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.registryhttp import RegistryError
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.fanout import at_once

#: The title of the file in the artifact, for `oras pull` and the like.
_TITLE = "org.opencontainers.image.title"


#: How often a copy is written again because the history has grown meanwhile.
_TRIES = 5


class DamagedMirrorError(FleetError):
    """The registry's copy of a history is none, or was changed."""


def history_lines(entries: Iterable[ChannelEntry]) -> bytes:
    """A history as canonical JSON, one entry a line."""
    return b"".join(canonical(entry.to_json()) + b"\n" for entry in entries)


def parse_history(data: bytes) -> tuple[ChannelEntry, ...]:
    """Read `history_lines`, and check the chain.  Raises `FleetError`."""
    try:
        entries = tuple(ChannelEntry.from_json(json.loads(line)) for line in data.splitlines())
    except (TypeError, ValueError, KeyError, RecursionError, AttributeError) as error:
        raise DamagedMirrorError(f"the history in the registry cannot be read: {error}") from error
    if broken := check_history(entries):
        raise DamagedMirrorError(f"the history in the registry does not hold: {broken}")
    return entries


def read_mirror(channels: Channels, repository: ImageRef, channel: str) -> tuple[ChannelEntry, ...]:
    """The history that the registry has; nothing where it has none.

    Raises `RegistryError`, and `DamagedMirrorError` for one that does not hold or is of
    another image or channel.
    """
    try:
        _, blobs = channels.artifacts.fetch(repository.with_tag(history_tag(channel)))
    except RegistryError as error:
        if error.status == 404:
            return ()
        raise
    except ManifestError as error:
        raise DamagedMirrorError(f"the history in the registry: {error.message}") from error
    entries = parse_history(b"".join(blobs))
    name = repository.repository.rpartition("/")[2]
    if entries and entries[0].pair != (name, channel):
        raise DamagedMirrorError("the history in the registry is of another image or channel")
    return entries


def write_mirror(
    channels: Channels, entries: Sequence[ChannelEntry], *, damaged: bool = False
) -> None:
    """Write the copy of a whole history, over one that is its beginning and no other.

    With `damaged`, over one that cannot be read, too.  Raises `FleetError` when the
    registry has entries that the ledger has not.
    """
    last = entries[-1]
    repository = ImageRef.parse(last.repository)
    try:
        there = read_mirror(channels, repository, last.channel)
    except DamagedMirrorError:
        if not damaged:
            raise
        there = ()
    if there == tuple(entries):
        return
    if there != tuple(entries[: len(there)]):
        raise FleetError(
            f"the registry has another history of {last.image} {last.channel}: "
            f"entry {len(there)} is by {there[-1].actor} at {there[-1].at:%Y-%m-%d %H:%M:%SZ}",
            hint=f"look: bootcfleet channel history {last.image} {last.channel} --from-registry",
        )
    tag = history_tag(last.channel)
    channels.artifacts.push(
        repository,
        HISTORY_TYPE,
        [(HISTORY_TYPE, history_lines(entries), {_TITLE: f"{tag}.jsonl"})],
        tag=tag,
        annotations={
            "io.bootcfleet.image": last.image,
            "io.bootcfleet.channel": last.channel,
            "io.bootcfleet.channel.last": last.hash,
        },
    )


def mirror_history(channels: Channels, pairs: Iterable[Pair]) -> None:
    """Bring the copies up to date; a failure is told as an event, and no error.

    The histories are in the ledger; `channel verify` finds a copy that is behind.
    """

    def mirror(pair: Pair) -> None:
        image, channel = pair
        try:
            for _ in range(_TRIES):
                entries = channels.store.history(image, channel)
                write_mirror(channels, entries)
                if channels.store.current(image, channel) == entries[-1]:
                    break  # and nobody has moved it since
        except FleetError as error:
            channels.emit(
                Event(
                    "channel.mirror.failed",
                    image,
                    f"warning: the history of {channel} was not copied into the registry: "
                    f"{error.message}",
                    {"channel": channel, "hint": "bootcfleet channel verify --repair"},
                )
            )

    at_once(tuple(pairs), mirror)


def restore_histories(
    channels: Channels,
    image: str | None = None,
    channel: str | None = None,
    *,
    dry_run: bool = False,
) -> dict[Pair, int]:
    """Take into the ledger what it lacks of the registry's histories; how many entries of each.

    Of the images and channels that the project declares, or of these alone.  What the
    ledger has already must be the beginning of it.  Raises `FleetError` and takes nothing of a
    history that does not hold.
    """
    taken: dict[Pair, int] = {}
    for pair in channels.pairs(image, channel):
        entries = read_mirror(channels, channels.repository(*pair), pair[1])
        there = channels.store.history(*pair)
        if len(there) >= len(entries) and entries == there[: len(entries)]:
            continue
        if dry_run:
            taken[pair] = channels.store.lacks(entries)
            continue
        with channels.store.db.write():
            taken[pair] = channels.store.restore(entries)
            channels.record(
                "channel.restore",
                pair[0],
                "done",
                digests={"image": entries[-1].digest},
                details={"channel": pair[1], "entries": taken[pair], "last": entries[-1].hash},
            )
    return taken
