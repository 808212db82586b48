"""The images of a project as a graph: who is built FROM whom, in which order, and a build's plan.

An image has one parent at most, so the graph is a forest; everything here is
linear in the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bootcfleet.domain.document import Document, did_you_mean
from bootcfleet.domain.project import Project
from bootcfleet.errors import ConfigError, UsageError


@dataclass(frozen=True)
class ImageGraph:
    """Images by name, in an order in which every parent comes before its children.

    `parents` maps each image to its parent in the project, or None for one that
    stands on an external base; `bases` has those bases.
    """

    parents: Mapping[str, str | None]
    bases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project, document: Document | None = None) -> ImageGraph:
        """The graph of a project.

        Raises `ConfigError` at the image's ``from:`` for a parent that does not
        exist (with the name that was probably meant) and for a cycle (with all
        its images in order).
        """
        parents = {name: image.from_ for name, image in project.images.items()}
        bases = {name: image.base for name, image in project.images.items() if image.base}
        return cls(_ordered(parents, document or Document("", None)), bases)

    @property
    def names(self) -> tuple[str, ...]:
        """All images, parents first, otherwise in the order of the file."""
        return tuple(self.parents)

    def children(self) -> dict[str, list[str]]:
        """The direct children of every image, in order."""
        found: dict[str, list[str]] = {name: [] for name in self.parents}
        for name, parent in self.parents.items():
            if parent is not None:
                found[parent].append(name)
        return found

    def descendants(self, name: str) -> tuple[str, ...]:
        """Every image that stands on `name`, directly or not, parents first."""
        below = {name}
        found = []
        for image, parent in self.parents.items():
            if parent in below:
                below.add(image)
                found.append(image)
        return tuple(found)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The parent of `name`, the parent's parent, …"""
        found = []
        parent = self.parents[name]
        while parent is not None:
            found.append(parent)
            parent = self.parents[parent]
        return tuple(found)

    def subset(self, names: Sequence[str]) -> ImageGraph:
        """Only `names` and everything that they stand on; all images for no names.

        Raises `UsageError` for a name that is not an image of the project.
        """
        if not names:
            return self
        wanted: set[str] = set()
        for name in names:
            if name not in self.parents:
                raise UsageError(
                    f"the project has no image {name!r}", hint=did_you_mean(name, self.parents)
                )
            while name not in wanted:
                wanted.add(name)
                name = self.parents[name] or name
        return ImageGraph(
            {name: parent for name, parent in self.parents.items() if name in wanted},
            {name: base for name, base in self.bases.items() if name in wanted},
        )


def _ordered(parents: Mapping[str, str | None], document: Document) -> dict[str, str | None]:
    """The images so that parents come first: each image pulls its unplaced ancestors before it."""
    placed: dict[str, str | None] = {}
    for name in parents:
        chain: dict[str, None] = {}
        current: str | None = name
        while current is not None and current not in placed:
            if current in chain:
                raise _cycle(list(chain), current, document)
            chain[current] = None
            parent = parents[current]
            if parent is not None and parent not in parents:
                raise document.error(
                    ("images", current, "from"),
                    f"the project has no image {parent!r}",
                    hint=did_you_mean(parent, [one for one in parents if one != current]),
                )
            current = parent
        for link in reversed(chain):
            placed[link] = parents[link]
    return placed


def _cycle(chain: list[str], again: str, document: Document) -> ConfigError:
    circle = chain[chain.index(again) :]
    if len(circle) == 1:
        message = f"the image {again!r} is built from itself"
    else:
        message = f"these images are built from each other: {' → '.join([*circle, again])}"
    return document.error(
        ("images", again, "from"), message, hint="give one of them a base: instead of from:"
    )


class BuildAction(StrEnum):
    """What a plan does with an image."""

    BUILD = "build"


@dataclass(frozen=True)
class BuildStep:
    """One image of a plan.

    `base` is the exact reference that it is built FROM where that is known
    before the build; a child's is None until its parent is built. `note` says
    what could not be found out.
    """

    image: str
    action: BuildAction
    reason: str
    parent: str | None = None
    base: str | None = None
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The step as JSON-ready data."""
        return {
            "image": self.image,
            "action": self.action.value,
            "reason": self.reason,
            "parent": self.parent,
            "base": self.base,
            **({"note": self.note} if self.note else {}),
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

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        return {
            "push": self.push,
            "tags": list(self.tags),
            "steps": [step.to_json() for step in self.steps],
        }


def make_steps(graph: ImageGraph, names: Sequence[str]) -> tuple[BuildStep, ...]:
    """A step for each of `names` (all images for none) and for all that they stand on."""
    chosen = graph.subset(names)
    asked = set(names)
    needed_by = _needed_by(chosen, asked)
    return tuple(
        BuildStep(
            name,
            BuildAction.BUILD,
            _reason(name, asked, needed_by),
            parent,
            chosen.bases.get(name),
        )
        for name, parent in chosen.parents.items()
    )


def _needed_by(graph: ImageGraph, asked: Iterable[str]) -> dict[str, str]:
    """For each image that nobody asked for: the first asked image that stands on it."""
    found: dict[str, str] = {}
    for name in _in_order(graph, asked):
        parent = graph.parents[name]
        while parent is not None and parent not in found:
            found[parent] = name
            parent = graph.parents[parent]
    return found


def _in_order(graph: ImageGraph, asked: Iterable[str]) -> list[str]:
    """`asked` in the order of the graph."""
    wanted = set(asked)
    return [name for name in graph.parents if name in wanted]


def _reason(name: str, asked: set[str], needed_by: Mapping[str, str]) -> str:
    if not asked:
        return "all images are built"
    return "was asked for" if name in asked else f"{needed_by[name]} is built from it"
