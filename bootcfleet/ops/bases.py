"""Where the external bases of a project are: as locked, as last built, or as the registry says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.buildid import short
from bootcfleet.domain.lock import Lock, Pin
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.lock import Resolve


@dataclass(frozen=True)
class Base:
    """Where an external base is: its exact reference, and notes.

    `variants` has a reference for each platform of an index; `platforms` those that it
    has an image for, as far as that is known.
    """

    reference: str
    variants: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()


@dataclass
class Bases:
    """Finds the base of each image of one plan; every registry is asked once for a base.

    A pin of `lock` decides. Without one: where the image's last build found it,
    unless `fresh`; else where the registry has it, by `resolve` (None: nobody is
    asked). With `fresh`, pins are compared with the registry, and a note says when
    it moved. With `strict`, a base without a pin raises `UsageError`.
    """

    last: Mapping[str, LastBuild]
    lock: Lock | None = None
    resolve: Resolve | None = None
    fresh: bool = False
    strict: bool = False
    _asked: dict[str, Base] = field(default_factory=dict)

    def find(self, name: str, declared: str) -> Base:
        """The base of image `name`, which the project declares as `declared`."""
        pin = self.lock.pin(declared) if self.lock else None
        if pin is not None:
            base = _pinned(declared, pin)
            return self._compared(base, declared) if self.fresh else base
        if self.strict:
            raise UsageError(
                f"the base {declared} is not in bootcfleet.lock",
                hint="pin it, and commit the file: bootcfleet lock update",
            )
        before = self.last.get(name)
        if not self.fresh and before is not None and before.declared == declared:
            return Base(before.base)
        return self._ask(declared)

    def _compared(self, base: Base, declared: str) -> Base:
        now = self._ask(declared)
        if now.reference == base.reference or "@" not in now.reference:
            return replace(base, notes=now.notes)
        moved = f"the registry is at {short(now.reference.rpartition('@')[2])}"
        return replace(base, notes=(f"{moved}: bootcfleet lock update",))

    def _ask(self, declared: str) -> Base:
        if declared not in self._asked:
            self._asked[declared] = self._answer(ImageRef.parse(declared))
        return self._asked[declared]

    def _answer(self, ref: ImageRef) -> Base:
        if self.resolve is None:
            return Base(str(ref))
        if ref.registry == "localhost":
            return Base(str(ref), notes=("it is in podman's storage alone",))
        try:
            found = self.resolve(ref)
        except FleetError as error:
            if ref.digest is not None:
                return Base(str(ref))
            return Base(str(ref), notes=(f"its digest is not known yet: {error.message}",))
        there = {str(one): str(ref.with_digest(d)) for one, d in found.platforms.items()}
        return _exact(str(ref.with_digest(found.digest)), there)


def _pinned(declared: str, pin: Pin) -> Base:
    name = ImageRef.parse(declared).name
    return _exact(str(pin.reference), {str(p): f"{name}@{d}" for p, d in pin.platforms.items()})


def _exact(reference: str, there: Mapping[str, str]) -> Base:
    # What is no index is its only platform's image itself.
    variants = {} if set(there.values()) <= {reference} else dict(there)
    return Base(reference, variants, platforms=tuple(sorted(there)))
