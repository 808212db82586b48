"""Prove that every pin of a lock still holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.lock import Lock, Pin
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.errors import FleetError
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.lock import FILE, PARALLEL, bases_of, builders_of, load_lock
from bootcfleet.ops.project import LoadedProject

UPDATE = "bootcfleet lock update"


class Shelf(Protocol):
    """What is asked of a registry here; `RegistryClient` is one."""

    def exists(self, ref: ImageRef) -> bool:
        """Whether the registry has the reference."""
        ...

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest itself, checked against its digest."""
        ...


def verify_lock(loaded: LoadedProject, shelf: Shelf) -> tuple[GateResult, ...]:
    """An answer for each base: one that is green, or one for each problem that it has.

    A pin is green when an image declares its base, the registry still has the digest, and
    still has the manifest of each platform, which are those that the index lists and all that
    the images are built for. The name
    of an answer is the base. A registry that cannot be asked is not green. Raises
    `ConfigError`.
    """
    lock = load_lock(loaded.root)
    bases = bases_of(ImageGraph.of(loaded.project, loaded.document))
    images = {**builders_of(loaded), **bases}
    if lock is None:
        message = f"is not pinned: there is no {FILE}"
        return tuple(GateResult(base, False, message, UPDATE) for base in images)
    pinned = [base for base in images if base in lock.pins]
    asked = gather(pinned, lambda base: _verify(lock.pins[base], shelf), parallel=PARALLEL)
    found: list[GateResult] = []
    for base, names in images.items():
        answer = asked.get(base)
        if answer is None:
            remedy = f"{UPDATE} {names[0]}" if base in bases else UPDATE
            found.append(GateResult(base, False, f"is not pinned in {FILE}", remedy))
        elif isinstance(answer, FleetError):
            message = f"cannot be verified: {answer.message}"
            found.append(GateResult(base, False, message, answer.hint))
        else:
            missing = list(_not_for(loaded, lock.pins[base], bases.get(base, ())))
            found += missing if missing and answer[0].ok else [*answer, *missing]
    return (*found, *_left_over(lock, images))


def _not_for(loaded: LoadedProject, pin: Pin, images: Iterable[str]) -> Iterator[GateResult]:
    """The platforms that images are declared to be built for, and the base is not."""
    project = loaded.project
    for name in images:
        for platform in project.images[name].platforms or project.platforms:
            if Platform.parse(platform) not in pin.platforms:
                message = f"has no image for {platform}, which {name} is built for"
                remedy = "take it out of platforms:, or stand on another base"
                yield GateResult(pin.declared, False, message, remedy)


def _left_over(lock: Lock, images: dict[str, tuple[str, ...]]) -> Iterator[GateResult]:
    for base in lock.pins:
        if base not in images:
            yield GateResult(base, False, "is pinned, and no image declares it", UPDATE)


def _verify(pin: Pin, shelf: Shelf) -> list[GateResult]:
    ref, remedy = pin.reference, f"{UPDATE}, or push it again: skopeo copy --all"
    if not shelf.exists(ref):
        gone = f"{ref.registry} no longer has {pin.digest}"
        return [GateResult(pin.declared, False, gone, remedy)]
    manifest = shelf.manifest(ref)
    # A base without an index is its one platform itself.
    listed = manifest.children if manifest.is_index else dict.fromkeys(pin.platforms, pin.digest)
    found = []
    for platform, digest in pin.platforms.items():
        if listed.get(platform) != digest:
            message = f"does not list {digest} for {platform}, as {FILE} says"
            found.append(GateResult(pin.declared, False, message, UPDATE))
        elif digest != pin.digest and not shelf.exists(ref.with_digest(digest)):
            message = f"{ref.registry} no longer has its image for {platform}, {digest}"
            found.append(GateResult(pin.declared, False, message, remedy))
    for platform in listed:
        if platform not in pin.platforms:
            message = f"has an image for {platform} that {FILE} does not know"
            found.append(GateResult(pin.declared, False, message, UPDATE))
    if found:
        return found
    platforms = ", ".join(map(str, pin.platforms))
    return [GateResult(pin.declared, True, f"{pin.digest.short} is there for {platforms}")]
