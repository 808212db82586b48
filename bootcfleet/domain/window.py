"""Maintenance windows: when hosts may be rebooted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True)
class Window:
    """One recurring window.

    `start` is a cron expression of five fields; `duration` is in seconds.
    """

    start: str
    duration: float


@dataclass(frozen=True)
class Windows:
    """All windows of a policy; none of them means always.

    `zone` is an IANA name, or ``host``: then it is the host's own, from its facts.
    No reboot begins on a day of `blackout` (first and last day, in the same zone).
    """

    windows: tuple[Window, ...] = ()
    zone: str = "UTC"
    blackout: tuple[tuple[date, date], ...] = ()

    def open_at(self, now: datetime, host_zone: str | None = None) -> bool:
        """Whether a reboot may begin at `now` (aware)."""
        raise NotImplementedError

    def next_opening(self, now: datetime, host_zone: str | None = None) -> datetime | None:
        """When a reboot may begin, from `now` on; `now` itself when it is open; None for never."""
        raise NotImplementedError

    def closing(self, now: datetime, host_zone: str | None = None) -> datetime | None:
        """When the window that is open at `now` closes; None without windows."""
        raise NotImplementedError
