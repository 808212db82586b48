"""A number of hosts, or a percentage of a set of hosts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from bootcfleet.errors import UsageError


@dataclass(frozen=True)
class Limit:
    """A number of hosts, or a percentage of a set of hosts."""

    number: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str, *, least: int = 1) -> Self:
        """Read ``5`` or ``25%``.  Raises `UsageError`, also for less than `least`."""
        match = re.fullmatch(r"([0-9]{1,6})(%?)", text.strip())
        number = int(match.group(1)) if match else -1
        percent = bool(match and match.group(2))
        if number < least or (percent and number > 100):
            raise UsageError(
                f"{text!r} is not a number of hosts",
                hint="write a count (5) or a percentage from 1% to 100% (25%)",
            )
        return cls(number, percent)

    def of(self, hosts: int) -> int:
        """How many of `hosts` this is: percentages rounded up, at least one unless it is 0.

        A canary of 1 % of 20 hosts is one host, not none.
        """
        if self.percent:
            return max(1, -(-hosts * self.number // 100)) if self.number else 0
        return min(self.number, hosts) if hosts else self.number

    def at_most(self, hosts: int) -> int:
        """How many of `hosts` may be away by this: percentages rounded down, at least one.

        A maximum of 25 % of 5 hosts is one host: two would be 40 %.
        """
        return max(1, hosts * self.number // 100) if self.percent else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)
