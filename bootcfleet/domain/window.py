"""Maintenance windows: when hosts may be rebooted.

Cron expressions are read by cronsim, on the calendar alone; what a local time is as an
instant is decided here, so that it is the same for every expression:

- A local time that the clock skips (summer time begins) is the instant after the gap.
- A local time that the clock shows twice (summer time ends) is the first of the two.
- An expression whose minute or hour begins with ``*`` means "so often", as in Debian's cron: it
  opens in both hours that are shown alike, and not for times that are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

#: Stands for each host's own time zone.
HOST_ZONE = "host"

#: No clock is put back by more (Troll station: two hours).
_FOLD = timedelta(hours=3)
#: Windows that follow each other without a gap so often count as never closing.
_CHAIN = 500


@dataclass(frozen=True)
class Window:
    """One recurring window.

    `start` is a cron expression of five fields; `duration` is in seconds.  With `wall` the duration
    is one of the clock on the wall (02:00 to 06:00), so that the window is longer or shorter by
    what the clock is changed in it.
    """

    start: str
    duration: float
    wall: bool = False


@dataclass(frozen=True)
class Windows:
    """All windows of a policy; none of them means always.

    `zone` is an IANA name, or ``host``: then it is the host's own, from its facts; UTC for a
    host whose zone is not known.  No reboot begins on a day of `blackout` (first and last
    day, in the same zone).
    """

    windows: tuple[Window, ...] = ()
    zone: str = "UTC"
    blackout: tuple[tuple[date, date], ...] = ()

    def open_at(self, now: datetime, host_zone: str | None = None) -> bool:
        """Whether a reboot may begin at `now` (aware)."""
        return _open_at(self, self._zone(host_zone), now.astimezone(UTC))

    def next_opening(self, now: datetime, host_zone: str | None = None) -> datetime | None:
        """When a reboot may begin next, in UTC: `now` when it is open, None for never."""
        return _next_opening(self, self._zone(host_zone), now.astimezone(UTC))

    def closing(self, now: datetime, host_zone: str | None = None) -> datetime | None:
        """When the window that is open at `now` closes, in UTC.

        Windows that touch are one, and a blackout closes it.  `now` where none is open; None where
        it never closes.
        """
        return _closing(self, self._zone(host_zone), now.astimezone(UTC))

    def _zone(self, host_zone: str | None) -> str:
        if self.zone != HOST_ZONE:
            return self.zone
        return host_zone if host_zone and zone_known(host_zone) else "UTC"


@lru_cache(maxsize=1024)
def zone_known(name: str) -> bool:
    """Whether `name` is a time zone of the IANA database."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def cron_problem(expression: str) -> str | None:
    """Why `expression` cannot be the start of a window, or None."""
    if len(expression.split()) != 5:
        return (
            f"{expression!r} is not a cron expression of five fields (minute, hour, day of the "
            "month, month, day of the week)"
        )
    try:
        next(CronSim(expression, datetime(2026, 1, 1)))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("-", " ")
        return f"{expression!r} is not a cron expression: wrong {field}"
    except StopIteration:
        return f"{expression!r} is a time that never comes"
    return None


# A controller asks for each of its hosts, at one `now`: answers are kept for a moment.
@lru_cache(maxsize=512)
def _open_at(windows: Windows, zone_name: str, now: datetime) -> bool:
    zone = ZoneInfo(zone_name)
    if _blackout_end(windows, zone, now) is not None:
        return False
    return not windows.windows or _end_of_current(windows, zone, now) is not None


@lru_cache(maxsize=512)
def _next_opening(windows: Windows, zone_name: str, now: datetime) -> datetime | None:
    zone = ZoneInfo(zone_name)
    while True:
        while (free := _blackout_end(windows, zone, now)) is not None:
            now = free
        if _open_at(windows, zone_name, now):
            return now
        later = [start for one in windows.windows if (start := _next_start(one, zone, now))]
        if not later:
            return None
        now = min(later)


@lru_cache(maxsize=512)
def _closing(windows: Windows, zone_name: str, now: datetime) -> datetime | None:
    zone = ZoneInfo(zone_name)
    if not _open_at(windows, zone_name, now):
        return now
    starts = [_instant(datetime.combine(first, time()), zone) for first, _ in windows.blackout]
    blackout = min((start for start in starts if start > now), default=None)
    if not windows.windows:
        return blackout
    closes = now
    for _ in range(_CHAIN):
        end = _end_of_current(windows, zone, closes)
        if end is None:
            return closes
        closes = end
        if blackout is not None and closes >= blackout:
            break
    return blackout


def _blackout_end(windows: Windows, zone: ZoneInfo, now: datetime) -> datetime | None:
    """When the blackout of the day of `now` is over, or None when there is none."""
    today = now.astimezone(zone).date()
    ends = [last for first, last in windows.blackout if first <= today <= last]
    if not ends:
        return None
    return _instant(datetime.combine(max(ends) + timedelta(days=1), time()), zone)


def _end_of_current(windows: Windows, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The latest end of the windows that are open at `now`."""
    ends = [end for one in windows.windows if (end := _end_at(one, zone, now))]
    return max(ends, default=None)


def _end_at(window: Window, zone: ZoneInfo, now: datetime) -> datetime | None:
    """When `window` closes, if it is open at `now`."""
    local = now.astimezone(zone).replace(tzinfo=None)
    # A start is at most a fold later on the clock, and a gap (a day, where a date was skipped) and
    # the duration earlier.
    oldest = local - timedelta(seconds=window.duration) - timedelta(days=1)
    for naive in _starts(window.start, local + _FOLD, back=True):
        if naive < oldest:
            break
        for start in _instants(window.start, naive, zone):
            end = _end(window, naive, start, zone)
            if start <= now < end:
                return end
    return None


def _next_start(window: Window, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The first start of `window` after `now` that opens it for any time at all."""
    if window.duration <= 0:
        return None
    best: datetime | None = None
    best_local: datetime | None = None
    local = now.astimezone(zone).replace(tzinfo=None)
    for naive in _starts(window.start, local - _FOLD):
        if best_local is not None and naive > best_local + _FOLD:
            break
        for start in _instants(window.start, naive, zone):
            if start > now and _end(window, naive, start, zone) > start:
                best = start if best is None else min(best, start)
                best_local = best.astimezone(zone).replace(tzinfo=None)
    return best


def _starts(expression: str, local: datetime, *, back: bool = False) -> Iterator[datetime]:
    """The local times of a cron expression after `local`, or before it."""
    # A naive time keeps cronsim from its own rules for summer time.
    yield from CronSim(expression, local.replace(microsecond=0), reverse=back)


def _instants(expression: str, naive: datetime, zone: ZoneInfo) -> tuple[datetime, ...]:
    """The instants (UTC) at which a start at a local time is; the later one first."""
    minute, hour, *_ = expression.split()
    if not (minute.startswith("*") or hour.startswith("*")):
        return (_instant(naive, zone),)
    both = {naive.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    shown = (one for one in both if one.astimezone(zone).replace(tzinfo=None) == naive)
    return tuple(sorted(shown, reverse=True))


def _end(window: Window, naive: datetime, start: datetime, zone: ZoneInfo) -> datetime:
    length = timedelta(seconds=window.duration)
    return _instant(naive + length, zone) if window.wall else start + length


def _instant(naive: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which a local time is shown, or the end of the gap it is in."""
    found = naive.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == naive:
        return found
    # In a gap, fold=1 takes the offset from after the change, and so gives an instant before it;
    # fold=0 the other way round (PEP 495).  The change itself is found between the two.
    low, high = naive.replace(tzinfo=zone, fold=1).astimezone(UTC), found
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high
