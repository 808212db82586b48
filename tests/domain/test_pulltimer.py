"""The update timer's drop-in, and what is to be done to have it; judged by the real systemd."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.oncalendar import on_calendar
from bootcfleet.domain.pulltimer import (
    PATH,
    TIMER,
    TimerAct,
    TimerSettings,
    TimerState,
    enroll_acts,
    parse_window,
    timer_settings,
    undo_acts,
)
from bootcfleet.domain.window import Window, Windows
from bootcfleet.errors import UsageError
from tests.tools import need

#: As bootc ships it (field note *bootc on a host*).
SHIPPED = """[Unit]
Description=Apply bootc updates
ConditionPathExists=/run/ostree-booted

[Timer]
OnBootSec=1h
OnUnitInactiveSec=8h
RandomizedDelaySec=2h

[Install]
WantedBy=timers.target
"""
SATURDAY = Windows((Window("0 2 * * sat", 4 * 3600.0),), "Europe/Amsterdam")


def test_the_drop_in_of_a_window() -> None:
    assert timer_settings(SATURDAY).text(("disabled", "inactive")) == (
        "# Written by `bootcfleet fleet enroll --pull`, which writes it anew; `--undo` takes it "
        "away.\n"
        "# before: disabled inactive\n"
        "[Timer]\n"
        "OnBootSec=\n"
        "OnStartupSec=\n"
        "OnActiveSec=\n"
        "OnUnitActiveSec=\n"
        "OnUnitInactiveSec=\n"
        "OnCalendar=\n"
        "OnCalendar=Sat *-*-* 02:00:00 Europe/Amsterdam\n"
        "Persistent=false\n"
        "FixedRandomDelay=true\n"
        "RandomizedDelaySec=3h 30min\n"
    )


def test_the_drop_in_without_one() -> None:
    """Nothing that is in the past when the timer is started: it would fire at once."""
    body = timer_settings(Windows(), every=7200.0).body()
    assert body.splitlines()[-3:] == [
        "OnActiveSec=1h", "OnUnitInactiveSec=2h", "RandomizedDelaySec=2h",
    ]  # fmt: skip
    assert "OnBootSec=\n" in body
    assert "OnCalendar=\n" in body
    assert timer_settings(Windows()).longest == 10 * 3600


def loaded(folder: Path, drop_in: str) -> tuple[int, str, list[str]]:
    """What the real systemd makes of bootc's unit with a drop-in: errors, and all of its times."""
    (folder / f"{TIMER}.d").mkdir(parents=True, exist_ok=True)
    (folder / TIMER).write_text(SHIPPED)
    service = TIMER.replace(".timer", ".service")
    (folder / service).write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    (folder / f"{TIMER}.d/50-bootcfleet.conf").write_text(drop_in)
    argv = [need("systemd-analyze"), "verify", "--man=no", str(folder / TIMER)]
    quiet = subprocess.run(argv, capture_output=True, text=True, check=False)
    told = subprocess.run(
        argv, capture_output=True, text=True, check=False,
        env={"SYSTEMD_LOG_LEVEL": "debug", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    times = re.findall(
        r"^\s*((?:OnCalendar|On[A-Za-z]+Sec|Persistent|FixedRandomDelay): .*)$",
        told.stderr + told.stdout,
        re.MULTILINE,
    )
    return quiet.returncode, quiet.stderr, sorted(times)


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        (
            timer_settings(SATURDAY),
            [
                "FixedRandomDelay: yes",
                "OnCalendar: Sat *-*-* 02:00:00 Europe/Amsterdam",
                "Persistent: no",
            ],
        ),
        (
            timer_settings(Windows((Window("0 2 1,15 * mon", 3600.0),), "host")),
            [
                "FixedRandomDelay: yes",
                "OnCalendar: *-*-01,15 02:00:00",
                "OnCalendar: Mon *-*-* 02:00:00",
                "Persistent: no",
            ],
        ),
        (
            timer_settings(Windows(), every=90.0, delay=0.0),
            [
                "FixedRandomDelay: no",
                "OnActiveSec: 1min 30s",
                "OnUnitInactiveSec: 1min 30s",
                "Persistent: no",
            ],
        ),
    ],
)
def test_the_real_systemd_has_these_times_and_no_others(
    settings: TimerSettings, times: list[str], tmp_path: Path
) -> None:
    code, said, found = loaded(tmp_path, settings.text(("disabled", "inactive")))
    assert (code, said) == (0, "")
    assert found == times


def test_what_systemd_has_without_it_and_with_a_wrong_one(tmp_path: Path) -> None:
    """That the test above can fail: bootc's own times, and a drop-in that is none."""
    code, said, found = loaded(tmp_path, "")
    assert (code, said) == (0, "")
    assert {"OnBootSec: 1h", "OnUnitInactiveSec: 8h"} < set(found)
    assert "Failed to parse" in loaded(tmp_path, "[Timer]\nOnCalendar=Sat 25:00\n")[1]


def elapses(expression: str, base: datetime, count: int = 3) -> list[datetime]:
    """When a calendar event is next, by systemd."""
    done = subprocess.run(
        [
            need("systemd-analyze"), "calendar", f"--iterations={count}",
            f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC", expression,
        ],
        capture_output=True, text=True, check=False, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, f"{expression}: {done.stderr}"
    found = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", done.stdout, re.MULTILINE)
    return [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in found]


def starts(expression: str, base: datetime, count: int) -> list[datetime]:
    """The same by the windows of policies."""
    windows = Windows((Window(expression, 60.0),), "UTC")
    found: list[datetime] = []
    now = base
    while len(found) < count:
        opening = windows.next_opening(now)
        assert opening is not None
        found.append(opening)
        closes = windows.closing(opening)
        assert closes is not None
        now = closes
    return found


MINUTES = st.sampled_from(["0", "30", "5,35", "*/20", "15"])
HOURS = st.sampled_from(["2", "*/6", "22-23", "0,12", "1"])
DAYS = st.sampled_from(["*", "1", "1,15", "L", "*/10", "28-31"])
MONTHS = st.sampled_from(["*", "1-3", "feb", "*/4"])
WEEK = st.sampled_from(["*", "sat", "1-5", "0", "7", "sat#2", "5L", "mon,wed"])


@settings(max_examples=40)
@given(st.tuples(MINUTES, HOURS, DAYS, MONTHS, WEEK))
def test_systemd_means_what_cron_means(fields: tuple[str, ...]) -> None:
    expression = " ".join(fields)
    base = datetime(2026, 11, 21, 4, 0, 30, tzinfo=UTC)
    try:
        events = on_calendar(expression, "UTC")
    except UsageError as error:
        # A day of the month and the second Saturday at once: as nobody writes it.
        assert "*" not in {fields[2], fields[4]}, error
        return
    theirs = sorted({moment for event in events for moment in elapses(event, base)})[:3]
    assert theirs == starts(expression, base, 3)


@pytest.mark.parametrize("expression", ["0 2 LW * *", "0 2 31 2 *", "61 2 * * *", "0 2 * *"])
def test_what_systemd_cannot_say(expression: str) -> None:
    with pytest.raises(UsageError):
        on_calendar(expression, "UTC")


@pytest.mark.parametrize(
    ("text", "start", "hours"),
    [
        ("sat 02:00-06:00", "0 2 * * 6", 4.0),
        ("Mon-Fri 22:30-04:00", "30 22 * * 1,2,3,4,5", 5.5),
        ("fri-mon,wed 1:00-2:00", "0 1 * * 0,1,3,5,6", 1.0),
        ("00:00-24:00", "0 0 * * *", 24.0),
        ("sun-sat 03:00-03:00", "0 3 * * *", 24.0),
    ],
)
def test_a_window_on_the_command_line(text: str, start: str, hours: float) -> None:
    assert parse_window(text) == Window(start, hours * 3600, wall=True)


@pytest.mark.parametrize("text", ["", "sat", "sat 02:00", "sat 25:00-26:00", "xyz 01:00-02:00",
                                  "sat-sun-mon 01:00-02:00", "sat 01:00 - 02:00"])  # fmt: skip
def test_no_window(text: str) -> None:
    with pytest.raises(UsageError, match="is not a window"):
        parse_window(text)


def test_what_does_not_fit_together() -> None:
    with pytest.raises(UsageError, match="a delay of 4h leaves no time in a window of 4h"):
        timer_settings(SATURDAY, delay=4 * 3600.0)
    with pytest.raises(UsageError, match="not both"):
        timer_settings(SATURDAY, every=3600.0)
    short = Windows((Window("0 2 * * *", 600.0),))
    assert timer_settings(short).delay == 300.0
    (note,) = timer_settings(Windows(), every=5400.0).notes
    assert note == "a host whose timer looked longer than 1h 30min ago looks at once"
    dark = Windows(SATURDAY.windows, "UTC", ((datetime(2026, 12, 24).date(),) * 2,))
    assert timer_settings(dark).notes[0].startswith("a timer knows no blackout days")


WISH = timer_settings(SATURDAY)
TEXT = WISH.text(("disabled", "inactive"))


#: From the quiet drop-in to the last one; the unmasking and the enabling go between.
BEGIN = ["mkdir", "quiet"]
END = ["write", "daemon-reload"]


def words(acts: tuple[TimerAct, ...]) -> list[str]:
    """The acts in a word each."""
    said = []
    for act in acts:
        if act.text is not None:
            said.append("write" if "OnCalendar=Sat" in act.text else "quiet")
        else:
            said.append(act.argv[1] if act.argv[0] == "systemctl" else act.argv[0])
    return said


@pytest.mark.parametrize(
    ("state", "due"),
    [
        (TimerState("loaded", "enabled", "active", TEXT), []),
        (
            TimerState("loaded", "disabled", "inactive"),
            [*BEGIN, "daemon-reload", "enable", "start", *END],
        ),
        (
            TimerState("masked", "masked", "inactive"),
            [*BEGIN, "unmask", "daemon-reload", "enable", "start", *END],
        ),
        (
            TimerState("loaded", "enabled", "active"),
            [*BEGIN, "daemon-reload", "restart", *END],
        ),
        (
            TimerState("loaded", "enabled", "inactive", TEXT),
            [*BEGIN, "daemon-reload", "start", *END],
        ),
        # On in this boot alone: nothing is started anew for that.
        (TimerState("loaded", "enabled-runtime", "active", TEXT), ["enable"]),
        (TimerState("loaded", "disabled", "active", TEXT), ["enable"]),
        # Active, and it will never fire.
        *(
            (broken, [*BEGIN, "daemon-reload", "restart", *END])
            for broken in (
                TimerState("bad-setting", "enabled", "active", TEXT),
                TimerState("loaded", "enabled", "active", TEXT, elapsed=True),
            )
        ),
    ],
)
def test_what_is_to_be_done(state: TimerState, due: list[str]) -> None:
    acts = enroll_acts(state, WISH)
    assert words(acts) == due
    for act in acts:
        if act.text is not None:
            # Enrolled over another enrolment: what was before that one is kept.
            assert TimerState("", "", "", act.text).before == state.before
    assert [act.what for act in acts if act.text] == ["", "write the drop-in"][: 2 * (len(due) > 1)]


def test_an_enrolment_that_ended_half_way_is_done_again(tmp_path: Path) -> None:
    """The quiet drop-in alone: it never fires, and how the timer was before is not lost."""
    acts = enroll_acts(TimerState("masked", "masked", "inactive"), WISH)
    (quiet,) = [act.text for act in acts if act.text and "OnCalendar=Sat" not in act.text]
    half = TimerState("loaded", "disabled", "inactive", quiet)
    assert half.before == ("masked", "inactive")
    assert words(enroll_acts(half, WISH))[-2:] == END
    assert words(undo_acts(half)) == ["disable", "mask", "rm", "daemon-reload"]
    assert loaded(tmp_path, quiet) == (
        0, "", ["FixedRandomDelay: no", "OnCalendar: 2099-01-01 00:00:00", "Persistent: no"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "due"),
    [
        ("masked inactive", ["disable", "mask", "rm", "daemon-reload"]),
        ("masked active", ["disable", "mask", "rm", "daemon-reload"]),
        ("disabled inactive", ["disable", "rm", "daemon-reload"]),
        ("enabled active", ["rm", "daemon-reload", "restart"]),
        # As images have it that want it in /usr/lib: systemd calls that disabled.
        ("disabled active", ["rm", "daemon-reload", "disable", "restart"]),
        ("enabled inactive", ["stop", "rm", "daemon-reload"]),
    ],
)
def test_the_way_back(before: str, due: list[str]) -> None:
    file, active = before.split()
    text = WISH.text((file, active))
    state = TimerState("loaded", "enabled", "active", text)
    assert state.before == (file, active)
    assert words(undo_acts(state)) == due
    assert undo_acts(TimerState("loaded", "enabled", "active")) == ()
    # Masked by somebody since, or gone with the image: nothing of it can be started or stopped.
    for other in (TimerState("masked", "masked", "inactive", text),
                  TimerState("not-found", "", "inactive", text)):  # fmt: skip
        assert words(undo_acts(other)) == ["rm", "daemon-reload"]
        assert PATH in undo_acts(other)[0].argv


def test_what_systemctl_shows() -> None:
    shown = "LoadState=loaded\nUnitFileState=enabled-runtime\nActiveState=active\n"
    assert TimerState.parse(shown, None) == TimerState("loaded", "enabled-runtime", "active")
    assert TimerState.parse("", None).load == "not-found"
    assert not TimerState.parse("SubState=waiting\n", None).elapsed
    assert TimerState.parse("SubState=elapsed\n", None).elapsed
    folder = f"/etc/systemd/system/{TIMER}.d"
    shown += f"DropInPaths=/usr/lib/systemd/system/{TIMER}.d/10-a.conf {PATH} {folder}/z.conf\n"
    assert TimerState.parse(shown, None).later == (f"{folder}/z.conf",)
