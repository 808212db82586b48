"""Where an image comes from: from the ledger, else from labels and layers in its registry."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.image import Config, Manifest
from bootcfleet.domain.lineage import Lineage, Made, made_from_labels
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError, Platform
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.project import LoadedProject

__all__ = ["Lineage", "Located", "learn", "locate", "reference_of", "same_registry", "stands_on"]

#: The beginning of a digest that a person may type.
_START = re.compile(r"(?:sha256:)?[0-9a-f]{6,64}")
#: Bases that are followed by labels; a chain of more is no chain.
_DEEPEST = 64


@dataclass(frozen=True)
class Located:
    """An image that somebody named: its digest, and where it is said to be (by digest)."""

    digest: str
    reference: ImageRef | None


def locate(
    text: str,
    loaded: LoadedProject | None,
    lineage: Lineage,
    client: RegistryClient | None,
) -> Located:
    """The image that a word means.

    A digest, or its first six digits or more where the ledger knows it; a reference; an
    image of the project (its newest build), with a tag or a channel (``web:prod``) or
    without.  `client` is None when no registry is to be asked.  Raises `UsageError` for
    what is none, and `RegistryError`.
    """
    if _START.fullmatch(text):
        return _by_digest(text, loaded, lineage, client)
    if "/" in text:
        return _by_reference(ImageRef.parse(text), client)
    images = loaded.project.images if loaded else {}
    name = re.split("[:@]", text, maxsplit=1)[0]
    if loaded is None or name not in images:
        close = did_you_mean(name, images)
        raise UsageError(
            f"{text!r} is no digest, reference or image of the project",
            hint=close or "write sha256:…, registry.example.com/acme/web:prod, web or web:prod",
        )
    if name != text:
        return _by_reference(ImageRef.parse(f"{loaded.project.registry}/{text}"), client)
    newest = max(lineage.named(name), key=lambda made: made.number or 0, default=None)
    if newest is None:
        raise UsageError(
            f"the ledger knows no build of {name}",
            hint=f"build it: bootcfleet image build {name}; or name a tag: {name}:TAG",
        )
    return Located(newest.digest, reference_of(newest.digest, loaded, lineage))


def _by_digest(
    text: str, loaded: LoadedProject | None, lineage: Lineage, client: RegistryClient | None
) -> Located:
    found = lineage.find(text)
    if len(found) > 1:
        raise UsageError(
            f"{text} is the beginning of {len(found)} digests",
            hint="write more of it: " + ", ".join(one[:19] for one in found[:4]),
        )
    try:
        digest = str(Digest(text if text.startswith("sha256:") else f"sha256:{text}"))
    except InvalidReferenceError:
        if not found:
            raise UsageError(
                f"the ledger knows no digest that begins with {text}",
                hint="write the whole digest, or a reference with its registry",
            ) from None
        digest = found[0]
    reference = reference_of(digest, loaded, lineage)
    if reference is None and loaded is not None and client is not None:
        reference = _search(digest, loaded, client)
    return Located(digest, reference)


def _by_reference(ref: ImageRef, client: RegistryClient | None) -> Located:
    if ref.digest is None:
        if client is None:
            raise UsageError(f"what {ref} is now only its registry knows")
        ref = ref.with_digest(client.digest(ref))
    return Located(str(ref.digest), ref.with_digest(Digest(str(ref.digest))))


def reference_of(digest: str, loaded: LoadedProject | None, lineage: Lineage) -> ImageRef | None:
    """Where the ledger says that an image is; None for one that was never pushed."""
    made = lineage.made(digest)
    if made is not None and loaded is not None and made.name in loaded.project.images:
        if made.pushed:
            repository = ImageRef.parse(f"{loaded.project.registry}/{made.name}")
            return repository.with_digest(Digest(digest if digest in made.pushed else made.digest))
        return None
    repository_name = lineage.repository(digest)
    if repository_name is None:
        return None
    return ImageRef.parse(repository_name).with_digest(Digest(digest))


def same_registry(ref: ImageRef, loaded: LoadedProject | None) -> bool:
    """Whether it is in the registry that the project pushes to.

    Foreign registries are asked only when somebody names them: they may be out of reach,
    and what a command is about does not depend on them.
    """
    return loaded is not None and loaded.project.registry.partition("/")[0] == ref.registry


def _search(digest: str, loaded: LoadedProject, client: RegistryClient) -> ImageRef | None:
    """The repository of the project that has a digest which the ledger does not know."""
    references = {
        name: ImageRef.parse(f"{loaded.project.registry}/{name}").with_digest(Digest(digest))
        for name in loaded.project.images
    }
    answers = gather(tuple(references), lambda n: client.exists(references[n]), parallel=8)
    return next((references[name] for name, answer in answers.items() if answer is True), None)


def learn(
    lineage: Lineage, client: RegistryClient, start: ImageRef, *, everywhere: bool = False
) -> tuple[str, ...]:
    """Add what labels tell of an image (by digest) that the ledger did not build, and upwards.

    Ends where the ledger knows on, or where an image has no labels of ours; at a base in
    another registry too, unless `everywhere`.  A label counts unless the layers contradict
    it.  What could not be found out comes back as sentences.
    """
    notes: list[str] = []
    ref: ImageRef | None = start
    for _ in range(_DEEPEST):
        if ref is None or ref.digest is None or lineage.made(str(ref.digest)) is not None:
            break
        if ref.registry != start.registry and not everywhere:
            break
        try:
            made = _read(client, ref, notes, everywhere=everywhere)
        except FleetError as error:
            notes.append(f"{ref} cannot be asked: {error.message}")
            break
        if made is None:
            break
        lineage.learn(made)
        ref = _parse(made.base)
    return tuple(notes)


def stands_on(client: RegistryClient, image: ImageRef, base: ImageRef) -> bool:
    """Whether the first layers of an image are those of another one, whatever its labels say.

    Both by digest, unpacked layers compared.  An image that was squashed or divided anew has
    layers of its own and cannot be known so.  Raises `FleetError`.
    """
    platform, config = _config(client, image, client.manifest(image))
    own, below = config.diff_ids, client.config(base, platform).diff_ids
    return bool(below) and len(own) > len(below) and own[: len(below)] == below


def _read(
    client: RegistryClient, ref: ImageRef, notes: list[str], *, everywhere: bool
) -> Made | None:
    manifest = client.manifest(ref)
    platform, config = _config(client, ref, manifest)
    digests = tuple(map(str, (manifest.digest, *manifest.children.values())))
    claimed = made_from_labels(digests, config.labels)
    if claimed is None:
        return None
    if not manifest.is_index and claimed.build_id:
        digests = _index(client, ref, claimed.build_id) + digests
    layers: bool | None = None
    base = _parse(claimed.base)
    if base is not None and (everywhere or base.registry == ref.registry):
        try:
            below = client.config(base, platform).diff_ids
            layers = bool(below) and config.diff_ids[: len(below)] == below
        except FleetError as error:
            notes.append(f"the base {base} cannot be asked: {error.message}")
        if layers is False:
            notes.append(f"{ref} does not have the layers of {base}, which its label names")
    digests = tuple(dict.fromkeys(digests))
    return made_from_labels(digests, config.labels, layers=layers)


def _config(
    client: RegistryClient, ref: ImageRef, manifest: Manifest
) -> tuple[Platform | None, Config]:
    platform = next(iter(manifest.children), None) if manifest.is_index else None
    config = client.config(ref, platform)
    return config.platform or platform, config


def _index(client: RegistryClient, ref: ImageRef, build_id: str) -> tuple[str, ...]:
    """The digests of the index that a platform's manifest is in, by the tag of its build."""
    try:
        index = client.manifest(ref.with_tag(f"bf-{build_id[:32]}"))
    except FleetError:
        return ()  # the tag is gone, or it was built without one
    if ref.digest in index.references:
        return tuple(map(str, (index.digest, *index.children.values())))
    return ()


def _parse(base: str | None) -> ImageRef | None:
    """A base as a reference by digest; None for what is none."""
    if base is None or "@" not in base:
        return None
    try:
        ref = ImageRef.parse(base)
    except InvalidReferenceError:
        return None
    return ref.with_digest(ref.digest) if ref.digest else None
