"""``imports:`` in the project: images from outside that are followed into the own registry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bootcfleet.domain.channel_spec import Duration
from bootcfleet.domain.document import Document
from bootcfleet.domain.reference import ImageRef


class ImportMode(StrEnum):
    """What becomes of a channel when its source moves."""

    FOLLOW = "follow"
    PIN = "pin"


class ImportSpec(BaseModel):
    """One import: a source, and the channel in the project's registry that it goes to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="The image outside, with its registry and tag or digest.")
    channel: str | None = Field(
        default=None, description="The tag that it gets; the source's tag without it."
    )
    mode: ImportMode = Field(
        default=ImportMode.FOLLOW,
        description="follow: move when the source moves; pin: stay with what came first.",
    )
    every: Duration = Field(
        default=timedelta(minutes=15), description="How often the source is looked at."
    )

    @field_validator("source")
    @classmethod
    def _source_is_a_reference(cls, value: str) -> str:
        return str(ImageRef.parse(value))

    @property
    def tag(self) -> str:
        """The channel's name."""
        return self.channel or ImageRef.parse(self.source).tag or "latest"


def check_imports(
    document: Document, imports: Mapping[str, ImportSpec], *, images: Collection[str], registry: str
) -> None:
    """What one import alone cannot know.  Raises `ConfigError` with the line."""
    for name, spec in imports.items():
        if name in images:
            raise document.error(
                ("imports", name), f"{name!r} is an image of the project, which is built and not "
                "imported",
            )  # fmt: skip
        try:
            target = ImageRef.parse(f"{registry}/{name}").with_tag(spec.tag)
        except ValueError as error:
            raise document.error(("imports", name, "channel"), str(error)) from error
        if target.tag is not None and target.tag.startswith(("bf-", "sha256-", "channel-")):
            raise document.error(
                ("imports", name, "channel"), f"{target.tag!r} begins as a tag of something else"
            )
        if target.name == ImageRef.parse(spec.source).name:
            raise document.error(("imports", name, "source"), "an import comes from elsewhere")


class Condition(StrEnum):
    """How the last look at a source ended."""

    IMPORTED = "imported"
    UNCHANGED = "unchanged"
    PINNED = "pinned"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def good(self) -> bool:
        """Whether the channel is what it should be."""
        return self not in {Condition.FAILED, Condition.REFUSED}


@dataclass(frozen=True)
class ImportState:
    """The last look at a source: when (aware), how it ended, and since when it ends so.

    `digest` is what the channel has; `message` says why, where the condition is not good.
    """

    name: str
    condition: Condition
    checked: datetime
    since: datetime
    digest: str | None = None
    message: str = ""

    def after(self, before: Self | None) -> ImportState:
        """The same with the time since when it is good, or not good."""
        if before is None or before.condition.good != self.condition.good:
            return self
        return ImportState(
            self.name, self.condition, self.checked, before.since, self.digest, self.message
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "name": self.name,
            "condition": self.condition.value,
            "checked": self.checked.isoformat(),
            "since": self.since.isoformat(),
            "digest": self.digest,
            "message": self.message,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ImportState:
        """Read what `to_json` wrote.  Raises `ValueError`, `KeyError`, `TypeError`."""
        return cls(
            str(body["name"]),
            Condition(body["condition"]),
            datetime.fromisoformat(body["checked"]),
            datetime.fromisoformat(body["since"]),
            body["digest"],
            str(body["message"]),
        )


def due(spec: ImportSpec, state: ImportState | None, now: datetime) -> datetime:
    """When a source is to be looked at again; `now` for one that was never looked at."""
    if state is None or state.checked > now:
        return now
    return state.checked + spec.every
