"""Whether an image that a host has is still one that hosts should have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.lifecycle import Life
from bootcfleet.domain.revocation import Revoked


@dataclass(frozen=True)
class ImageStanding:
    """What is known of an image by digest.

    `known`: the ledger has an entry of it (a build, a push, a channel); None where there is no
    project, whose ledger could know it.
    """

    known: bool | None = None
    revoked: Revoked | None = None
    life: Life | None = None

    @property
    def ended(self) -> Life | None:
        """Its life, when that is over."""
        return self.life if self.life is not None and not self.life.ok else None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why no host should have it, as sentences; none where all is well."""
        found = []
        if self.revoked is not None:
            found.append(self.revoked.message)
        if self.ended is not None:
            found.append(self.ended.message)
        return tuple(found)


@dataclass(frozen=True)
class Standings:
    """The standing of each digest; of one that was not asked about nothing is known."""

    by_digest: Mapping[str, ImageStanding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, digest: str | None) -> ImageStanding:
        """What is known of a digest."""
        return self.by_digest.get(digest or "", ImageStanding())

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data: the images with something the matter."""
        return {
            digest: {
                "known": one.known,
                "revoked": one.revoked.to_json() if one.revoked else None,
                "end_of_life": one.life.to_json() if one.life else None,
            }
            for digest, one in self.by_digest.items()
        }
