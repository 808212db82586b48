"""What a look at a channel and its registry finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FindingKind(StrEnum):
    """What is not as the history says."""

    #: The tag points at another digest, or is not there.
    MOVED = "moved"
    #: The digest itself is no longer in the registry.
    GONE = "gone"
    #: A tag that keeps a digest of the history is missing, or points elsewhere.
    KEEP = "keep"
    #: The history was changed after it was written.
    CHAIN = "chain"
    #: The registry's copy of the history is not there, behind, or another one.
    MIRROR = "mirror"
    #: Moves that were begun, and that nobody is at.
    UNFINISHED = "unfinished"
    #: The registry could not be asked.
    UNKNOWN = "unknown"
    #: A tag without a history, for information.
    UNRECORDED = "unrecorded"
    #: Somebody is moving it right now, for information.
    MOVING = "moving"


@dataclass(frozen=True)
class Finding:
    """One thing that was found: a sentence, and what to run next.

    `repairable`: `channel verify --repair` mends it.
    """

    image: str
    channel: str
    kind: FindingKind
    message: str
    hint: str | None = None
    repairable: bool = False
    details: tuple[str, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether something is wrong, and not only worth to know."""
        return self.kind not in {FindingKind.UNRECORDED, FindingKind.MOVING}

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-ready data."""
        return {
            "image": self.image,
            "channel": self.channel,
            "kind": self.kind.value,
            "bad": self.bad,
            "message": self.message,
            "hint": self.hint,
            "repairable": self.repairable,
            "details": list(self.details),
        }
