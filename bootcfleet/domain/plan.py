"""The plan of a build: an action and a reason for every image, parents before children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.buildid import BuildInputs, explain, short


class BuildAction(StrEnum):
    """What a plan does with an image."""

    BUILD = "build"
    SKIP = "skip"


@dataclass(frozen=True)
class Known:
    """An image that exists already: what a child is built FROM.

    `variants` has a reference for each platform of an image for several;
    `built_at` is RFC 3339. `retag`: the registry has it, but its tags may be
    with another image (it was built elsewhere, or another state of the project
    was built since).
    """

    reference: str
    build_id: str
    built_at: str | None = None
    image_id: str | None = None
    digest: str | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    retag: bool = False


@dataclass(frozen=True)
class BuildStep:
    """One image of a plan.

    `base` is the exact reference that it is built FROM where that is known
    before the build; a child's is None while its parent is to be built.
    `bases` has the base of each platform where those differ. `build_id` is
    known when the base is. `known` is the image of a step that is skipped.
    `notes` say what could not be found out, or should be known.
    """

    image: str
    action: BuildAction
    reason: str
    parent: str | None = None
    base: str | None = None
    build_id: str | None = None
    known: Known | None = None
    bases: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The step as JSON-ready data."""
        return {
            "image": self.image,
            "action": self.action.value,
            "reason": self.reason,
            "parent": self.parent,
            "base": self.base,
            "build_id": self.build_id,
            "reference": self.known.reference if self.known else None,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class BuildPlan:
    """What a build will do, parents before children, and the tags that each image gets."""

    steps: tuple[BuildStep, ...]
    tags: tuple[str, ...] = ()
    push: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The images of the plan, in order."""
        return tuple(step.image for step in self.steps)

    @property
    def to_build(self) -> tuple[BuildStep, ...]:
        """The steps that build something."""
        return tuple(step for step in self.steps if step.action is BuildAction.BUILD)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        return {
            "push": self.push,
            "tags": list(self.tags),
            "changes": len(self.to_build),
            "steps": [step.to_json() for step in self.steps],
        }


def kept(
    last: LastBuild | None, inputs: BuildInputs, repository: str, *, push: bool
) -> Known | None:
    """The last build, when it is of these very inputs, and where a build would put it.

    That is `repository`: the project may have moved to another registry since. It
    must have been pushed there, where a push is wanted.
    """
    if last is None or last.inputs is None or last.inputs.build_id != inputs.build_id:
        return None
    if (push and last.digest is None) or not _in(last, repository):
        return None
    return Known(
        last.reference,
        inputs.build_id,
        last.built_at,
        last.image_id,
        last.digest,
        dict(last.variants),
    )


def _in(last: LastBuild, repository: str) -> bool:
    if last.digest is not None:
        return last.reference == f"{repository}@{last.digest}"
    return any(tag.startswith(f"{repository}:") for tag in last.tags)


def why_build(last: LastBuild | None, inputs: BuildInputs, repository: str, *, push: bool) -> str:
    """Why an image that is nowhere yet has to be built."""
    before = last.inputs if last else None
    reason = explain(before, inputs)
    if reason is not None:
        return reason
    if last is not None and not _in(last, repository):
        return f"built, but not for {repository}"
    return "built, but not pushed" if push else "its image is gone"


def why_skip(known: Known, now: datetime) -> str:
    """``unchanged, built 3 days ago as sha256:…``."""
    where = "in the registry already" if known.retag else "unchanged"
    when = f"built {_ago(known.built_at, now)} " if known.built_at else ""
    return f"{where}, {when}as {short(known.digest or known.image_id or known.reference)}"


def _ago(built_at: str | None, now: datetime) -> str:
    try:
        span = now - datetime.fromisoformat(built_at or "")
    except (ValueError, TypeError):
        return "at an unknown time"
    if span < timedelta(minutes=1):
        return "just now"
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(span.total_seconds()) // size
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
