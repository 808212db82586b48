"""``bootcfleet.lock``: the exact digest of every external base, reviewed in git.

A pin is the digest of the *index* where a base has one, so that the same lock
serves every platform; the digests of the platforms stand beside it. The file is
written by a machine: its order and its form depend on its content alone, and
parsing what was rendered gives the same lock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from bootcfleet.domain.document import Document, validate
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError, Platform

HEADER = """\
# Written by `bootcfleet lock update`: the exact digest of every base from outside.
# It belongs into git. Change it with that command, not by hand.
"""


@dataclass(frozen=True)
class Pin:
    """One base: what the project declares, and what it was at `locked` (UTC, whole seconds).

    `digest` is the index's where the base has one, else the manifest's;
    `platforms` has the manifest of each platform that bootc runs on; `version`
    is the label ``org.opencontainers.image.version``.
    """

    declared: str
    digest: Digest
    locked: datetime
    platforms: Mapping[Platform, Digest] = field(default_factory=dict)
    version: str | None = None

    def __post_init__(self) -> None:
        whole = self.locked.astimezone(UTC).replace(microsecond=0)
        object.__setattr__(self, "locked", whole)
        object.__setattr__(self, "platforms", dict(sorted(self.platforms.items())))

    @classmethod
    def of(cls, declared: str, resolved: Resolved, locked: datetime) -> Self:
        """The pin of what a registry said; `locked` is aware."""
        version = resolved.version
        if version is not None:
            # A label is anybody's text; half of a surrogate pair cannot be written to a file.
            version = version.encode("utf-8", "replace").decode()
        return cls(declared, resolved.digest, locked, resolved.platforms, version)

    @property
    def reference(self) -> ImageRef:
        """What is built FROM: REGISTRY/REPOSITORY@DIGEST."""
        return ImageRef.parse(self.declared).with_digest(self.digest)

    def same(self, other: Pin) -> bool:
        """Whether both say the same of the base; when they were made does not count."""
        return (self.declared, self.digest, self.platforms, self.version) == (
            other.declared,
            other.digest,
            other.platforms,
            other.version,
        )

    def to_json(self) -> dict[str, Any]:
        """The pin as JSON-ready data."""
        return {
            "base": self.declared,
            "digest": str(self.digest),
            "reference": str(self.reference),
            "version": self.version,
            "locked": _time(self.locked),
            "platforms": {str(name): str(digest) for name, digest in self.platforms.items()},
        }


@dataclass(frozen=True)
class Lock:
    """All pins by the reference that the project declares, in the order of the file."""

    pins: Mapping[str, Pin] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pins", dict(sorted(self.pins.items())))

    def pin(self, declared: str) -> Pin | None:
        """The pin of a ``base:``, with or without ``docker://``; None where it has none.

        Raises `InvalidReferenceError` for what is no reference.
        """
        return self.pins.get(str(ImageRef.parse(declared)))

    def to_json(self) -> dict[str, Any]:
        """The lock as JSON-ready data."""
        return {"bases": [pin.to_json() for pin in self.pins.values()]}


@dataclass(frozen=True)
class LockChange:
    """What becomes of a lock: each pin in one of four places.

    `moved` has the pins before and after; a pin that says the same, only at
    another time, is unchanged.
    """

    moved: tuple[tuple[Pin, Pin], ...] = ()
    added: tuple[Pin, ...] = ()
    removed: tuple[Pin, ...] = ()
    unchanged: tuple[Pin, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        return not (self.moved or self.added or self.removed)


def compare(old: Lock | None, new: Lock) -> LockChange:
    """What differs between two locks; `old` is None where there was none."""
    before = old.pins if old else {}
    both = [(before[name], pin) for name, pin in new.pins.items() if name in before]
    return LockChange(
        moved=tuple(pair for pair in both if not pair[0].same(pair[1])),
        added=tuple(pin for name, pin in new.pins.items() if name not in before),
        removed=tuple(pin for name, pin in before.items() if name not in new.pins),
        unchanged=tuple(after for was, after in both if was.same(after)),
    )


class _PinModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    version: str | None = None
    locked: AwareDatetime
    platforms: dict[str, str] = Field(min_length=1)

    @field_validator("digest")
    @classmethod
    def _is_a_digest(cls, value: str) -> str:
        return str(Digest(value))

    @field_validator("locked")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        try:
            return value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("is no time that can be told in UTC") from error

    @field_validator("platforms")
    @classmethod
    def _are_platforms(cls, value: dict[str, str]) -> dict[str, str]:
        for name, digest in value.items():
            usual = str(Platform.parse(name))
            if name != usual:
                raise ValueError(f"the platform {name!r} is written {usual}")
            Digest(digest)
        return value


class _LockModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1, le=1)
    bases: dict[str, _PinModel] = Field(default_factory=dict)


def parse_lock(document: Document) -> Lock:
    """Read a lock.  Raises `ConfigError` with file, line and field."""
    model = validate(document, _LockModel)
    pins = {}
    for name, one in model.bases.items():
        at = ("bases", name)
        try:
            ref = ImageRef.parse(name)
        except InvalidReferenceError as error:
            raise document.error(at, error.message, hint=error.hint) from error
        if str(ref) != name:
            raise document.error(at, f"is written {str(ref)!r} in a lock")
        if ref.digest is not None and str(ref.digest) != one.digest:
            raise document.error(
                (*at, "digest"),
                f"is not the digest that the base itself declares, {ref.digest}",
                hint="bootcfleet lock update",
            )
        pins[name] = Pin(
            name,
            Digest(one.digest),
            one.locked,
            {Platform.parse(key): Digest(value) for key, value in one.platforms.items()},
            one.version,
        )
    return Lock(pins)


def render_lock(lock: Lock) -> str:
    """The text of the file: sorted, one value a line, the same for the same lock."""
    lines = [HEADER + "version: 1"]
    lines.append("bases:" if lock.pins else "bases: {}")
    for name, pin in lock.pins.items():
        lines.append(f"  {_key(name)}:")
        lines.append(f"    digest: {pin.digest}")
        if pin.version is not None:
            lines.append(f"    version: {_quoted(pin.version)}")
        lines.append(f"    locked: {_quoted(_time(pin.locked))}")
        lines.append("    platforms:")
        lines += [f"      {platform}: {digest}" for platform, digest in pin.platforms.items()]
    return "\n".join(lines) + "\n"


def _key(reference: str) -> str:
    """A reference as a YAML key: in quotes only where its registry is an IPv6 address."""
    return reference if reference[0].isalnum() else _quoted(reference)


_PLAIN = re.compile(r"[ -~]")


def _quoted(text: str) -> str:
    """A text in YAML's double quotes, every character but plain ASCII escaped (YAML 1.2, 5.7)."""
    found = []
    for char in text:
        if char in '"\\':
            found.append(f"\\{char}")
        elif _PLAIN.match(char):
            found.append(char)
        else:
            found.append(f"\\U{ord(char):08x}")
    return '"' + "".join(found) + '"'


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
