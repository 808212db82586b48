"""What a use case says while it works.

Operations never print: they call an `Emit` with events, and the command line
turns them into a progress display, plain lines or JSON lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `kind` is a stable dotted word (``image.build.started``, ``host.staged``),
    `subject` the image or host that it is about, `message` the sentence for
    people, `data` JSON-ready details.
    """

    kind: str
    subject: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The event as one JSON line's object."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "message": self.message,
            **({"data": dict(self.data)} if self.data else {}),
        }


#: Where events go; may be called from several threads.
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An `Emit` for callers that want no progress."""
