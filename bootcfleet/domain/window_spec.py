"""``windows:`` of a rollout policy: when hosts may be rebooted, as cron or as days of the week."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, model_validator

from bootcfleet.domain.rollout_fields import (
    Clock,
    InvalidValueError,
    SomeSeconds,
    Strict,
    one_key,
    one_of,
    unknown,
)
from bootcfleet.domain.window import HOST_ZONE, Window, cron_problem, zone_known

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

#: As cron counts them.
_CRON_DAYS: tuple[Day, ...] = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = 24 * 60


class WindowSpec(Strict):
    """One window: `cron` with `duration`, or `from` and `to` on `days`."""

    model_config = one_key("cron", "from")

    cron: str | None = Field(
        default=None,
        description="When it opens: minute, hour, day of the month, month, day of the week.",
    )
    duration: SomeSeconds | None = Field(
        default=None, description="How long it is open then, as 4h: hours that pass."
    )
    days: tuple[Day, ...] | None = Field(
        default=None,
        description="The days of the week on which it opens; every day without it.",
    )
    from_: Clock | None = Field(
        default=None, alias="from", description="The time of day at which it opens, as 22:00."
    )
    to: Clock | None = Field(
        default=None,
        description="The time of day at which it closes; the next day's when it is not after from.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        kind = one_of(
            {"cron": self.cron is not None, "from": self.from_ is not None}, "how a window begins"
        )
        if kind == "from":
            if self.duration is not None:
                raise InvalidValueError("duration goes with cron; a window by from has to")
            if self.to is None:
                raise InvalidValueError("a window that begins by from needs to: as 06:00")
            if self.days is not None and not self.days:
                raise InvalidValueError("days names no day")
            if self.from_ == _DAY:
                raise InvalidValueError("24:00 is the end of a day: write from: 00:00")
            return self
        if self.to is not None or self.days is not None:
            raise InvalidValueError("days and to go with from; in cron they are its fields")
        if self.duration is None:
            raise InvalidValueError("a window by cron needs a duration: as 4h")
        if problem := cron_problem(self.cron or ""):
            raise InvalidValueError(problem, hint='write "0 2 * * sat" for Saturdays at 02:00')
        return self

    def window(self) -> Window:
        """The window as the rollout reads it."""
        if self.cron is not None:
            return Window(self.cron, self.duration or 0.0)
        start, end = self.from_ or 0, self.to or 0
        length = (end - start) % _DAY or _DAY
        named = set(self.days or _CRON_DAYS)
        numbers = [str(n) for n, day in enumerate(_CRON_DAYS) if day in named]
        on = "*" if len(numbers) == len(_CRON_DAYS) else ",".join(numbers)
        return Window(f"{start % 60} {start // 60} * * {on}", length * 60.0, wall=True)


def _time_zone(value: str) -> str:
    """A time zone that is known, or ``host``.  Raises `InvalidValueError`."""
    if value != HOST_ZONE and not zone_known(value):
        raise unknown(value, "time zone", sorted({HOST_ZONE, *available_timezones()}))
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone)]
