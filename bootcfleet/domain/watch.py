"""Moves of channels, seen from outside: what a tag points at now, and did before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bootcfleet.domain.channel import ChannelEntry, Pair


@dataclass(frozen=True)
class Moved:
    """A channel's tag points at another digest (None: it is not there) than was told last.

    `entry` is the history's, where the history knows of the move; without it, somebody
    moved the tag in another way.  `at` is when it was seen.
    """

    image: str
    channel: str
    reference: str
    before: str | None
    digest: str | None
    at: datetime
    entry: ChannelEntry | None = None

    @property
    def pair(self) -> Pair:
        """The image and the channel."""
        return self.image, self.channel

    @property
    def message(self) -> str:
        """One sentence."""
        what = (
            f"{self.channel} moved to {self.digest}" if self.digest else f"{self.channel} is gone"
        )
        if self.entry is None:
            return f"{what}; its history does not know of it"
        why = f": {self.entry.why}" if self.entry.why else ""
        return f"{what} ({self.entry.action.value} by {self.entry.actor}{why})"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a command is told, as environment variables."""
        return {
            "BOOTCFLEET_IMAGE": self.image,
            "BOOTCFLEET_CHANNEL": self.channel,
            "BOOTCFLEET_REFERENCE": self.reference,
            "BOOTCFLEET_DIGEST": self.digest or "",
            "BOOTCFLEET_BEFORE": self.before or "",
            "BOOTCFLEET_ACTOR": self.entry.actor if self.entry else "",
            "BOOTCFLEET_REASON": self.entry.why if self.entry else "",
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "image": self.image,
            "channel": self.channel,
            "reference": self.reference,
            "before": self.before,
            "digest": self.digest,
            "at": self.at.isoformat(),
            "entry": self.entry.to_json() if self.entry else None,
        }


@dataclass(frozen=True)
class Backoff:
    """When something that failed is tried again: `failures` so far, not before `due` (seconds)."""

    failures: int
    due: float

    @classmethod
    def after(cls, before: Backoff | None, now: float, *, first: float, most: float) -> Backoff:
        """After one more failure at `now`: the wait doubles, from `first` to `most` seconds."""
        failures = before.failures + 1 if before else 1
        return cls(failures, now + min(most, first * 2.0 ** min(failures - 1, 30)))
