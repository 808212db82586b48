"""Maintenance windows: against an oracle that looks at the clock on the wall minute by minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.window import Window, Windows, cron_problem, zone_known

MINUTE = timedelta(minutes=1)
HOUR = 3600.0

SATURDAYS = Windows((Window("0 2 * * sat", 4 * HOUR),), "Europe/Amsterdam")
NIGHTS = Windows((Window("0 22 * * *", 8 * HOUR, wall=True),), "Europe/Amsterdam")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("windows", "now", "opens", "closes"),
    [
        # No windows: always.
        (Windows(), "2026-06-03T12:00Z", "2026-06-03T12:00Z", None),
        # Saturday 02:00 to 06:00 in summer is 00:00 to 04:00 UTC.
        (SATURDAYS, "2026-06-03T12:00Z", "2026-06-06T00:00Z", None),
        (SATURDAYS, "2026-06-06T00:00Z", "2026-06-06T00:00Z", "2026-06-06T04:00Z"),
        (SATURDAYS, "2026-06-06T03:59:59.5Z", "2026-06-06T03:59:59.5Z", "2026-06-06T04:00Z"),
        (SATURDAYS, "2026-06-06T04:00Z", "2026-06-13T00:00Z", None),
        # `now` in another zone is the same instant.
        (SATURDAYS, "2026-06-06T09:00+09:00", "2026-06-06T09:00+09:00", "2026-06-06T04:00Z"),
        # 22:00 to 06:00 over the night in which 02:00 becomes 03:00, and 03:00 becomes 02:00.
        (NIGHTS, "2026-03-28T21:30Z", "2026-03-28T21:30Z", "2026-03-29T04:00Z"),
        (NIGHTS, "2026-10-24T20:30Z", "2026-10-24T20:30Z", "2026-10-25T05:00Z"),
        # Windows that touch are one.
        (
            Windows((Window("0 1 * * *", HOUR), Window("0 2 * * *", HOUR))),
            "2026-06-03T01:30Z",
            "2026-06-03T01:30Z",
            "2026-06-03T03:00Z",
        ),
        # One that never closes.
        (Windows((Window("* * * * *", HOUR),)), "2026-06-03T01:30Z", "2026-06-03T01:30Z", None),
        # In the hour that is shown twice, "so often" goes on in the order of the instants.
        (
            Windows((Window("15,45 * * * *", 60),), "Europe/Amsterdam"),
            "2026-10-25T00:20Z",
            "2026-10-25T00:45Z",
            None,
        ),
        # Either day of the month or day of the week, as cron has it.
        (
            Windows((Window("0 0 13 * fri", HOUR),)),
            "2026-11-02T00:00Z",
            "2026-11-06T00:00Z",
            None,
        ),
        # Blackout: from midnight of its first day to the end of its last, in the zone.
        (
            Windows(zone="Asia/Tokyo", blackout=((date(2026, 12, 20), date(2027, 1, 3)),)),
            "2026-12-19T14:59Z",
            "2026-12-19T14:59Z",
            "2026-12-19T15:00Z",
        ),
        (
            Windows(zone="Asia/Tokyo", blackout=((date(2026, 12, 20), date(2027, 1, 3)),)),
            "2026-12-19T15:00Z",
            "2027-01-03T15:00Z",
            None,
        ),
        # It ends within a window, which is open for the rest of its time.
        (
            Windows(
                (Window("0 22 * * *", 8 * HOUR),),
                blackout=((date(2026, 5, 1), date(2026, 5, 1)), (date(2026, 5, 2),) * 2),
            ),
            "2026-05-01T00:00Z",
            "2026-05-03T00:00Z",
            None,
        ),
        # It begins within one, and closes it.
        (
            Windows(
                (Window("0 22 * * *", 8 * HOUR),),
                blackout=((date(2026, 5, 2), date(2026, 5, 2)),),
            ),
            "2026-05-01T23:00Z",
            "2026-05-01T23:00Z",
            "2026-05-02T00:00Z",
        ),
        # 2011-12-30 was left out in Samoa: a blackout of that day is over before it begins.
        (
            Windows(zone="Pacific/Apia", blackout=((date(2011, 12, 30), date(2011, 12, 30)),)),
            "2011-12-30T09:59Z",
            "2011-12-30T09:59Z",
            "2011-12-30T10:00Z",
        ),
    ],
)
def test_openings(windows: Windows, now: str, opens: str, closes: str | None) -> None:
    moment = at(now)
    assert windows.next_opening(moment) == at(opens)
    assert windows.open_at(moment) is (at(opens) == moment)
    if at(opens) == moment:
        assert windows.closing(moment) == (at(closes) if closes else None)
    else:
        assert windows.closing(moment) == moment


def test_a_window_that_never_comes() -> None:
    never = Windows((Window("0 0 */10 2 mon#5", HOUR), Window("0 0 1 1 *", 0.0)))
    assert never.next_opening(at("2026-01-01T00:00Z")) is None


def test_the_zone_of_the_host() -> None:
    windows = Windows((Window("0 2 * * *", HOUR),), "host")
    two_in_tokyo = at("2026-06-03T17:30Z")
    assert windows.open_at(two_in_tokyo, "Asia/Tokyo")
    assert not windows.open_at(two_in_tokyo, "Europe/Amsterdam")
    assert windows.next_opening(two_in_tokyo, "Europe/Amsterdam") == at("2026-06-04T00:00Z")
    # Not known, or nonsense: UTC.
    for zone in (None, "", "n/a", "../../etc/passwd", "Mars/Olympus"):
        assert windows.open_at(at("2026-06-03T02:30Z"), zone)
    # A named zone does not care.
    named = Windows(windows.windows, "Europe/Amsterdam")
    assert named.open_at(at("2026-06-03T00:30Z"), "Asia/Tokyo")


@pytest.mark.parametrize("name", ["UTC", "Europe/Amsterdam", "America/Argentina/Salta"])
def test_a_zone(name: str) -> None:
    assert zone_known(name)


@pytest.mark.parametrize("name", ["", "Europe", "europe/nowhere", "/etc/localtime", "a\0b", "host"])
def test_no_zone(name: str) -> None:
    assert not zone_known(name)


@pytest.mark.parametrize(
    "text", ["0 2 * * sat", "*/15 * * * *", "0 0 L * *", "30 1 1-7 * mon,tue", "0 2 31 2 mon"]
)
def test_a_cron_expression(text: str) -> None:
    assert cron_problem(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "five fields"),
        ("0 0 2 * * sat", "five fields"),
        ("@daily", "five fields"),
        ("60 2 * * *", "wrong minute"),
        ("0 24 * * *", "wrong hour"),
        ("0 2 0 * *", "wrong day of month"),
        ("0 2 * 13 *", "wrong month"),
        ("0 2 * * caturday", "wrong day of week"),
        ("0 2 30 2 *", "wrong day of month"),
        ("0 2 */10 2 mon#5", "never comes"),
    ],
)
def test_no_cron_expression(text: str, words: str) -> None:
    assert words in str(cron_problem(text))


@dataclass(frozen=True)
class Cron:
    """An expression, and what it matches as sets of its own."""

    minute: str
    hour: str
    days: tuple[int, ...]

    @property
    def text(self) -> str:
        return f"{self.minute} {self.hour} * * {','.join(map(str, self.days)) or '*'}"

    @property
    def often(self) -> bool:
        return self.minute.startswith("*") or self.hour.startswith("*")

    def matches(self, wall: datetime) -> bool:
        day = wall.isoweekday() % 7
        return (
            _within(self.minute, wall.minute)
            and _within(self.hour, wall.hour)
            and (not self.days or day in self.days)
        )


def _within(field: str, value: int) -> bool:
    if field.startswith("*"):
        return value % int(field.partition("/")[2] or 1) == 0
    return value in {int(one) for one in field.split(",")}


def oracle(
    crons: list[tuple[Cron, int, bool]], zone: ZoneInfo, first: datetime, minutes: int
) -> list[bool]:
    """Whether a window is open, for each minute from `first`; durations are in minutes."""
    instants = [first + n * MINUTE for n in range(minutes)]
    walls = [one.astimezone(zone).replace(tzinfo=None) for one in instants]
    shown_before: set[datetime] = set()
    again = []
    for wall in walls:
        again.append(wall in shown_before)
        shown_before.add(wall)
    skipped: list[list[datetime]] = [[]]
    for before, after in pairwise(walls):
        skipped.append([])
        while (before := before + MINUTE) < after:
            skipped[-1].append(before)
    first_at: dict[datetime, int] = {}
    for place, wall in enumerate(walls):
        for one in (*skipped[place], wall):
            first_at.setdefault(one, place)

    is_open = [False] * minutes
    for cron, length, by_wall in crons:
        for place, wall in enumerate(walls):
            starts = [wall] if cron.matches(wall) and (cron.often or not again[place]) else []
            if not cron.often:
                starts += [one for one in skipped[place] if cron.matches(one)]
            for start in starts:
                end = first_at.get(start + length * MINUTE, minutes) if by_wall else place + length
                for open_place in range(place, min(end, minutes)):
                    is_open[open_place] = True
    return is_open


#: A zone, and a moment at which its clock is changed (or an ordinary one).
CHANGES = [
    ("UTC", "2026-06-03T00:00Z"),
    ("Asia/Kolkata", "2026-06-03T18:30Z"),
    ("Europe/Amsterdam", "2026-03-29T01:00Z"),
    ("Europe/Amsterdam", "2026-10-25T01:00Z"),
    ("America/New_York", "2026-03-08T07:00Z"),
    ("America/New_York", "2026-11-01T06:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30Z"),  # by half an hour
    ("Australia/Lord_Howe", "2026-04-04T15:00Z"),
    ("Africa/Cairo", "2026-04-23T22:00Z"),  # the gap begins at midnight
    ("Africa/Cairo", "2026-10-29T21:00Z"),  # midnight comes an hour late
    ("America/Havana", "2026-11-01T05:00Z"),  # the first hour of the day comes twice
    ("Antarctica/Troll", "2026-03-29T01:00Z"),  # by two hours
    ("Antarctica/Troll", "2026-10-25T01:00Z"),
]
crons = st.builds(
    Cron,
    st.sampled_from(["0", "30", "15,45", "59", "*/20", "*"]),
    st.sampled_from(["0", "1", "2", "3", "23", "1,2", "0,12", "*", "*/2"]),
    st.sets(st.integers(0, 6), max_size=4).map(lambda days: tuple(sorted(days))),
)
lengths = st.sampled_from([1, 10, 20, 30, 59, 60, 61, 90, 120, 240, 24 * 60, 30 * 60])
BEFORE, AFTER = 2 * 24 * 60, 36 * 60


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(CHANGES),
    st.lists(st.tuples(crons, lengths, st.booleans()), min_size=1, max_size=2),
    st.lists(st.integers(-300, 300), min_size=12, max_size=12),
)
def test_the_clock_on_the_wall(
    change: tuple[str, str], found: list[tuple[Cron, int, bool]], offsets: list[int]
) -> None:
    name, moment = change[0], at(change[1])
    windows = Windows(
        tuple(Window(cron.text, length * 60.0, wall) for cron, length, wall in found), name
    )
    first = moment - BEFORE * MINUTE
    expected = oracle(found, ZoneInfo(name), first, BEFORE + AFTER)
    for offset in offsets:
        place = BEFORE + offset
        now = moment + offset * MINUTE
        where = f"{windows} at {now}"
        assert windows.open_at(now) is expected[place], where
        assert windows.open_at(now + timedelta(seconds=59)) is expected[place], where
        opens = windows.next_opening(now)
        expected_open = _first(expected, place, lambda one: one)
        if expected_open is not None:
            assert opens == first + expected_open * MINUTE, where
        else:
            assert opens is None or opens >= first + (BEFORE + AFTER) * MINUTE, where
        expected_close = _first(expected, place, lambda one: not one)
        if expected_close is not None:
            assert windows.closing(now) == first + expected_close * MINUTE, where
        else:
            closes = windows.closing(now)
            assert closes is None or closes >= first + (BEFORE + AFTER) * MINUTE, where


def _first(values: list[bool], start: int, wanted: Callable[[bool], bool]) -> int | None:
    return next((n for n in range(start, len(values)) if wanted(values[n])), None)


spans = st.tuples(st.integers(-3, 3), st.integers(0, 2))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(CHANGES), crons, lengths, st.lists(spans, max_size=3), st.integers(-3000, 3000)
)
def test_no_day_of_a_blackout_is_ever_open(
    change: tuple[str, str],
    cron: Cron,
    length: int,
    spans: list[tuple[int, int]],
    offset: int,
) -> None:
    name, moment = change[0], at(change[1])
    zone = ZoneInfo(name)
    day = moment.astimezone(zone).date()
    blackout = tuple(
        (day + timedelta(days=start), day + timedelta(days=start + more)) for start, more in spans
    )
    plain = Windows((Window(cron.text, length * 60.0),), name)
    windows = Windows(plain.windows, name, blackout)
    now = moment + offset * MINUTE

    def closed(when: datetime) -> bool:
        return any(one <= when.astimezone(zone).date() <= last for one, last in blackout)

    assert windows.open_at(now) is (plain.open_at(now) and not closed(now))
    opens = windows.next_opening(now)
    assert opens is not None
    assert windows.open_at(opens)
    assert opens == now or not windows.open_at(opens - MINUTE)
    # Nothing was passed over.
    for hours in range(1, 72):
        between = now + timedelta(hours=hours, minutes=7)
        if between < opens:
            assert not windows.open_at(between)
    closes = windows.closing(opens)
    if closes is not None:
        assert closes > opens
        assert not windows.open_at(closes)
        assert windows.open_at(closes - MINUTE)


def test_answers_are_in_utc() -> None:
    opens = SATURDAYS.next_opening(at("2026-06-03T12:00Z"))
    assert opens is not None
    assert opens.tzinfo is UTC
