"""The images of a project as a graph: who is built FROM whom, and in which order.

An image has one parent at most, so the graph is a forest; everything here is
linear in the number of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
