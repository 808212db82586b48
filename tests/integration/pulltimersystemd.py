"""What a real systemd makes of an enrolment: run inside namespaces of its own, prints JSON.

As `undersystemd.py`: a systemd of a user, whose own units lie in /etc/systemd/system here, where
the drop-in goes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from bootcfleet.domain.inventory import Host
from bootcfleet.domain.pulltimer import (
    PATH,
    TIMER,
    TimerSettings,
    enroll_acts,
    timer_settings,
    undo_acts,
)
from bootcfleet.domain.window import Window, Windows
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.errors import HostError
from bootcfleet.ops.enroll_pull import HostPlan, Wish, _carry_out, timer_state
from bootcfleet.ops.fleet import Fleet
from tests.integration.undersystemd import started

SERVICE = TIMER.replace(".timer", ".service")
UNITS = {
    TIMER: "[Timer]\nOnBootSec=1h\nOnUnitInactiveSec=8h\nRandomizedDelaySec=2h\n"
    "[Install]\nWantedBy=timers.target\n",
    SERVICE: "[Service]\nType=oneshot\nExecStart=/bin/true\n",
}


class To(TimerSettings):
    """A daily window that opened a second ago, to the second: nobody waits for a minute here."""

    opening: datetime

    def body(self) -> str:
        """As `TimerSettings.body`."""
        return super().body().replace("02:00:00", f"{self.opening:%H:%M:%S}")


def to_a_second_ago() -> To:
    """Its opening is after what happened before this call."""
    plain = timer_settings(Windows((Window("0 2 * * *", 3600.0),), "UTC"))
    made = To(plain.windows, delay=0.0)
    time.sleep(2.1)
    object.__setattr__(made, "opening", datetime.now().astimezone() - timedelta(seconds=1))
    body = made.body().replace(" UTC", "")
    object.__setattr__(made, "body", lambda: body)
    return made


def story(folder: Path, units: Path) -> dict[str, object]:
    """What happened, by name."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc/systemd/system"], check=True)
    config = folder / "home/.config/systemd"
    config.mkdir(parents=True, exist_ok=True)
    (config / "user").symlink_to("/etc/systemd/system")
    host = LocalExecutor(env={"PATH": f"{folder / 'bin'}:/usr/bin:/bin"})
    fleet = Fleet([Host("h")], lambda _: host)
    told: dict[str, object] = {}

    def systemctl(*words: str) -> str:
        return host.run(["systemctl", *words]).stdout.strip()

    def fired() -> bool:
        """Whether it has fired since it was started, or is about to."""
        shown = systemctl("show", "-p", "LastTriggerUSec,NextElapseUSecRealtime", TIMER)
        said = dict(line.split("=", 1) for line in shown.splitlines())
        if said["LastTriggerUSec"]:
            return True
        due = datetime.strptime(said["NextElapseUSecRealtime"][4:23], "%Y-%m-%d %H:%M:%S")
        return due < datetime.now()

    def state() -> list[str]:
        found = timer_state(fleet, "h")
        return [found.load, found.file, found.active, "" if found.drop_in is None else "ours"]

    def enroll(settings: TimerSettings) -> list[object]:
        acts = enroll_acts(timer_state(fleet, "h"), settings)
        _carry_out(fleet, HostPlan("h", acts), Wish(settings))
        again = enroll_acts(timer_state(fleet, "h"), settings)
        return [fired(), *state(), len(again)]

    def undo() -> list[str]:
        acts = undo_acts(timer_state(fleet, "h"))
        _carry_out(fleet, HostPlan("h", acts), Wish(None))
        return state()

    systemctl("is-system-running", "--wait")
    systemctl("enable", "--now", TIMER)
    told["as shipped"] = state()
    # What must not be: the times of a window that is over, read by a timer that runs.
    late = to_a_second_ago()
    Path(PATH).parent.mkdir()
    Path(PATH).write_text(late.body())
    systemctl("daemon-reload")
    told["without care"] = fired()
    Path(PATH).unlink()
    systemctl("stop", TIMER)
    systemctl("daemon-reload")
    systemctl("start", TIMER)
    told["enrolled"] = enroll(to_a_second_ago())
    told["with other times"] = enroll(to_a_second_ago())
    systemctl("stop", TIMER)
    told["stopped meanwhile"] = enroll(to_a_second_ago())
    nowhere = timer_settings(Windows((Window("0 2 * * *", 3600.0),), "Mars/Base"))
    try:
        told["a zone that the host has not"] = enroll(nowhere)
    except HostError as error:
        told["a zone that the host has not"] = error.message
    told["mended"] = enroll(to_a_second_ago())
    told["undone"] = undo()
    systemctl("mask", "--now", TIMER)
    told["masked"] = state()
    told["masked, enrolled"] = enroll(to_a_second_ago())
    told["masked, undone"] = undo()
    systemctl("unmask", TIMER)
    systemctl("disable", TIMER)
    systemctl("start", TIMER)
    told["not enabled, enrolled"] = enroll(to_a_second_ago())
    told["not enabled, undone"] = undo()
    systemctl("stop", TIMER)
    systemctl("enable", "--runtime", TIMER)
    told["enabled until the reboot, enrolled"] = enroll(to_a_second_ago())
    systemctl("mask", "--now", TIMER)
    told["masked since, undone"] = undo()
    systemctl("unmask", TIMER)
    enroll(to_a_second_ago())
    systemctl("stop", TIMER)
    (units / TIMER).rename(units / "gone")
    systemctl("daemon-reload")
    told["missing"] = state()
    told["missing, undone"] = undo()
    (units / "gone").rename(units / TIMER)
    systemctl("daemon-reload")
    systemctl("start", TIMER)
    Path(PATH).with_name("override.conf").write_text("[Timer]\nOnCalendar=hourly\n")
    Path(PATH).with_name("10-early.conf").write_text("[Timer]\nOnCalendar=hourly\n")
    systemctl("daemon-reload")
    told["read after ours"] = timer_state(fleet, "h").later
    return told


if __name__ == "__main__":
    with started(Path(sys.argv[1]), UNITS) as where:
        print(json.dumps(story(Path(sys.argv[1]), where)))
