"""The plan of moves in channels: what is moved, what is there already, what is refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.channel import Move
from bootcfleet.domain.gate import GateResult
from bootcfleet.errors import ChecksFailedError

#: The gates that somebody may answer for, by their names in the project and in answers.
#: A revocation is undone by `image restore`, and an end of life by another date.
SKIPPABLE = ("from", "source", "tag", "checks", "lint", "signature", "sbom", "soak", "max_download")


@dataclass(frozen=True)
class PromotionPlan:
    """Moves into one channel, decided.

    `unchanged` are images that are there already, with their digests; `left_out`
    images that the release train does not take, each with a reason; `skipped` the
    gates that somebody answers for.
    """

    source: str
    channel: str
    moves: tuple[Move, ...]
    unchanged: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()

    @property
    def refused(self) -> tuple[tuple[Move, GateResult], ...]:
        """The red gates that nobody skips."""
        return tuple(
            (move, gate)
            for move in self.moves
            for gate in move.gates
            if not gate.ok and gate.name not in self.skipped
        )

    def require_green(self) -> None:
        """Raise `ChecksFailedError` with every red gate and what to run for it."""
        red = self.refused
        if not red:
            return
        images = ", ".join(dict.fromkeys(move.image for move, _ in red))
        details = []
        for move, gate in red:
            details.append(f"{move.image}: {gate.name}: {gate.message}")
            if gate.hint:
                details.append(f"  {gate.hint}")
        names = [gate.name for _, gate in red if gate.name in SKIPPABLE]
        skip = f": --skip-gate {','.join(dict.fromkeys(names))} --reason …" if names else ""
        raise ChecksFailedError(
            f"{len(red)} {'gate' if len(red) == 1 else 'gates'} of {self.channel} "
            f"{'is' if len(red) == 1 else 'are'} not green for {images}; nothing was moved",
            details=details,
            hint=f"mend it, or answer for it{skip}" if skip else "run what stands below each",
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        return {
            "source": self.source,
            "channel": self.channel,
            "moves": [move.to_json() for move in self.moves],
            "unchanged": dict(self.unchanged),
            "left_out": dict(self.left_out),
            "skipped": sorted(self.skipped),
            "refused": [{"image": move.image, **gate.to_json()} for move, gate in self.refused],
        }
