"""Cron expressions as systemd writes them, for the timers of hosts.

Source: systemd.time(7), "Calendar events".  cronsim has read the expression: what cron means
by ``*/6`` or ``mon-fri`` is not read a second time here.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from cronsim import CronSim

from bootcfleet.domain.window import HOST_ZONE, cron_problem
from bootcfleet.errors import UsageError

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def on_calendar(expression: str, zone: str) -> tuple[str, ...]:
    """The values of ``OnCalendar=`` that are the starts of a cron expression in `zone`.

    Several, where cron means "on this day of the month or on that day of the week".  The zone
    ``host`` is the host's own, which systemd takes without one.

    Raises `UsageError` for what systemd cannot say: the last weekday of a month (LW).
    """
    if problem := cron_problem(expression):
        raise UsageError(problem)
    cron = CronSim(expression, datetime(2026, 1, 1))
    time = f"{_list(cron.hours, range(24))}:{_list(cron.minutes, range(60))}:00"
    months = _list(cron.months, range(1, 13))
    month_days = _month_days(cron.days, expression)
    week_days = _week_days(cron.weekdays)
    both = month_days != ["*"] and week_days != [("", "*")]
    if both and not cron.day_and:
        found = [("", f"-{day}" if day[0] != "~" else day) for day in month_days]
        found += [(name, f"-{days}" if days[0] != "~" else days) for name, days in week_days]
    elif both and any(days != "*" for _, days in week_days):
        raise UsageError(f"systemd cannot say when {expression!r} is")
    else:
        found = [
            (name, f"-{day}" if day[0] != "~" else day)
            for name, days in week_days
            for day in (month_days if days == "*" else [days])
        ]
    suffix = "" if zone == HOST_ZONE else f" {zone}"
    return tuple(
        f"{f'{name} ' if name else ''}*-{months}{day} {time}{suffix}" for name, day in found
    )


def _list(numbers: Collection[int], every: range) -> str:
    if set(every) <= set(numbers):
        return "*"
    return ",".join(f"{number:02d}" for number in sorted(numbers))


def _month_days(days: Collection[int], expression: str) -> list[str]:
    """The days of the month; the last one (L) is counted from the end."""
    if CronSim.LAST_WEEKDAY in days:
        raise UsageError(
            f"systemd cannot say when {expression!r} is: it knows no last weekday of a month",
            hint="write the last day (L), or a day of the week",
        )
    plain = [day for day in days if day > 0]
    found = [_list(plain, range(1, 32))] if plain else []
    return [*found, "~01"] if CronSim.LAST in days else found


def _week_days(days: Collection[int | tuple[int, int]]) -> list[tuple[str, str]]:
    """Days of the week, each with the days of the month on which it counts."""
    plain = sorted({day % 7 for day in days if isinstance(day, int)})
    if len(plain) == 7:
        return [("", "*")]
    found = [(",".join(_DAYS[day] for day in plain), "*")] if plain else []
    for day, which in sorted(one for one in days if isinstance(one, tuple)):
        if which == CronSim.LAST:
            found.append((_DAYS[day % 7], "~07/1"))
        else:
            last = min(31, which * 7)
            found.append((_DAYS[day % 7], f"{which * 7 - 6:02d}..{last:02d}"))
    return found
