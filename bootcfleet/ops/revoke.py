"""Revoking an image, with all that stands on it, and restoring it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bootcfleet.domain.channel import ChannelAction, ChannelEntry, Move
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.impact import ChannelUse, HostSurvey, Impact, impact
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.revocation import (
    ARTIFACT_TYPE,
    RESTORE,
    REVOKE,
    Notice,
    Revocations,
    Revoked,
)
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.gates import Candidate
from bootcfleet.ops.lineage import Located, learn, reference_of, same_registry
from bootcfleet.ops.promote import make_move
from bootcfleet.ops.survey import (
    deployed_images,
    learn_deployed,
    learn_layers,
    learn_platforms,
)
from bootcfleet.ops.train import run_train


@dataclass(frozen=True)
class RevocationPlan:
    """What a revocation will do.

    `before` is the revocation that there is already.  `moves` bring channels back to their
    last good entries; `stuck` are the channels that cannot be, with the reason.
    """

    located: Located
    name: str
    reason: str
    impact: Impact
    before: Revoked | None = None
    moves: tuple[Move, ...] = ()
    stuck: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())
    #: All digests of the image: a later look may know only one of them.
    digests: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            **self.impact.to_json(),
            "name": self.name,
            "reference": str(self.located.reference) if self.located.reference else None,
            "reason": self.reason,
            "revoked_before": self.before.to_json() if self.before else None,
            "rollbacks": [
                {
                    "image": move.image,
                    "channel": move.channel,
                    "from": move.before,
                    "to": move.digest,
                    "why": move.why,
                }
                for move in self.moves
            ],
            "stuck": [
                {"image": image, "channel": channel, "why": why}
                for image, channel, why in self.stuck
            ],
            "notes": list(self.notes),
        }


def channel_uses(channels: Channels) -> tuple[ChannelUse, ...]:
    """The newest entry of every history.  Raises `FleetError`."""
    return tuple(
        ChannelUse(image, channel, history[-1].digest, history[-1].number)
        for (image, channel), history in channels.store.all().items()
    )


def survey_impact(
    channels: Channels, lineage: Lineage, located: Located, survey: HostSurvey
) -> tuple[Impact, tuple[str, ...]]:
    """Who uses an image; and what could not be found out.

    Asks the registry for what the ledger does not know: images that other machines have
    built, and the platforms of indexes.  Raises `FleetError`.
    """
    notes: list[str] = []
    histories = channels.store.all()
    for history in histories.values():
        if lineage.made(history[-1].digest) is None:
            notes += learn(lineage, channels.registry, history[-1].reference)
    notes += learn_deployed(lineage, channels.registry, survey)
    affected = (located.digest, *lineage.descendants(located.digest))
    found = [reference_of(one, channels.loaded, lineage) for one in affected]
    found[0] = found[0] or located.reference
    known = [ref for ref in found if ref is not None and _ours(ref, channels)]
    notes += learn_platforms(lineage, channels.registry, known)
    if found[0] is not None and same_registry(found[0], channels.loaded):
        there = [history[-1].reference for history in histories.values()]
        near = [one for one in deployed_images(survey) if same_registry(one, channels.loaded)]
        notes += learn_layers(lineage, channels.registry, found[0], [*there, *near])
    reached = impact(located.digest, lineage, channel_uses(channels), survey)
    every = {same for one in reached.affected for same in lineage.same(one)}
    for intent in channels.store.open_intents():
        for move in intent.moves:
            if move.digest in every:
                notes.append(f"{intent.actor} is moving it to {move.channel} of {move.image} now")
    return reached, tuple(dict.fromkeys(notes))


def plan_revocation(
    channels: Channels,
    lineage: Lineage,
    revocations: Revocations,
    located: Located,
    reason: str,
    survey: HostSurvey,
    *,
    rollback: bool,
) -> RevocationPlan:
    """What a revocation would do; nothing is changed.  Raises `FleetError`."""
    if not reason.strip():
        raise UsageError(
            "an image is revoked for a reason", hint="say it, for it is recorded: --reason '…'"
        )
    reached, notes = survey_impact(channels, lineage, located, survey)
    name = lineage.name(located.digest) or _repository(located) or located.digest
    plan = RevocationPlan(
        located,
        name,
        reason,
        reached,
        revocations.direct(located.digest, lineage),
        notes=notes,
        digests=lineage.same(located.digest),
    )
    if not rollback:
        return plan
    then = revocations.adding(
        Revoked(located.digest, name, reason, channels.clock(), channels.actor)
    )
    moves: list[Move] = []
    stuck: list[tuple[str, str, str]] = []
    for use in reached.channels:
        found = _back(channels, lineage, then, use, f"{name} was revoked: {reason}")
        if isinstance(found, Move):
            moves.append(found)
        else:
            stuck.append((use.image, use.channel, found))
    return replace(plan, moves=tuple(moves), stuck=tuple(stuck))


def revoke(channels: Channels, plan: RevocationPlan) -> tuple[tuple[ChannelEntry, ...], str | None]:
    """Carry a plan out: the ledger first, so that nothing new is made of it from then on.

    The new entries of channels that went back, and why the revocation could not be
    attached in the registry, or None.  Raises `FleetError`.
    """
    if plan.before is None:
        channels.record(
            REVOKE,
            plan.name,
            "revoked",
            digests={"image": plan.located.digest},
            details={
                "reason": plan.reason,
                "platforms": [one for one in plan.digests if one != plan.located.digest],
                "descendants": list(plan.impact.descendants),
                "channels": [f"{one.image}:{one.channel}" for one in plan.impact.channels],
                "hosts": sorted({one.host for one in plan.impact.hosts}),
                "unknown_hosts": sorted(plan.impact.survey.silent),
            },
        )
    problem = _attach(channels, plan.located, plan.name, plan.reason, revoked=True)
    return run_train(channels, plan.moves), problem


def require_revoked(
    lineage: Lineage, revocations: Revocations, located: Located, reason: str
) -> Revoked:
    """The revocation that is to be undone.  Raises `UsageError` where there is none."""
    if not reason.strip():
        raise UsageError(
            "an image is restored for a reason", hint="say it, for it is recorded: --reason '…'"
        )
    revoked = revocations.direct(located.digest, lineage)
    if revoked is not None:
        return revoked
    above = revocations.reason(located.digest, lineage)
    raise UsageError(
        f"{located.digest} is not revoked" + (" itself" if above else ""),
        hint=f"{above.message}; restore that: bootcfleet image restore {above.digest}"
        if above
        else None,
    )


def restore(
    channels: Channels,
    lineage: Lineage,
    revocations: Revocations,
    located: Located,
    revoked: Revoked,
    reason: str,
) -> str | None:
    """Undo a revocation; why the registry could not be told, or None.  Raises `FleetError`."""
    every = [one for one, found in revocations.by_digest.items() if found.digest == revoked.digest]
    channels.record(
        RESTORE,
        revoked.name,
        "restored",
        digests={"image": revoked.digest},
        details={
            "reason": reason,
            "revoked": revoked.reason,
            "platforms": [one for one in every if one != revoked.digest],
        },
    )
    if revoked.digest != located.digest:
        there = reference_of(revoked.digest, channels.loaded, lineage)
        located = Located(revoked.digest, there)
    return _attach(channels, located, revoked.name, reason, revoked=False)


def _back(
    channels: Channels, lineage: Lineage, then: Revocations, use: ChannelUse, why: str
) -> Move | str:
    """The move of a channel to its last good entry, or why there is none."""
    tag = channels.tag(use.image, use.channel)
    now = channels.found(tag)
    if now != use.digest:
        return f"the tag points at {now or 'nothing'}: bootcfleet channel verify"
    good = [
        entry
        for entry in reversed(channels.store.history(use.image, use.channel))
        if then.reason(entry.digest, lineage) is None
    ]
    # A digest whose checks passed goes before a newer one that was never checked.
    for entry in sorted(good, key=lambda one: not _checked(channels, lineage, one.digest)):
        if not channels.registry.exists(entry.reference):
            continue
        manifest = channels.registry.manifest(entry.reference)
        source = f"entry {entry.number}"
        candidate = Candidate(use.image, use.channel, source, entry.reference, manifest, now)
        return make_move(channels, candidate, ChannelAction.REVOKE, why=why)
    return "its history has no digest that is good and still in the registry"


def _checked(channels: Channels, lineage: Lineage, digest: str) -> bool:
    for one in lineage.same(digest):
        found = latest_evidence(channels.ledger, EvidenceKind.CHECK, one)
        if found is not None and found.outcome is EvidenceOutcome.PASSED:
            return True
    return False


def _attach(
    channels: Channels, located: Located, name: str, reason: str, *, revoked: bool
) -> str | None:
    """Tell the registry, for other ledgers; why that was not done, or None."""
    ref = located.reference
    if ref is None:
        return "it is in no registry that is known"
    if not _ours(ref, channels):
        return f"{ref.name} is not in the project's registry"
    notice = Notice(revoked, located.digest, name, reason, channels.clock(), channels.actor)
    try:
        attach_notice(channels.artifacts, ref.with_digest(Digest(located.digest)), notice)
    except FleetError as error:
        return error.message
    return None


def attach_notice(artifacts: Artifacts, image: ImageRef, notice: Notice) -> Digest:
    """Attach a notice to an image (by digest) in its registry.  Raises `RegistryError`."""
    blobs: list[tuple[str, bytes, dict[str, str]]] = [
        ("application/json", notice.to_bytes(), {}),
    ]
    return artifacts.push(image, ARTIFACT_TYPE, blobs, subject=image.digest)


def _ours(ref: ImageRef, channels: Channels) -> bool:
    """Whether it is where the project pushes to."""
    prefixes = [channels.loaded.project.registry]
    prefixes += [
        one.repository for one in channels.loaded.project.channels.values() if one.repository
    ]
    return any(ref.name.startswith(f"{prefix}/") for prefix in prefixes)


def _repository(located: Located) -> str | None:
    return located.reference.name if located.reference else None
