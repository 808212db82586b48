"""The gates of a channel: all of them are asked, and each says what would make it green."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from bootcfleet.domain.channel import ChannelEntry, since
from bootcfleet.domain.channel_spec import ChannelSpec, Freshness
from bootcfleet.domain.download import download_size
from bootcfleet.domain.evidence import Evidence, EvidenceKind, judge
from bootcfleet.domain.gate import GateResult, span
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.lifecycle import end_of_life
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.checkstatus import stale_checks
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.lineage import learn
from bootcfleet.ops.plan import image_graph
from bootcfleet.ops.render import ProjectImages
from bootcfleet.ops.revocation import load_revocations, notice_places, with_registry
from bootcfleet.ops.sbom import verify_sbom
from bootcfleet.ops.signature import project_public_key, verify_signature


@dataclass(frozen=True)
class Candidate:
    """An image that is to be moved into a channel.

    `source` is what it was named by: a channel, ``build``, a tag or a digest; `found` what the
    channel's tag points at now, `source_digest` what the history of a source channel says.
    """

    image: str
    channel: str
    source: str
    at: ImageRef
    manifest: Manifest
    found: str | None

    @property
    def digest(self) -> str:
        """What would be moved."""
        return str(self.manifest.digest)


def examine(channels: Channels, candidate: Candidate) -> tuple[GateResult, ...]:
    """What every gate of the channel says, the green ones too.  Raises `FleetError`."""
    spec = channels.spec(candidate.channel)
    asked: list[tuple[str, Callable[[], GateResult | None]]] = [
        ("from", lambda: _from(channels, spec, candidate)),
        ("source", lambda: _source(channels, candidate)),
        ("tag", lambda: _tag(channels, candidate)),
        *_evidence(channels, spec, candidate),
        ("soak", lambda: _soak(channels, spec, candidate)),
        ("max_download", lambda: _size(channels, spec, candidate)),
        ("revoked", lambda: _revoked(channels, candidate)),
        ("end-of-life", lambda: _end_of_life(channels, candidate)),
    ]
    results = [(name, ask()) for name, ask in asked]
    return tuple(replace(result, name=name) for name, result in results if result is not None)


def examine_back(channels: Channels, candidate: Candidate) -> tuple[GateResult, ...]:
    """The gates of a way back: the channel had the digest, so it is asked no more than needed.

    An image's end of life does not bar the way back to it.
    """
    # A tag that is gone is nobody's work that could be written over.
    tag = _tag(channels, candidate) if candidate.found else None
    results = (tag, _revoked(channels, candidate))
    return tuple(result for result in results if result is not None)


def _from(channels: Channels, spec: ChannelSpec, candidate: Candidate) -> GateResult | None:
    if spec.from_ is None:
        return None
    there = channels.store.current(candidate.image, spec.from_)
    # By whatever name: the digest that the channel before is at comes from it.
    if candidate.source == spec.from_ or (there and there.digest == candidate.digest):
        return GateResult("from", True, f"it comes from {spec.from_}")
    return GateResult(
        "from",
        False,
        f"{candidate.channel} is promoted from {spec.from_}, and not from {candidate.source}",
        f"bootcfleet channel promote {candidate.image} {spec.from_} {candidate.channel}",
    )


def _source(channels: Channels, candidate: Candidate) -> GateResult | None:
    if candidate.source not in channels.loaded.project.channels:
        return None
    last = channels.store.current(candidate.image, candidate.source)
    if last is None or last.digest == candidate.digest:
        return None
    return GateResult(
        "source",
        False,
        f"the tag {candidate.source} points at {candidate.digest}, and its history says "
        f"{last.digest}",
        f"bootcfleet channel verify {candidate.image} {candidate.source}",
    )


def _tag(channels: Channels, candidate: Candidate) -> GateResult | None:
    last = channels.store.current(candidate.image, candidate.channel)
    if last is None or candidate.found in (last.digest, candidate.digest):
        return None
    return GateResult(
        "tag",
        False,
        f"the tag {candidate.channel} points at {candidate.found or 'nothing'}, and its history "
        f"says {last.digest}",
        f"bootcfleet channel verify {candidate.image} {candidate.channel}",
    )


def _evidence(
    channels: Channels, spec: ChannelSpec, candidate: Candidate
) -> list[tuple[str, Callable[[], GateResult | None]]]:
    kinds: list[tuple[str, EvidenceKind, Freshness]] = [
        ("checks", EvidenceKind.CHECK, spec.checks),
        ("lint", EvidenceKind.LINT, spec.lint),
        ("signature", EvidenceKind.SIGN, spec.signature),
        ("sbom", EvidenceKind.SBOM, spec.sbom),
    ]

    def ask(kind: EvidenceKind, wanted: Freshness) -> Callable[[], GateResult | None]:
        def answer() -> GateResult | None:
            if wanted is False:
                return None
            if kind is EvidenceKind.SIGN and (key := project_public_key(channels.loaded)):
                # The signature itself says more than that somebody once saw one.
                here = candidate.at.with_digest(candidate.manifest.digest)
                there = channels.repository(candidate.image, candidate.channel)
                return verify_signature(channels.registry, here, key, there.name)
            found = latest_evidence(channels.ledger, kind, candidate.digest)
            age = wanted if isinstance(wanted, timedelta) else None
            what = candidate.image
            if kind is EvidenceKind.CHECK:
                # Without it, the last build is checked, which may be another one by now.
                what += f" --digest {candidate.digest}"
            result = judge(kind, found, channels.clock(), age, image=what)
            if kind is EvidenceKind.SBOM and (result.ok or age is None):
                # The document itself: it may be gone, or another machine may have made it.
                return verify_sbom(channels.artifacts, candidate.at, candidate.manifest)
            if kind is EvidenceKind.CHECK and found is not None and result.ok:
                return _same_checks(channels, candidate, found, result)
            return result

        return answer

    return [(name, ask(kind, wanted)) for name, kind, wanted in kinds]


def _same_checks(
    channels: Channels, candidate: Candidate, found: Evidence, result: GateResult
) -> GateResult:
    """The result, unless the image's checks have changed since they passed."""
    images = ProjectImages.open(channels.loaded, channels.executor)
    stale = stale_checks(images, candidate.image, found)
    if stale is None:
        return result
    hint = f"bootcfleet image check {candidate.image} --digest {candidate.digest}"
    return GateResult(result.name, False, f"check is stale: {stale}", hint)


def _soak(channels: Channels, spec: ChannelSpec, candidate: Candidate) -> GateResult | None:
    if spec.soak is None or spec.from_ is None:
        return None
    history = channels.store.history(candidate.image, spec.from_)
    entered = _entered(history, candidate.digest)
    if entered is None:
        return GateResult(
            "soak",
            False,
            f"it is not in {spec.from_} now, by its history",
            f"bootcfleet channel history {candidate.image} {spec.from_}",
        )
    stayed = channels.clock() - entered
    if stayed < spec.soak:
        due = entered + spec.soak
        return GateResult(
            "soak",
            False,
            f"it is in {spec.from_} since {_minute(entered)}, and must be for {span(spec.soak)}",
            f"wait until {_minute(due)}",
        )
    return GateResult("soak", True, f"it is in {spec.from_} since {_minute(entered)}")


def _entered(history: tuple[ChannelEntry, ...], digest: str) -> datetime | None:
    return since(history) if history and history[-1].digest == digest else None


def _size(channels: Channels, spec: ChannelSpec, candidate: Candidate) -> GateResult | None:
    if spec.max_download is None:
        return None
    if candidate.found is None:
        return GateResult("max_download", True, "no host is on this channel yet")
    before = channels.repository(candidate.image, candidate.channel).with_digest(
        Digest(candidate.found)
    )
    hint = f"bootcfleet image diff {before} {candidate.at.name}@{candidate.digest}"
    try:
        size = _largest(channels, before, candidate)
    except FleetError as error:
        # Without the manifest that hosts are on there is nothing to compare with: not green.
        return GateResult("max_download", False, f"it cannot be told: {error.message}", hint)
    said = f"a host on {candidate.channel} downloads {_amount(size)}"
    if size > spec.max_download:
        return GateResult(
            "max_download", False, f"{said}, and {_amount(spec.max_download)} are allowed", hint
        )
    return GateResult("max_download", True, said)


def _largest(channels: Channels, before: ImageRef, candidate: Candidate) -> int:
    """The bytes that hosts of the worst platform download."""
    old = channels.manifest(before)
    new = candidate.manifest
    if not new.is_index:
        have = [old]
        if old.is_index:
            have = [channels.manifest(before.with_digest(d)) for d in old.references]
        return download_size(have, new)
    known = old.children if old.is_index else {}
    sizes = [0]
    for platform, digest in new.children.items():
        want = channels.manifest(candidate.at.with_digest(digest))
        had = known.get(platform)
        if had is not None:
            have = [channels.manifest(before.with_digest(had))]
        else:
            have = [] if old.is_index else [old]
        sizes.append(download_size(have, want, index=new))
    return max(sizes)


def _revoked(channels: Channels, candidate: Candidate) -> GateResult:
    image = candidate.at.with_digest(candidate.manifest.digest)
    lineage = Lineage.of(channels.ledger)
    learn(lineage, channels.registry, image)
    known = with_registry(
        load_revocations(channels.ledger), channels.artifacts, notice_places(image, lineage)
    )
    revoked = known.reason(candidate.digest, lineage)
    if revoked is None:
        return GateResult("revoked", True, "neither it nor what it stands on is revoked")
    return GateResult("revoked", False, revoked.message, revoked.hint)


def _end_of_life(channels: Channels, candidate: Candidate) -> GateResult | None:
    life = end_of_life(
        channels.loaded.project,
        image_graph(channels.loaded),
        candidate.image,
        channels.clock().astimezone(UTC).date(),
    )
    return life.gate() if life.ends is not None else None


def _amount(size: int) -> str:
    for unit, bytes_ in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= bytes_ // 2:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} B"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%MZ}"
