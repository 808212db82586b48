"""Deletes from the registry what no channel, child, lock or host needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bootcfleet.domain.artifact import subject_of
from bootcfleet.domain.event import Event
from bootcfleet.domain.impact import HostSurvey
from bootcfleet.domain.lineage import Lineage, base_digest
from bootcfleet.domain.prune import PrunePlan, Stored, plan_prune
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.registryhttp import RegistryError
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.lineage import learn
from bootcfleet.ops.lock import load_lock

#: Requests to the registry at the same time.
_PARALLEL = 8
#: Notes that a digest is needed, and why.
_Need = Callable[[str | None, str], None]


def require_hosts(survey: HostSurvey) -> None:
    """Raise `FleetError` when it is not known what every host has."""
    if survey.complete:
        return
    hint = "when they answer, run it again; or leave the hosts aside: --ignore-hosts"
    if not survey.asked:
        raise FleetError(
            f"what the hosts need is not known: {survey.why}",
            hint="name the inventory with -i FILE, or leave the hosts aside: --ignore-hosts",
        )
    raise FleetError(
        f"{len(survey.silent)} hosts did not say what they have; nothing was deleted",
        details=[f"{host}: {why}" for host, why in survey.silent.items()],
        hint=hint,
    )


def plan(
    channels: Channels,
    survey: HostSurvey,
    *,
    images: Collection[str] = (),
    keep: int,
    younger_than: timedelta,
) -> PrunePlan:
    """What would be deleted, from the repositories of `images` (all of them without any).

    `keep` revisions of each channel and of each image's builds stay.  Raises `FleetError`.
    """
    names = _repositories(channels)
    for image in images:
        if image not in names.values():
            channels.require_image(image)  # an import has no other place but its history
    lineage = Lineage.of(channels.ledger)
    notes: list[str] = []
    stored = [one for repository in names for one in _scan(channels, repository)]
    stored = _with_times(channels, stored)
    for one in stored:
        if one.tags and one.owner is None and lineage.made(one.digest) is None:
            notes += learn(lineage, channels.registry, _ref(one))
    stored = _with_owners(channels, stored)
    needed = _needed(channels, stored, survey, keep)

    def bases(digest: str) -> Iterable[str]:
        own = lineage.base(digest)
        exact = base_digest(own) if own else None
        above = (same for one in lineage.ancestors(digest) for same in lineage.same(one))
        return dict.fromkeys([*([exact] if exact else []), *above])

    def decide() -> PrunePlan:
        return plan_prune(
            stored,
            needed,
            bases=bases,
            now=channels.clock(),
            younger_than=younger_than,
            chosen=lambda repository: not images or names[repository] in images,
        )

    found = decide()
    more = _referrers(channels, found, stored)
    if more:
        stored = [*stored, *more]
        found = decide()
    return replace(found, notes=tuple(dict.fromkeys(notes)))


def prune(channels: Channels, found: PrunePlan) -> int:
    """Carry a plan out; how many manifests were deleted.

    Looks once more whether anybody has moved a tag meanwhile, and deletes nothing then.
    Raises `FleetError`, `DeleteUnsupportedError`.
    """
    if not found.delete:
        return 0
    _require_unmoved(channels, found)
    names = _repositories(channels)
    by_repository: dict[str, list[Stored]] = {}
    for one in found.delete:
        by_repository.setdefault(one.stored.repository, []).append(one.stored)
    for repository, gone in by_repository.items():
        details = {
            "repository": repository,
            "manifests": [{"digest": one.digest, "tags": list(one.tags)} for one in gone],
        }
        channels.record("channel.prune", names[repository], "started", digests={}, details=details)
    deleted: dict[str, int] = dict.fromkeys(by_repository, 0)
    outcome = "failed"
    try:
        for one in found.delete:
            ref = ImageRef.parse(one.stored.repository)
            channels.artifacts.delete_manifest(ref, Digest(one.stored.digest))
            deleted[one.stored.repository] += 1
            channels.emit(
                Event(
                    "channel.prune.deleted",
                    names[one.stored.repository],
                    f"deleted {one.stored.digest}",
                    one.to_json(),
                )
            )
        outcome = "done"
    finally:
        for repository, count in deleted.items():
            channels.record(
                "channel.prune",
                names[repository],
                outcome,
                digests={},
                details={"repository": repository, "deleted": count},
            )
    return sum(deleted.values())


def _repositories(channels: Channels) -> dict[str, str]:
    """Every repository that the project writes to, with the image that is in it."""
    project = channels.loaded.project
    found: dict[str, str] = {}
    for image in project.images:
        for channel in (None, *project.channels):
            found.setdefault(channels.repository(image, channel).name, image)
    for (image, _), history in channels.store.all().items():
        for entry in history:
            found.setdefault(entry.repository, image)
    return found


def _ref(one: Stored) -> ImageRef:
    return ImageRef.parse(one.repository).with_digest(Digest(one.digest))


def _tags(channels: Channels, repository: str) -> list[str]:
    try:
        return channels.registry.tags(ImageRef.parse(repository))
    except RegistryError as error:
        if error.status == 404:
            return []  # nothing was pushed there yet
        raise


def _digests(channels: Channels, repository: str, tags: Sequence[str]) -> dict[str, str]:
    """What each tag points at; a tag that went away meanwhile is left out."""
    ref = ImageRef.parse(repository)
    answers = gather(tuple(tags), lambda tag: channels.found(ref.with_tag(tag)), parallel=_PARALLEL)
    found: dict[str, str] = {}
    for tag, answer in answers.items():
        if isinstance(answer, FleetError):
            raise answer
        if answer is not None:
            found[tag] = answer
    return found


def _scan(channels: Channels, repository: str) -> list[Stored]:
    """The tagged manifests of a repository, and those that they name.

    All tags of a digest come together here: deleting it takes every one of them.
    """
    ref = ImageRef.parse(repository)
    tags: dict[str, list[str]] = {}
    for tag, digest in _digests(channels, repository, _tags(channels, repository)).items():
        tags.setdefault(digest, []).append(tag)
    manifests = gather(
        tuple(tags),
        lambda digest: channels.registry.manifest(ref.with_digest(Digest(digest))),
        parallel=_PARALLEL,
    )
    found: dict[str, Stored] = {}
    for digest, manifest in manifests.items():
        if isinstance(manifest, FleetError):
            raise manifest
        subject = subject_of(manifest)
        children = tuple(map(str, manifest.references)) if manifest.is_index else ()
        found[digest] = Stored(
            repository,
            digest,
            tuple(sorted(tags[digest])),
            children,
            str(subject) if subject else None,
        )
    for one in list(found.values()):
        for child in one.children:
            # What a list of referrers has belongs to what the list is of.
            found.setdefault(child, Stored(repository, child, subject=one.owner))
    return list(found.values())


def _with_times(channels: Channels, stored: Sequence[Stored]) -> list[Stored]:
    """When each was made: by the ledger, or by its configuration where the ledger is silent."""
    known: dict[str, datetime] = {}

    def note(digest: str | None, at: datetime) -> None:
        if digest:
            known[digest] = max(at, known.get(digest, at))

    for action in ("image.build", "image.push"):
        for entry in channels.ledger.entries(action=action):
            note(entry.digests.get("image"), entry.at)
    for history in channels.store.all().values():
        for moved in history:
            note(moved.digest, moved.at)
    return [
        replace(one, at=known.get(one.digest) or _created(channels, one)) if one.tags else one
        for one in stored
    ]


def _created(channels: Channels, one: Stored) -> datetime | None:
    if one.foreign:
        return None  # it stays, and nobody asks how old it is
    try:
        text = channels.registry.config(_ref(one)).created
        at = datetime.fromisoformat(text) if text else None
    except (FleetError, ValueError):
        return None
    return at if at and at.tzinfo else None


def _with_owners(channels: Channels, stored: Sequence[Stored]) -> list[Stored]:
    """Whether what something belongs to is there, where the scan has not met it."""
    there = {(one.repository, one.digest) for one in stored}
    found = []
    for one in stored:
        if one.owner is not None and (one.repository, one.owner) not in there:
            owner = ImageRef.parse(one.repository).with_digest(Digest(one.owner))
            one = replace(one, owner_there=channels.registry.exists(owner))
        found.append(one)
    return found


def _referrers(channels: Channels, found: PrunePlan, stored: Sequence[Stored]) -> list[Stored]:
    """What belongs to manifests that would go, by the registry's own list."""
    there = {(one.repository, one.digest) for one in stored}
    more: dict[tuple[str, str], Stored] = {}
    for deletion in found.delete:
        one = deletion.stored
        if one.owner is not None:
            continue
        repo = ImageRef.parse(one.repository)
        for referrer in channels.artifacts.referrers(repo, Digest(one.digest)):
            key = (one.repository, str(referrer.digest))
            if key not in there:
                more[key] = Stored(*key, subject=one.digest)
    return list(more.values())


def _needed(
    channels: Channels, stored: Sequence[Stored], survey: HostSurvey, keep: int
) -> Mapping[str, list[str]]:
    """Every digest that something outside of the registry needs, with the reasons."""
    if keep < 1:
        raise UsageError("at least one revision is kept: --keep 1")
    found: dict[str, list[str]] = {}

    def need(digest: str | None, reason: str) -> None:
        if digest:
            found.setdefault(digest, []).append(reason)

    tagged = {(one.repository, tag): one.digest for one in stored for tag in one.tags}
    histories = channels.store.all()
    for image, channel in channels.pairs():
        now = tagged.get((channels.repository(image, channel).name, channel))
        need(now, f"{channel} of {image} points at it")
        history = histories.get((image, channel), ())
        newest = dict.fromkeys(entry.digest for entry in reversed(history))
        for digest in list(newest)[:keep]:
            need(digest, f"it is one of the last {keep} of {image} in {channel}")
    for intent in channels.store.open_intents():
        for move in intent.moves:
            need(move.digest, f"{intent.actor} is moving it to {move.channel}")
            need(move.before, f"{intent.actor} is moving {move.channel} from it")
    for image in channels.loaded.project.images:
        entries = channels.ledger.entries(action="image.build", subject=image)
        built = dict.fromkeys(
            one.digests["image"] for one in reversed(entries) if one.digests.get("image")
        )
        for digest in list(built)[:keep]:
            need(digest, f"it is one of the last {keep} builds of {image}")
    _need_locked(channels, need)
    for one in survey.deployed:
        need(one.digest, f"{one.host} has it ({one.slot})")
    return found


def _need_locked(channels: Channels, need: _Need) -> None:
    lock = load_lock(channels.loaded.root)
    for declared, pin in (lock.pins if lock else {}).items():
        need(str(pin.digest), f"bootcfleet.lock pins {declared} to it")
        for digest in pin.platforms.values():
            need(str(digest), f"bootcfleet.lock pins {declared} to it")
    for name, spec in channels.loaded.project.images.items():
        if spec.base:
            need(base_digest(spec.base), f"{name} is declared to be built on it")


def _require_unmoved(channels: Channels, found: PrunePlan) -> None:
    """Raise `FleetError` when a tag points at what is to be deleted, and did not before."""
    going: dict[str, dict[str, Stored]] = {}
    for one in found.delete:
        going.setdefault(one.stored.repository, {})[one.stored.digest] = one.stored
    for intent in channels.store.open_intents():
        for move in intent.moves:
            for digests in going.values():
                if move.digest in digests or move.before in digests:
                    raise _moved(f"{intent.actor} is moving {move.image} in {move.channel}")
    # All tags again: a promotion may have ended since, or somebody pushed a tag by hand.
    for repository, digests in going.items():
        current = _digests(channels, repository, _tags(channels, repository))
        for tag, digest in current.items():
            if digest in digests and tag not in digests[digest].tags:
                raise _moved(f"{repository}:{tag} points at {digest} now")


def _moved(why: str) -> FleetError:
    return FleetError(
        f"the registry has changed since the plan: {why}; nothing was deleted",
        hint="run it again: bootcfleet channel prune --dry-run",
    )
