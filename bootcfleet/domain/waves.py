"""How fast a rollout may go: the policy's numbers, and the waves that follow from them.

A wave is a set of hosts that move together; the next one starts when every host
of the last has ended.  The first is the canary.  Wave selectors, windows and
budgets (the full policy) put further limits on the same waves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bootcfleet.domain.rollout_policy import RolloutPolicy


@dataclass(frozen=True)
class Wave:
    """Hosts that move together; `canary` marks the first, which may not fail at all."""

    number: int
    hosts: tuple[str, ...]
    canary: bool = False

    @property
    def title(self) -> str:
        """``canary`` or ``wave 2``."""
        return "canary" if self.canary else f"wave {self.number}"


def plan_waves(hosts: Sequence[str], policy: RolloutPolicy) -> tuple[Wave, ...]:
    """Divide `hosts`, in their order, into a canary (unless it would be everyone) and batches.

    Percentages are of all hosts of the rollout, never of what is left, so that
    the size of a wave can be told beforehand.
    """
    waves: list[Wave] = []
    rest = list(hosts)
    if policy.canary is not None and len(rest) > 1:
        size = policy.canary.of(len(hosts))
        if size < len(rest):
            waves.append(Wave(1, tuple(rest[:size]), canary=True))
            rest = rest[size:]
    size = policy.batch.of(len(hosts))
    while rest:
        waves.append(Wave(len(waves) + 1, tuple(rest[:size])))
        rest = rest[size:]
    return tuple(waves)
