"""Whether channels are as their histories say, and how they become so again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bootcfleet.domain.channel import ChannelAction, ChannelEntry, Move, Pair, check_history
from bootcfleet.domain.channel_finding import Finding, FindingKind
from bootcfleet.domain.prune import pruned
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.channelstore import when
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.channelmirror import read_mirror, write_mirror
from bootcfleet.ops.fanout import at_once
from bootcfleet.ops.gates import Candidate
from bootcfleet.ops.promote import make_move
from bootcfleet.ops.train import recover, run_train, running


def verify(
    channels: Channels, image: str | None = None, channel: str | None = None
) -> tuple[Finding, ...]:
    """Compare the histories with the registry; nothing is changed.

    A registry that does not answer is a finding too: who cannot know does not say that
    all is well.  Raises `FleetError` when the ledger cannot be read.
    """
    moving: dict[Pair, Finding] = {}
    for intent, alive in running(channels):
        for one, name in intent.pairs:
            what = "is moving it" if alive else "was killed while moving it"
            moving[one, name] = Finding(
                one,
                name,
                FindingKind.MOVING if alive else FindingKind.UNFINISHED,
                f"{intent.actor} {what}, since {when(intent.at)}",
                None if alive else "bootcfleet channel verify --repair",
                repairable=not alive,
            )

    def look(pair: Pair) -> list[Finding]:
        if pair in moving:
            return [moving[pair]]
        try:
            return list(_look(channels, pair))
        except FleetError as error:
            return [Finding(*pair, FindingKind.UNKNOWN, error.message, error.hint)]

    looks = at_once(channels.pairs(image, channel), look)
    return tuple(finding for findings in looks for finding in findings)


def repair(channels: Channels, findings: Sequence[Finding], why: str = "") -> None:
    """Mend what `verify` found and can be mended: the registry is made what histories say.

    Raises `FleetError` when the registry refuses.
    """
    if any(finding.kind is FindingKind.UNFINISHED for finding in findings):
        recover(channels)
    moves: list[Move] = []
    for finding in findings:
        if not finding.repairable:
            continue
        entries = channels.store.history(finding.image, finding.channel)
        if finding.kind is FindingKind.MOVED:
            moves.append(_repair_move(channels, entries[-1], why or finding.message))
        elif finding.kind is FindingKind.KEEP:
            _keep_all(channels, entries)
        elif finding.kind is FindingKind.MIRROR:
            write_mirror(channels, entries, damaged=True)
    run_train(channels, moves)


def _look(channels: Channels, pair: Pair) -> Iterator[Finding]:
    image, channel = pair
    try:
        entries = channels.store.history(image, channel)
        broken = check_history(entries)
    except FleetError as error:
        entries, broken = (), error.message
    if broken:
        yield Finding(
            image,
            channel,
            FindingKind.CHAIN,
            f"the history does not hold: {broken}",
            f"compare: bootcfleet channel history {image} {channel} --from-registry",
        )
        return
    if not entries:
        tag = channels.tag(image, channel)
        if found := channels.found(tag):
            yield Finding(
                image,
                channel,
                FindingKind.UNRECORDED,
                f"the tag points at {found}, and there is no history of it",
                f"bootcfleet channel promote {image} {found} {channel}, or "
                f"bootcfleet channel restore {image} {channel}",
            )
        return
    copy, complaint = _mirror(channels, entries)
    yield from _tag(channels, entries, copy)
    yield from _kept(channels, entries)
    if complaint:
        yield complaint


def _tag(
    channels: Channels, entries: Sequence[ChannelEntry], copy: Sequence[ChannelEntry]
) -> Iterator[Finding]:
    last = entries[-1]
    repository = ImageRef.parse(last.repository)
    found = channels.found(repository.with_tag(last.channel))
    there = channels.registry.exists(last.reference)
    if not there:
        yield Finding(
            last.image,
            last.channel,
            FindingKind.GONE,
            f"{last.digest} is no longer in {last.repository}",
            f"bootcfleet channel rollback {last.image} {last.channel}",
        )
    if found == last.digest:
        return
    said = f"points at {found}" if found else "is not there"
    yield Finding(
        last.image,
        last.channel,
        FindingKind.MOVED,
        f"the tag {said}; by its history it is {last.digest}, since {when(last.at)} by "
        f"{last.actor}",
        f"bootcfleet channel verify {last.image} {last.channel} --repair",
        repairable=there,
        details=tuple(_traces(channels, entries, copy, found)) if found else (),
    )


def _traces(
    channels: Channels,
    entries: Sequence[ChannelEntry],
    copy: Sequence[ChannelEntry],
    found: str,
) -> Iterator[str]:
    """Whatever tells where a digest comes from that a tag should not point at."""
    last = entries[-1]
    for entry in reversed(copy[len(entries) :]):
        if entry.digest == found:
            yield (
                f"{entry.actor} moved it at {when(entry.at)} with another ledger, by the "
                "registry's copy of the history"
            )
            break
    for entry in reversed(entries):
        if entry.digest == found:
            yield f"that is entry {entry.number} of its history, of {when(entry.at)}"
            break
    for name in channels.loaded.project.channels:
        other = channels.store.current(last.image, name)
        if other is not None and name != last.channel and other.digest == found:
            yield f"that is what {name} is at"
    for noted in reversed(channels.ledger.entries(subject=last.image)):
        if noted.digests.get("image") == found:
            yield f"by the ledger: {noted.action} by {noted.actor} at {when(noted.at)}"
            break
    try:
        config = channels.registry.config(last.reference.with_digest(Digest(found)))
    except FleetError:
        return
    told = {
        "version": config.version,
        "made": config.created,
        "build": config.labels.get("io.bootcfleet.build-id", "")[:32],
        "commit": config.labels.get("org.opencontainers.image.revision"),
    }
    text = ", ".join(f"{name} {value}" for name, value in told.items() if value)
    if text:
        yield f"by its labels: {text}"


def _kept(channels: Channels, entries: Sequence[ChannelEntry]) -> Iterator[Finding]:
    """The tags that keep the digests of the history, each asked for."""
    tags = {_keep(entry): entry for entry in entries}
    digests = at_once(tuple(tags), channels.found)
    # What `channel prune` has deleted is not missing.
    gone = pruned(channels.ledger.entries(action="channel.prune"))
    wrong = [
        tag.tag or ""
        for (tag, entry), found in zip(tags.items(), digests, strict=True)
        if found != entry.digest and not (found is None and entry.digest in gone)
    ]
    if wrong:
        image, channel = entries[-1].pair
        yield Finding(
            image,
            channel,
            FindingKind.KEEP,
            f"{len(wrong)} {'tag that keeps' if len(wrong) == 1 else 'tags that keep'} a digest of "
            f"the history {'is' if len(wrong) == 1 else 'are'} missing or moved: "
            f"{', '.join(wrong[:3])}",
            f"bootcfleet channel verify {image} {channel} --repair",
            repairable=True,
        )


def _keep(entry: ChannelEntry) -> ImageRef:
    return ImageRef.parse(entry.repository).with_tag(entry.keep)


def _mirror(
    channels: Channels, entries: Sequence[ChannelEntry]
) -> tuple[tuple[ChannelEntry, ...], Finding | None]:
    """The registry's copy, and what is wrong with it."""
    last = entries[-1]
    repair_it = f"bootcfleet channel verify {last.image} {last.channel} --repair"
    look = f"bootcfleet channel history {last.image} {last.channel} --from-registry"

    def finding(message: str, hint: str, *, repairable: bool = True) -> Finding:
        return Finding(
            last.image, last.channel, FindingKind.MIRROR, message, hint, repairable=repairable
        )

    try:
        copy = read_mirror(channels, ImageRef.parse(last.repository), last.channel)
    except FleetError as error:
        return (), finding(error.message, repair_it)
    if copy == tuple(entries):
        return copy, None
    if copy == tuple(entries[: len(copy)]):
        missing = len(entries) - len(copy)
        return copy, finding(
            f"the registry's copy of the history lacks the newest {missing} of {len(entries)}",
            repair_it,
        )
    if copy[: len(entries)] == tuple(entries):
        return copy, finding(
            f"the registry's copy of the history has {len(copy) - len(entries)} more "
            f"{'entry' if len(copy) - len(entries) == 1 else 'entries'} than this ledger: "
            f"{copy[-1].actor} uses another one",
            f"bootcfleet channel restore {last.image} {last.channel}",
            repairable=False,
        )
    return copy, finding(
        "the registry has another history than this ledger", look, repairable=False
    )


def _repair_move(channels: Channels, entry: ChannelEntry, why: str) -> Move:
    tag = ImageRef.parse(entry.repository).with_tag(entry.channel)
    manifest = channels.registry.manifest(entry.reference)
    candidate = Candidate(
        entry.image,
        entry.channel,
        f"entry {entry.number}",
        entry.reference,
        manifest,
        channels.found(tag),
    )
    return make_move(channels, candidate, ChannelAction.REPAIR, why=why)


def _keep_all(channels: Channels, entries: Sequence[ChannelEntry]) -> None:
    """Write the tags again that keep digests; what is gone from the registry cannot be kept."""
    for tag, entry in {_keep(entry): entry for entry in entries}.items():
        if channels.found(tag) == entry.digest:
            continue
        if not channels.registry.exists(entry.reference):
            continue
        channels.registry.put_manifest(tag, channels.registry.manifest(entry.reference))
