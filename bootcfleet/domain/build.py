"""What a build gives: tags, each image's result, the report, and what is remembered of the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from bootcfleet.domain.buildid import BuildInputs
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import FleetError


class BuildFailedError(FleetError):
    """At least one image of a build failed; everything that did not need it was built."""


class ImageOutcome(StrEnum):
    """How one image of a build ended."""

    BUILT = "built"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class ImageResult:
    """One image of a build.

    `reference` is what a child is built FROM: REGISTRY/NAME@DIGEST after a push,
    else the local image id. `digest` is the registry's and None without a push.
    `base` is what it was built from, `log` the path of its log, `seconds` how
    long it took, `message` why it was not built, `tail` the end of its log.
    `variants` has a reference for each platform of an image for several.
    """

    image: str
    outcome: ImageOutcome
    reference: str | None = None
    image_id: str | None = None
    digest: str | None = None
    tags: tuple[str, ...] = ()
    base: str | None = None
    log: str | None = None
    seconds: float = 0.0
    message: str = ""
    hint: str | None = None
    tail: tuple[str, ...] = ()
    build_id: str | None = None
    variants: Mapping[str, str] = field(default_factory=dict)

    @property
    def there(self) -> bool:
        """Whether the image exists, so that its children can be built."""
        return self.outcome in (ImageOutcome.BUILT, ImageOutcome.UNCHANGED)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**asdict(self), "outcome": self.outcome.value, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class BuildReport:
    """All results of a build, in the order of its plan."""

    results: tuple[ImageResult, ...]
    pushed: bool = False

    def of(self, outcome: ImageOutcome) -> tuple[ImageResult, ...]:
        """The images that ended so."""
        return tuple(result for result in self.results if result.outcome is outcome)

    @property
    def ok(self) -> bool:
        """Whether every image is there: built now, or unchanged since it was."""
        return all(result.there for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "ok": self.ok,
            "pushed": self.pushed,
            "images": [result.to_json() for result in self.results],
        }

    def require_all(self) -> None:
        """Raise `BuildFailedError` with the end of each failed image's log, if any failed."""
        failed = self.of(ImageOutcome.FAILED)
        if not failed:
            return
        details = []
        for result in failed:
            details.append(f"{result.image}: {result.message}")
            details += [f"  | {line}" for line in result.tail]
            if result.log:
                details.append(f"  log: {result.log}")
        skipped = self.of(ImageOutcome.SKIPPED)
        if skipped:
            names = ", ".join(result.image for result in skipped)
            details.append(f"not built, because what they stand on failed: {names}")
        names = ", ".join(result.image for result in failed)
        raise BuildFailedError(
            f"{len(failed)} of {len(self.results)} images failed: {names}",
            hint=next((result.hint for result in failed if result.hint), None),
            details=details,
        )


@dataclass(frozen=True)
class LastBuild:
    """What ``builds.json`` remembers of an image's last good build; times are UTC.

    `base` is the exact reference that it was built FROM, `declared` what the
    project's ``base:`` said then, `inputs` all that it was made of (None for
    builds of older versions), `variants` a reference for each platform.
    """

    image_id: str
    reference: str
    base: str
    built_at: str
    declared: str | None = None
    digest: str | None = None
    tags: tuple[str, ...] = ()
    git_commit: str | None = None
    log: str | None = None
    seconds: float = 0.0
    inputs: BuildInputs | None = None
    variants: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read one entry; unknown keys of a newer version are passed over.  Raises `TypeError`."""
        known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
        inputs = known.get("inputs")
        read = {
            "tags": tuple(known.get("tags") or ()),
            "inputs": BuildInputs.from_json(inputs) if inputs else None,
            "variants": dict(known.get("variants") or {}),
        }
        return cls(**{**known, **read})

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON-ready data."""
        return {
            name: value.to_json() if isinstance(value, BuildInputs) else value
            for name, value in ((one, getattr(self, one)) for one in self.__dataclass_fields__)
        }


def image_tags(
    version: str, now: datetime, commit: str | None, *, dirty: bool = False
) -> tuple[str, ...]:
    """The tags of an image built at `now`: version, date (UTC), and git commit.

    The commit's tag ends in ``-dirty`` when the tree has changes that are not
    in it, and is left out where there is no commit.
    """
    tags = [version, now.astimezone(UTC).strftime("%Y%m%d")]
    if commit:
        tags.append(commit[:12] + ("-dirty" if dirty else ""))
    return tuple(dict.fromkeys(tags))


def tagged(repository: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Every full name of an image.  Raises `InvalidReferenceError` for one that cannot be."""
    return tuple(str(ImageRef.parse(f"{repository}:{tag}")) for tag in tags)
