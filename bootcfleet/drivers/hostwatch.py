"""Lets hosts speak when something about their deployments changed, instead of asking again.

A small loop on the host looks at the times of a few paths: bootc touches ``/ostree/bootc``
(field note *bootc on a host*), ostree ``/ostree/deploy`` whenever it writes deployments.
It takes no lock, needs no root rights, and prints a line when they change and a sign of life
every `BEAT` seconds.  A reboot, also a soft one, ends it with the connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

#: What changes with the deployments.  Paths that a host does not have are passed over.
PATHS = (
    "/ostree/bootc",
    "/ostree/deploy",
    "/run/ostree",
    "/run/ostree/staged-deployment",
    "/boot/loader",
)
#: Seconds between signs of life.
BEAT = 30
#: How many of them may stay out.
_MISSED = 3
#: Seconds that the loop may take to start.
_START = 20.0
#: What the loop says first.
_BEGUN = {"watching", "blind"}

#: Ends when it cannot print (the channel is closed) and when what started it is gone.
SCRIPT = """\
beat=$1 pause=$2 quiet=0
shift 2
look() { stat -c '%n %y %z %i' -- "$@" 2>/dev/null; }
was=$(look "$@")
echo
[ -n "$was" ] || { echo blind; exit 0; }
echo watching || exit
while sleep "$pause" && kill -0 "$PPID" 2>/dev/null; do
    now=$(look "$@")
    if [ "$now" != "$was" ]; then
        was=$now quiet=0
        echo changed || exit
        continue
    fi
    quiet=$((quiet + pause))
    [ "$quiet" -lt "$beat" ] || { quiet=0; echo same || exit; }
done
"""


class News(Enum):
    """What a host had to tell."""

    CHANGED = "changed"
    #: It cannot be listened to: it has none of the paths, or no `stat`.  Ask it instead.
    BLIND = "blind"
    #: The connection ended, or no sign of life came.  Follow it again.
    LOST = "lost"


class Line(Protocol):
    """The output of a command that goes on, line by line."""

    def lines(self) -> list[str]:
        """The whole lines that came since the last call."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        ...

    def wait(self, timeout: float) -> None:
        """Wait until something has come or it has ended, at most `timeout` seconds."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@runtime_checkable
class Follows(Protocol):
    """An executor that can leave a command running and be told of its output."""

    def follow(self, argv: Sequence[str], bell: Bell) -> Line:
        """Start `argv`; `bell.set` is called whenever there is something to read.

        Raises `HostError`.
        """
        ...


@dataclass
class _Followed:
    line: Line
    heard: float


@dataclass
class HostWatch:
    """Listens to many hosts with no thread of its own.

    `pause` is how often a host looks at itself, in whole seconds.
    """

    pause: int = 2
    beat: int = BEAT
    paths: Sequence[str] = PATHS
    _followed: dict[str, _Followed] = field(default_factory=dict)
    _rung: set[str] = field(default_factory=set)
    _bell: threading.Condition = field(default_factory=threading.Condition)

    def follow(self, host: str, executor: object, paths: Sequence[str] = ()) -> bool:
        """Let a host speak from now on; whether it can.  Returns once its loop looks.

        `paths` are looked at instead of those of all hosts.

        What it is asked after this is older than nothing that it tells.  May be
        called from many threads.  Raises `HostError` when it cannot be reached.
        """
        self.forget(host)
        if not isinstance(executor, Follows):
            return False
        words = ["sh", "-c", SCRIPT, "sh", str(self.beat), str(self.pause), *(paths or self.paths)]
        line = executor.follow(words, Bell(self, host))
        deadline = time.monotonic() + _START
        # A shell's profile may speak first.
        said = line.lines()
        while not _BEGUN & {*said} and not line.ended and time.monotonic() < deadline:
            line.wait(deadline - time.monotonic())
            said += line.lines()
        if "watching" not in said:
            line.close()
            return False
        with self._bell:
            self._followed[host] = _Followed(line, time.monotonic())
            if "changed" in said:
                self._rung.add(host)
        return True

    def forget(self, host: str) -> None:
        """Listen to a host no longer."""
        with self._bell:
            followed = self._followed.pop(host, None)
            self._rung.discard(host)
        if followed is not None:
            followed.line.close()

    def news(self, timeout: float) -> dict[str, News]:
        """Wait until a host has something to tell, at most `timeout` seconds; what, by host."""
        deadline = time.monotonic() + timeout
        while True:
            told = self._hear()
            left = deadline - time.monotonic()
            if told or left <= 0:
                return told
            with self._bell:
                if not self._rung:
                    self._bell.wait(min(left, float(self.beat)))

    def ring(self, host: str) -> None:
        """A host has said something."""
        with self._bell:
            self._rung.add(host)
            self._bell.notify_all()

    def close(self) -> None:
        """End the loops on all hosts."""
        for host in list(self._followed):
            self.forget(host)

    def _hear(self) -> dict[str, News]:
        now = time.monotonic()
        with self._bell:
            rung, self._rung = self._rung, set()
            listened = dict(self._followed)
        told = {}
        for host, followed in listened.items():
            if host in rung:
                followed.heard = now
                said = followed.line.lines()
                if "changed" in said:
                    told[host] = News.CHANGED
                if followed.line.ended:
                    told[host] = News.LOST
            elif now - followed.heard > self.beat * _MISSED:
                told[host] = News.LOST
        for host, what in told.items():
            if what is News.LOST:
                self.forget(host)
        return told


class Bell(threading.Event):
    """What an executor rings when a host said something; only `HostWatch` looks why."""

    def __init__(self, watch: HostWatch, host: str) -> None:
        super().__init__()
        self._watch = watch
        self._host = host

    def set(self) -> None:
        """Ring."""
        super().set()
        self._watch.ring(self._host)
