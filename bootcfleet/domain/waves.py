"""How fast a rollout may go: the policy's numbers, and the waves that follow from them.

A wave is a set of hosts that move together; the next one starts when every host
of the last has ended.  The first is the canary.  Wave selectors, windows and
budgets (the full policy) put further limits on the same waves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from bootcfleet.errors import UsageError


@dataclass(frozen=True)
class Limit:
    """A number of hosts, or a percentage of a set of hosts."""

    number: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``5`` or ``25%``.  Raises `UsageError`."""
        match = re.fullmatch(r"([0-9]{1,6})(%?)", text.strip())
        number = int(match.group(1)) if match else 0
        percent = bool(match and match.group(2))
        if number < 1 or (percent and number > 100):
            raise UsageError(
                f"{text!r} is not a number of hosts",
                hint="write a count (5) or a percentage from 1% to 100% (25%)",
            )
        return cls(number, percent)

    def of(self, hosts: int) -> int:
        """How many of `hosts` this is: at least one, percentages rounded up.

        A canary of 1 % of 20 hosts is one host, not none.
        """
        if self.percent:
            return max(1, -(-hosts * self.number // 100))
        return min(self.number, hosts) if hosts else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


@dataclass(frozen=True)
class Timeouts:
    """Time limits of a host's phases, in seconds.

    `boot` is generous because servers with much memory test it for minutes;
    `settle` is for a system that answers while it still starts.
    """

    stage: float = 1800.0
    boot: float = 900.0
    settle: float = 300.0


@dataclass(frozen=True)
class RolloutPolicy:
    """The pace of a rollout and what it does about failures.

    `max_failures` is the failure budget: the rollout halts when *more* hosts
    than that have failed.  A failed canary always halts.  `revert` takes a host
    whose health checks fail back to the deployment that it came from.
    """

    canary: Limit | None = field(default_factory=lambda: Limit(1))
    batch: Limit = field(default_factory=lambda: Limit(25, percent=True))
    max_failures: int = 0
    revert: bool = True
    timeouts: Timeouts = field(default_factory=Timeouts)


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
