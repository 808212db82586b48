"""bootc's update timer on a host in pull mode: its drop-in, and what is to be done to have it so.

Source: systemd.timer(5).  An empty assignment takes away all times that stand before it,
monotonic ones and calendar events alike; a timer with ``OnBootSec=`` in the past fires the moment
it is started, which would update a host while it is being enrolled: ``OnActiveSec=``
does not.  bootc's own unit has OnBootSec=1h, OnUnitInactiveSec=8h, RandomizedDelaySec=2h (field
note *bootc on a host*).

systemd counts a calendar event from when the timer last fired or was started (measured on
systemd 252: over a daemon-reload, a stop and a start alike).  A window that opened since then
would fire the moment systemd reads it, days after it closed.  So the timer is started anew with
an event that is never in the past, and is given its times then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bootcfleet.domain.oncalendar import on_calendar
from bootcfleet.domain.window import Window, Windows
from bootcfleet.errors import UsageError

TIMER = "bootc-fetch-apply-updates.timer"
FOLDER = f"/etc/systemd/system/{TIMER}.d"
PATH = f"{FOLDER}/50-bootcfleet.conf"

#: bootc's own numbers, in seconds.
EVERY = 8 * 3600.0
DELAY = 2 * 3600.0
#: What a download and a reboot want of a window, at the least.
_ROOM = 30 * 60.0

_BEFORE = re.compile(r"^# before: ([a-z-]+) ([a-z-]+)$", re.MULTILINE)
_RESET = ("OnBootSec", "OnStartupSec", "OnActiveSec", "OnUnitActiveSec", "OnUnitInactiveSec")
_NO_TIMES = ("[Timer]", *(f"{name}=" for name in _RESET), "OnCalendar=")
#: What a timer has while it is started: a time that is in nobody's past.
_NEVER = "OnCalendar=2099-01-01 00:00:00"
_QUIET = "\n".join((*_NO_TIMES, _NEVER))


@dataclass(frozen=True)
class TimerState:
    """What systemd says of the timer, and what our drop-in holds; None where there is none.

    `load`, `file` and `active` are LoadState, UnitFileState and ActiveState; `later` are the
    drop-ins of others that systemd reads after ours.  `elapsed`: it is active, and has no time to
    come.
    """

    load: str
    file: str
    active: str
    drop_in: str | None = None
    later: tuple[str, ...] = ()
    elapsed: bool = False

    @classmethod
    def parse(cls, shown: str, drop_in: str | None) -> TimerState:
        """Read the answer of ``systemctl show``."""
        said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return cls(
            said.get("LoadState", "not-found"),
            said.get("UnitFileState", ""),
            said.get("ActiveState", ""),
            drop_in,
            tuple(
                path for path in said.get("DropInPaths", "").split() if _name(path) > _name(PATH)
            ),
            said.get("SubState") == "elapsed",
        )

    @property
    def masked(self) -> bool:
        """Whether it is masked for good."""
        return self.load == "masked" or self.file == "masked"

    @property
    def before(self) -> tuple[str, str]:
        """How it was before it was enrolled: UnitFileState and ActiveState."""
        noted = _BEFORE.search(self.drop_in or "")
        if noted:
            return noted[1], noted[2]
        return self.file or "disabled", self.active or "inactive"


@dataclass(frozen=True)
class TimerSettings:
    """When the hosts look: at the beginning of `windows`, or else every so often.

    `every` and `delay` are in seconds; the delay is random for each host, and with windows
    the same each time.
    """

    windows: Windows
    every: float = EVERY
    delay: float = DELAY

    def body(self) -> str:
        """The drop-in without its first lines.

        Raises `UsageError` for a window that systemd cannot say.
        """
        lines = list(_NO_TIMES)
        if self.windows.windows:
            starts = [
                start
                for window in self.windows.windows
                for start in on_calendar(window.start, self.windows.zone)
            ]
            lines += [f"OnCalendar={start}" for start in dict.fromkeys(starts)]
            # A window that was missed is not made up for outside of it.
            lines += ["Persistent=false", "FixedRandomDelay=true"]
        else:
            lines += [
                f"OnActiveSec={_span(min(self.every, 3600.0))}",
                f"OnUnitInactiveSec={_span(self.every)}",
            ]
        lines.append(f"RandomizedDelaySec={_span(self.delay)}")
        return "\n".join(lines) + "\n"

    def text(self, before: tuple[str, str]) -> str:
        """The whole drop-in; `before` is how the timer was before it was enrolled."""
        return _text(before, self.body())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the timer cannot do of the policy, or does unasked."""
        if self.windows.blackout:
            return ("a timer knows no blackout days: do not promote before and during them",)
        if not self.windows.windows:
            # systemd counts from the service's end, which no restart of the timer changes.
            return (f"a host whose timer looked longer than {_span(self.every)} ago looks at once",)
        return ()

    @property
    def longest(self) -> float:
        """How long a host may take to look after a promotion, in seconds; 0 for windows."""
        return 0.0 if self.windows.windows else self.every + self.delay


def timer_settings(
    windows: Windows, *, every: float | None = None, delay: float | None = None
) -> TimerSettings:
    """Settings that fit together; `every` and `delay` are what somebody asked for.

    Raises `UsageError` for a delay that does not end within the window, with room for a
    download and a reboot.
    """
    if not windows.windows:
        return TimerSettings(
            windows, EVERY if every is None else every, DELAY if delay is None else delay
        )
    if every is not None:
        raise UsageError(
            "a timer fires in windows, or every so often: not both",
            hint="keep one of --window (or --policy) and --every",
        )
    shortest = min(window.duration for window in windows.windows)
    room = min(_ROOM, shortest / 2)
    if delay is not None and delay > shortest - room:
        raise UsageError(
            f"a delay of {_span(delay)} leaves no time in a window of {_span(shortest)}: hosts "
            "would be rebooted after it",
            hint=f"--delay {_span(shortest - room)} at the most",
        )
    return TimerSettings(windows, delay=shortest - room if delay is None else delay)


_WEEK = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WINDOW = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:[,-][a-z]{3})*)\s+)?"
    r"(?P<from>(?:[01]?\d|2[0-3]):[0-5]\d)-(?P<to>(?:[01]?\d|2[0-4]):[0-5]\d)"
)


def parse_window(text: str) -> Window:
    """A window from ``sat 02:00-06:00``, ``mon-fri,sun 22:00-04:00`` or ``01:00-05:00``.

    Raises `UsageError`.
    """
    match = _WINDOW.fullmatch(text.strip().lower())
    if match is None:
        raise _no_window(text)
    days: set[int] = set()
    for part in (match["days"] or "sun-sat").split(","):
        names = part.split("-")
        if len(names) > 2 or any(name not in _WEEK for name in names):
            raise _no_window(text)
        first, last = _WEEK.index(names[0]), _WEEK.index(names[-1])
        days |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    start, end = (
        int(hour) * 60 + int(minute)
        for hour, minute in (match[key].split(":") for key in ("from", "to"))
    )
    on = "*" if len(days) == 7 else ",".join(str(day) for day in sorted(days))
    length = (end - start) % 1440 or 1440
    return Window(f"{start % 60} {start // 60} * * {on}", length * 60.0, wall=True)


def _no_window(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a window", hint="write 'sat 02:00-06:00' or 'mon-fri 22:00-04:00'"
    )


def _span(seconds: float) -> str:
    """A time span as systemd reads it: ``1h 30min``."""
    whole = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0"


@dataclass(frozen=True)
class TimerAct:
    """One thing to be done on a host: run `argv`, or write `text` to the drop-in."""

    why: str
    argv: tuple[str, ...] = ()
    text: str | None = None

    @property
    def what(self) -> str:
        """A word or two for people; nothing for what goes without saying."""
        if self.text is not None:
            return "" if _NEVER in self.text else "write the drop-in"
        if self.argv[0] == "rm":
            return "remove the drop-in"
        words = [word for word in self.argv[1:] if word not in (TIMER, "--now")]
        return "" if self.argv[0] == "mkdir" or words == ["daemon-reload"] else " ".join(words)


def enroll_acts(state: TimerState, settings: TimerSettings) -> tuple[TimerAct, ...]:
    """What brings the timer there; nothing where it is there already.

    The drop-in comes first: it holds how the timer was before, whatever ends the acts half-way.
    """
    text = settings.text(state.before)
    # Enabled in /run alone, it would be off after the next reboot.
    enabled = state.file == "enabled" and not state.masked
    active = state.active == "active" and not state.masked
    # A drop-in that systemd cannot read leaves a timer active that never fires.
    sound = active and state.load == "loaded" and not state.elapsed
    enable = TimerAct(_state(state), ("systemctl", "enable", TIMER))
    if state.drop_in == text and sound:
        return () if enabled else (enable,)
    if state.drop_in is None:
        why = "there is none"
    else:
        why = "it has others" if state.drop_in != text else "it is written anew"
    reload = ("systemctl", "daemon-reload")
    acts = [
        TimerAct("the drop-in's folder", ("mkdir", "-p", FOLDER)),
        TimerAct("no time that has passed", text=_text(state.before, f"{_QUIET}\n")),
    ]
    if state.masked:
        acts.append(TimerAct(f"{TIMER} is masked", ("systemctl", "unmask", TIMER)))
    acts.append(TimerAct("systemd reads it", reload))
    if not enabled:
        acts.append(enable)
    if active:
        acts.append(TimerAct("the new times hold", ("systemctl", "restart", TIMER)))
    else:
        acts.append(TimerAct(_state(state), ("systemctl", "start", TIMER)))
    acts += [TimerAct(why, text=text), TimerAct("systemd reads it", reload)]
    return tuple(acts)


def undo_acts(state: TimerState) -> tuple[TimerAct, ...]:
    """What takes the enrolment back; nothing where there is none.

    The drop-in goes last where the timer is to be off: it says so as long as that is not done.
    """
    if state.drop_in is None:
        return ()
    file, active = state.before
    forget = (
        TimerAct("the drop-in was written by enroll", ("rm", "-f", PATH)),
        TimerAct("systemd forgets it", ("systemctl", "daemon-reload")),
    )
    if state.masked or state.load == "not-found":
        # Somebody masked it since, or the image has none any more: there is nothing to start.
        return forget
    if active == "active" and file != "masked":
        # Where it is not enabled, something of the image or a person had started it.
        off = TimerAct(f"it was {file}", ("systemctl", "disable", TIMER))
        again = TimerAct("bootc's own times hold", ("systemctl", "restart", TIMER))
        return (*forget, *(() if file.startswith("enabled") else (off,)), again)
    if file.startswith("enabled"):
        return (TimerAct(f"it was {active}", ("systemctl", "stop", TIMER)), *forget)
    acts = [TimerAct(f"it was {file}", ("systemctl", "disable", "--now", TIMER))]
    if file == "masked":
        acts.append(TimerAct("it was masked", ("systemctl", "mask", TIMER)))
    return (*acts, *forget)


def _state(state: TimerState) -> str:
    return f"it is {state.file or 'not enabled'} and {state.active or 'inactive'}"


def _text(before: tuple[str, str], body: str) -> str:
    return (
        "# Written by `bootcfleet fleet enroll --pull`, which writes it anew; `--undo` takes it"
        f" away.\n# before: {before[0]} {before[1]}\n{body}"
    )


def _name(path: str) -> str:
    """systemd reads drop-ins by their names, whatever folder they are in."""
    return path.rpartition("/")[2]
