"""The end of an image's life: a date after which nothing new is made of it.

Hosts that run it go on running it, and a channel may always go back to it.  There is no
option that overrides the date: a new date in ``bootcfleet.yaml`` is one, with a commit
that says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.project import Project

#: The date on the image itself, so that it can be read where the project is not.
LABEL = "io.bootcfleet.end-of-life"
GATE = "end-of-life"


@dataclass(frozen=True)
class Life:
    """How long an image lives still.

    `ends` is its last day (UTC) and `source` the image that sets it: itself, or the
    ancestor with the earliest date; both None for one without an end.  `days` are left
    before the last day is over, below 0 afterwards; `warn` is from how many on it is
    warned of.
    """

    image: str
    ends: date | None = None
    source: str | None = None
    days: int = 0
    warn: int = 0

    @property
    def ok(self) -> bool:
        """Whether it may be built and promoted."""
        return self.ends is None or self.days >= 0

    @property
    def warning(self) -> str | None:
        """What to say while there is time still."""
        if self.ends is None or not self.ok or self.days > self.warn:
            return None
        return self.message

    @property
    def message(self) -> str:
        """One sentence."""
        if self.ends is None:
            return f"{self.image} has no end of life"
        whose = "" if self.source in (None, self.image) else f" with {self.source}, its ancestor,"
        if not self.ok:
            return f"{self.image}{whose} reached its end of life on {self.ends}"
        left = {0: "today", 1: "tomorrow"}.get(self.days, f"in {self.days} days")
        return f"{self.image}{whose} reaches its end of life {left}, on {self.ends}"

    @property
    def hint(self) -> str | None:
        """What to do about it."""
        if self.ok and self.warning is None:
            return None
        return (
            f"move {self.image} to a base that lives longer, or set another end_of_life of "
            f"{self.source} in bootcfleet.yaml"
        )

    def gate(self) -> GateResult:
        """As a gate: closed once the last day is over."""
        return GateResult(GATE, self.ok, self.message, self.hint)

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "ends": self.ends.isoformat() if self.ends else None,
            "source": self.source,
            "days": self.days if self.ends else None,
            "ok": self.ok,
            "warning": self.warning,
        }


def end_of_life(project: Project, graph: ImageGraph, name: str, today: date) -> Life:
    """The life of an image of the project: the earliest end of it and all that it stands on.

    `today` is in UTC.
    """
    dated = []
    for image in (name, *graph.ancestors(name)):
        ends = project.images[image].end_of_life
        if ends is not None:
            dated.append((ends, image))
    if not dated:
        return Life(name)
    # Of equal dates the nearest image's: it is the one to change.
    ends, source = min(dated, key=lambda one: one[0])
    return Life(name, ends, source, (ends - today).days, project.end_of_life_warning)


def end_of_life_labels(project: Project, graph: ImageGraph, name: str) -> dict[str, str]:
    """The labels that a build puts on the image: none where there is no end.

    An image without a date of its own keeps the label that it inherits, which is right.
    """
    life = end_of_life(project, graph, name, date.min)
    return {LABEL: life.ends.isoformat()} if life.ends else {}


def life_from_labels(name: str, labels: dict[str, str], today: date, warn: int) -> Life:
    """The life that an image's label tells; no end where it has none, or none that is a date."""
    try:
        ends = date.fromisoformat(labels.get(LABEL, ""))
    except ValueError:
        return Life(name)
    return Life(name, ends, name, (ends - today).days, warn)
