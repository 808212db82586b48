"""Moves tags whole or not at all: writes the intent, moves, looks, and writes the histories.

After a kill at any step the intent is still open, and nobody holds its lock: `recover` looks
at what the tags point at and finishes the moves or puts them back.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence

from bootcfleet.domain.channel import (
    ChannelAction,
    ChannelEntry,
    Intent,
    Move,
    Settlement,
    Standing,
    settle,
)
from bootcfleet.domain.channel import standing as standing_of
from bootcfleet.domain.event import Event
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.ledgerhold import Hold, hold
from bootcfleet.drivers.registryartifact import DeleteUnsupportedError
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.channelcopy import bring
from bootcfleet.ops.channelmirror import mirror_history
from bootcfleet.ops.fanout import at_once
from bootcfleet.ops.revocation import load_revocations


class TrainFailedError(FleetError):
    """Moves that were begun and did not come to their end; says what became of them."""


def run_train(channels: Channels, moves: Sequence[Move]) -> tuple[ChannelEntry, ...]:
    """Carry moves out, all of them or none; their entries.

    Raises `ChannelTakenError` when somebody else was first, `TrainFailedError` when
    the registry did not take them all.
    """
    if not moves:
        return ()
    intent = Intent(
        f"{channels.clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
        channels.clock(),
        channels.actor,
        tuple(moves),
    )
    with hold(channels.store.db, intent.train) as held:
        if held is None:
            raise FleetError(f"the lock of {intent.train} is taken by somebody else")
        channels.store.claim(intent)
        entries = _carry_out(channels, intent, held)
    for entry in entries:
        _tell(channels, entry)
    mirror_history(channels, [entry.pair for entry in entries])
    return entries


def recover(channels: Channels) -> tuple[str, ...]:
    """Settle what killed commands left behind; a sentence for each train.

    What a living process is at is left alone.  What cannot be settled, because a registry
    does not answer, stays open and is told: it must not bar other channels.
    """
    said = []
    for intent in channels.store.open_intents():
        with hold(channels.store.db, intent.train) as held:
            if held is None:
                continue
            if all(one.train != intent.train for one in channels.store.open_intents()):
                continue  # its holder closed it between our two looks
            try:
                entries, sentence = _settle(channels, intent)
            except FleetError as error:
                message = f"warning: {_what(intent)} cannot be settled: {error.message}"
                channels.emit(Event("channel.unsettled", intent.train, message))
                continue
        said.append(sentence)
        channels.emit(Event("channel.recovered", intent.train, sentence))
        mirror_history(channels, [entry.pair for entry in entries])
    return tuple(said)


def running(channels: Channels) -> tuple[tuple[Intent, bool], ...]:
    """The open intents, each with whether a living process is at it."""
    found = []
    for intent in channels.store.open_intents():
        with hold(channels.store.db, intent.train) as held:
            found.append((intent, held is None))
    return tuple(found)


def _carry_out(channels: Channels, intent: Intent, held: Hold) -> tuple[ChannelEntry, ...]:
    try:
        # Nothing of this shows in a channel; of many images, it takes most of the time.
        manifests = at_once(intent.moves, lambda move: _prepare(channels, move), parallel=4)
        _require_not_revoked(channels, intent)
        for move, manifest in zip(intent.moves, manifests, strict=True):
            _require_unmoved(channels, move)
            if held.lost():
                raise FleetError("the connection to the ledger was lost")
            channels.registry.put_manifest(move.tag, manifest)
        # `put_manifest` has looked at each; of several, the first may have been moved since.
        for move in intent.moves[:-1]:
            _require_done(channels, move)
        return _finish(channels, intent)
    except (Exception, KeyboardInterrupt) as error:
        raise _broken_off(channels, intent, error) from error


def _broken_off(channels: Channels, intent: Intent, error: BaseException) -> BaseException:
    """What to raise for moves that failed, once they are settled."""
    message = error.message if isinstance(error, FleetError) else str(error) or "interrupted"
    hint = error.hint if isinstance(error, FleetError) else None
    details = error.details if isinstance(error, FleetError) else ()
    if all(one.train != intent.train for one in channels.store.open_intents()):
        return error  # ^C came after the end, or somebody else has settled it
    try:
        _, sentence = _settle(channels, intent)
    except (FleetError, KeyboardInterrupt) as second:
        why = second.message if isinstance(second, FleetError) else "interrupted"
        return TrainFailedError(
            f"{message}; and what was begun could not be put back: {why}",
            details=details,
            hint="when the registry answers again: bootcfleet channel verify --repair",
        )
    if isinstance(error, FleetError):
        return TrainFailedError(message, details=(*details, sentence), hint=hint)
    channels.emit(Event("channel.settled", intent.train, sentence))
    return error


def _require_not_revoked(channels: Channels, intent: Intent) -> None:
    """Once more, now that the channels are claimed: the gates were asked before the confirmation.

    A revocation that comes after this sees the claim.
    """
    revocations = load_revocations(channels.ledger)
    if not revocations.by_digest:
        return
    lineage = Lineage.of(channels.ledger)
    for move in intent.moves:
        if move.action is ChannelAction.REPAIR:
            continue  # the channel has it already; `image revoke --rollback-channels` moves it
        revoked = revocations.reason(move.digest, lineage)
        if revoked is not None:
            raise FleetError(f"{move.image}: {revoked.message}", hint=revoked.hint)


def _require_unmoved(channels: Channels, move: Move) -> None:
    now = channels.found(move.tag)
    if standing_of(move, now) is Standing.ELSEWHERE:
        raise FleetError(
            f"somebody moved {move.tag} to {now or 'nothing'} meanwhile (it was "
            f"{move.before or 'not there'})",
            hint=f"look: bootcfleet channel verify {move.image} {move.channel}",
        )


def _require_done(channels: Channels, move: Move) -> None:
    now = channels.found(move.tag)
    if now != move.digest:
        raise FleetError(
            f"{move.tag} is {now or 'gone'} after {move.digest} was written to it",
            hint="somebody else moves this tag at the same time: find out who",
        )


def _prepare(channels: Channels, move: Move) -> Manifest:
    manifest = bring(channels, move)
    _keep(channels, move, manifest)
    return manifest


def _keep(channels: Channels, move: Move, manifest: Manifest) -> None:
    """Tags that never move, before the channel's does: no registry collects what has a tag."""
    repository = ImageRef.parse(move.repository)
    wanted = [(move.keep, manifest)]
    if move.keep_before and move.before:
        before = repository.with_digest(Digest(move.before))
        wanted.append((move.keep_before, channels.manifest(before)))
    for name, one in wanted:
        tag = repository.with_tag(name)
        if channels.found(tag) != str(one.digest):
            channels.registry.put_manifest(tag, one)


def _finish(channels: Channels, intent: Intent) -> tuple[ChannelEntry, ...]:
    """The histories and the ledger's entries, in one transaction."""
    with channels.store.db.write():
        entries = channels.store.finish(intent)
        for entry in entries:
            digests = {"before": entry.previous_digest or "", "after": entry.digest}
            channels.record(
                f"channel.{entry.action.value}",
                entry.image,
                "done",
                digests={name: digest for name, digest in digests.items() if digest},
                details={
                    "channel": entry.channel,
                    "number": entry.number,
                    "source": entry.source,
                    "why": entry.why,
                    "train": entry.train,
                    "actor": entry.actor,
                    "skipped": [gate["gate"] for gate in entry.gates if not gate["ok"]],
                },
            )
    return entries


def _settle(channels: Channels, intent: Intent) -> tuple[tuple[ChannelEntry, ...], str]:
    """Finish the moves or put them back, by what the registry says; entries and a sentence."""
    verdict = _verdict(channels, intent)
    if verdict.finish:
        return _finish(channels, intent), f"{_what(intent)}: all tags were moved; written down"
    left: dict[str, str] = {}
    try:
        for move in verdict.put_back:
            _put_back(channels, move)
    except DeleteUnsupportedError as error:
        entries = _forward(channels, intent, verdict)
        if entries:
            return entries, (
                f"{_what(intent)}: moved to the end, because {error.message}, and a part of it "
                "could not be put back"
            )
        # The way forward may have moved more.
        verdict = _verdict(channels, intent)
        for move in verdict.put_back:
            try:
                _put_back(channels, move)
            except DeleteUnsupportedError as again:
                left[str(move.tag)] = again.message
    for move in verdict.foreign:
        left[str(move.tag)] = "somebody else moved it meanwhile"
    with channels.store.db.write():
        channels.store.undo(intent, at=channels.clock(), actor=channels.actor, left=left)
        for move in intent.moves:
            channels.record(
                f"channel.{move.action.value}",
                move.image,
                "undone",
                digests={"image": move.digest},
                details={"channel": move.channel, "train": intent.train, "left": left},
            )
    moved = [str(move.tag) for move in verdict.put_back if str(move.tag) not in left]
    sentence = f"{_what(intent)}: " + (
        f"put back: {', '.join(moved)}" if moved else "no channel was changed"
    )
    if left:
        said = ", ".join(f"{tag} ({why})" for tag, why in left.items())
        sentence += f"; left as they are: {said}"
    return (), sentence


def _verdict(channels: Channels, intent: Intent) -> Settlement:
    return settle(intent.moves, {move.pair: channels.found(move.tag) for move in intent.moves})


def _put_back(channels: Channels, move: Move) -> None:
    if move.before is None:
        channels.artifacts.delete_tag(move.tag)
        return
    before = ImageRef.parse(move.repository).with_digest(Digest(move.before))
    channels.registry.put_manifest(move.tag, channels.manifest(before))


def _forward(channels: Channels, intent: Intent, verdict: Settlement) -> tuple[ChannelEntry, ...]:
    """The way to a whole train where a tag cannot be deleted; nothing where that is barred."""
    if verdict.foreign:
        return ()
    with contextlib.suppress(FleetError):
        for move in intent.moves:
            if channels.found(move.tag) != move.digest:
                channels.registry.put_manifest(move.tag, _prepare(channels, move))
        return _finish(channels, intent)
    return ()


def _what(intent: Intent) -> str:
    names = ", ".join(f"{image} {channel}" for image, channel in intent.pairs)
    return f"the moves that {intent.actor} began ({names})"


def _tell(channels: Channels, entry: ChannelEntry) -> None:
    channels.emit(
        Event(
            f"channel.{entry.action.value}",
            entry.image,
            f"{entry.channel} is now {entry.digest}"
            + (f" (version {entry.version})" if entry.version else ""),
            entry.to_json(),
        )
    )
