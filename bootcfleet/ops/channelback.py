"""Rollback: a channel back to a digest that it had, as a new entry of its history."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from bootcfleet.domain.channel import ChannelAction, ChannelEntry
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.promotion import PromotionPlan
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.registryhttp import RegistryError
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.gates import Candidate, examine_back
from bootcfleet.ops.promote import check_skips, make_move
from bootcfleet.ops.revocation import load_revocations

#: What `to` may be beside a number and a digest.
KNOWN_GOOD = "known-good"


def plan_rollback(
    channels: Channels,
    image: str,
    channel: str,
    to: str | None = None,
    *,
    why: str = "",
    skip: Collection[str] = (),
    action: ChannelAction = ChannelAction.ROLLBACK,
) -> PromotionPlan:
    """What a rollback would move; nothing is changed.

    `to` is a number or a digest (or its beginning) of the history, or ``known-good``: the
    newest digest but the current one whose checks passed and that nobody revoked.
    Without it, the digest that the tag had before the current one.  Raises `UsageError`,
    and `FleetError` when the digest is no longer in the registry.
    """
    check_skips(skip, why)
    history = channels.store.history(image, channel)
    if not history:
        channels.require_image(image)
        channels.spec(channel)
        raise UsageError(
            f"{image} was never in {channel}",
            hint=f"bootcfleet channel promote {image} … {channel}",
        )
    entry = _target(channels, history, to)
    current = history[-1]
    source = f"entry {entry.number}"
    found = channels.found(channels.tag(image, channel))
    if entry.digest == current.digest == found:
        return PromotionPlan(source, channel, (), {image: entry.digest}, {}, frozenset(skip))
    try:
        manifest = channels.registry.manifest(entry.reference)
    except RegistryError as error:
        if error.status != 404:
            raise
        raise FleetError(
            f"{entry.digest} is no longer in {entry.repository}",
            hint=f"choose another: bootcfleet channel history {image} {channel}",
        ) from error
    candidate = Candidate(image, channel, source, entry.reference, manifest, found)
    gates = examine_back(channels, candidate)
    move = make_move(channels, candidate, action, why=why, gates=gates)
    return PromotionPlan(source, channel, (move,), {}, {}, frozenset(skip))


def plan_return(
    channels: Channels, image: str, channel: str, digest: str, *, why: str
) -> PromotionPlan:
    """What moves a channel back to a digest that its tag had, in its history or before it.

    Raises `FleetError` when the digest is no longer in the registry.
    """
    tag = channels.tag(image, channel)
    found = channels.found(tag)
    at = tag.with_digest(Digest(digest))
    try:
        manifest = channels.registry.manifest(at)
    except RegistryError as error:
        if error.status != 404:
            raise
        raise UsageError(
            f"{digest} is no longer in {at.name}",
            hint=f"choose another: bootcfleet channel history {image} {channel}",
        ) from error
    candidate = Candidate(image, channel, digest, at, manifest, found)
    gates = examine_back(channels, candidate)
    move = make_move(channels, candidate, ChannelAction.ROLLBACK, why=why, gates=gates)
    return PromotionPlan(digest, channel, (move,))


def _target(channels: Channels, history: Sequence[ChannelEntry], to: str | None) -> ChannelEntry:
    current = history[-1]
    hint = f"bootcfleet channel history {current.image} {current.channel}"
    if to is None:
        for entry in reversed(history):
            if entry.digest == current.previous_digest:
                return entry
        raise UsageError(
            f"{current.image} {current.channel} has nothing before {current.digest}", hint=hint
        )
    if to == KNOWN_GOOD:
        return _known_good(channels, history)
    if to.isdecimal() and 0 < int(to) <= len(history):
        return history[int(to) - 1]
    start = to if to.startswith("sha256:") else f"sha256:{to}"
    if re.fullmatch(r"sha256:[0-9a-f]{6,64}", start):
        matching = [entry for entry in history if entry.digest.startswith(start)]
        if len({entry.digest for entry in matching}) == 1:
            return matching[-1]
        if matching:
            raise UsageError(f"several digests begin with {to}", hint=hint)
    raise UsageError(
        f"the history of {current.image} {current.channel} has no entry {to!r}", hint=hint
    )


def _known_good(channels: Channels, history: Sequence[ChannelEntry]) -> ChannelEntry:
    current = history[-1]
    revocations = load_revocations(channels.ledger)
    lineage = Lineage.of(channels.ledger)
    for entry in reversed(history):
        if entry.digest == current.digest:
            continue
        checked = latest_evidence(channels.ledger, EvidenceKind.CHECK, entry.digest)
        good = checked is not None and checked.outcome is EvidenceOutcome.PASSED
        if good and revocations.reason(entry.digest, lineage) is None:
            return entry
    raise FleetError(
        f"{current.image} {current.channel} had no other digest whose checks passed and that "
        "nobody revoked",
        hint=f"check one: bootcfleet image check {current.image}, or choose: --to DIGEST",
    )
