"""What an image reaches: what stands on it, and the channels and hosts that have any of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.lineage import Lineage


@dataclass(frozen=True)
class ChannelUse:
    """A channel whose newest entry is an affected image."""

    image: str
    channel: str
    digest: str
    number: int

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "image": self.image,
            "channel": self.channel,
            "digest": self.digest,
            "number": self.number,
        }


@dataclass(frozen=True)
class Deployed:
    """An image in a slot of a host (``booted``, ``staged``, ``rollback``, ``other``)."""

    host: str
    slot: str
    digest: str
    reference: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "host": self.host,
            "slot": self.slot,
            "digest": self.digest,
            "image": self.reference,
        }


@dataclass(frozen=True)
class HostSurvey:
    """What the hosts of a fleet have, and the hosts that did not say (with the reason).

    `asked` is False when nobody was asked; `why` says then why not.
    """

    asked: bool
    why: str = ""
    deployed: tuple[Deployed, ...] = ()
    unknown: Mapping[str, str] | None = None

    @property
    def silent(self) -> Mapping[str, str]:
        """Hosts that did not answer, each with the reason."""
        return self.unknown or {}

    @property
    def complete(self) -> bool:
        """Whether every host has said what it has."""
        return self.asked and not self.silent


@dataclass(frozen=True)
class Impact:
    """Everything that uses an image, directly or through what stands on it."""

    digest: str
    name: str | None
    descendants: tuple[str, ...]
    names: Mapping[str, str | None]
    channels: tuple[ChannelUse, ...]
    hosts: tuple[Deployed, ...]
    survey: HostSurvey

    @property
    def affected(self) -> tuple[str, ...]:
        """The image and its descendants."""
        return (self.digest, *self.descendants)

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "digest": self.digest,
            "name": self.name,
            "descendants": [
                {"digest": one, "name": self.names.get(one)} for one in self.descendants
            ],
            "channels": [use.to_json() for use in self.channels],
            "hosts_asked": self.survey.asked,
            "hosts": [use.to_json() for use in self.hosts],
            "unknown_hosts": dict(self.survey.silent),
        }


def impact(
    digest: str,
    lineage: Lineage,
    channels: Iterable[ChannelUse],
    survey: HostSurvey,
) -> Impact:
    """Who uses an image, from what is known of channels and hosts."""
    descendants = lineage.descendants(digest)
    shown = {one: name for name in (digest, *descendants) for one in lineage.same(name)}
    return Impact(
        digest,
        lineage.name(digest),
        descendants,
        {one: lineage.name(one) for one in descendants},
        tuple(use for use in channels if use.digest in shown),
        tuple(use for use in survey.deployed if use.digest in shown),
        survey,
    )
