"""What a simulated host writes down of itself: its history, and the journal of each boot.

The history is the host's own: a test compares it with what a controller believes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bootcfleet.domain.hostevidence import Source


class What(StrEnum):
    """What happened to a host."""

    #: It goes down for a reboot, or softly; `UP` follows when it answers again.
    DOWN = "down"
    SOFT_DOWN = "soft-down"
    UP = "up"
    #: What it runs from now on (a digest).
    BOOTED = "booted"
    #: What is staged from now on (a digest), by whom where it is not the user of bootc.
    STAGED = "staged"
    HELD_BACK = "held-back"
    RELEASED = "released"
    ROLLBACK_QUEUED = "rollback-queued"
    ROLLBACK_REVERTED = "rollback-reverted"
    #: The commands `drain` and `undrain` were run.
    DRAINED = "drained"
    UNDRAINED = "undrained"


@dataclass(frozen=True)
class HistoryEntry:
    """One happening: `at` in seconds since the epoch, `monotonic` by the machine's own clock.

    The monotonic clock is the same for all processes of a machine (clock_gettime(2)).
    """

    at: float
    monotonic: float
    what: What
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """As ``lab status --json`` shows it."""
        return {
            "at": self.at,
            "monotonic": self.monotonic,
            "what": str(self.what),
            "detail": self.detail,
        }


@dataclass
class History:
    """The happenings of one host, in order."""

    _entries: list[HistoryEntry] = field(default_factory=list)

    def note(self, what: What, detail: str = "", *, after: float = 0.0) -> None:
        """Write down what happens now, or is bound to happen `after` so many seconds."""
        entry = HistoryEntry(time.time() + after, time.monotonic() + after, what, detail)
        self._entries.append(entry)

    def so_far(self) -> tuple[HistoryEntry, ...]:
        """What has happened by now."""
        now = time.monotonic()
        # Entries of one moment keep their order.
        return tuple(
            sorted((e for e in tuple(self._entries) if e.monotonic <= now), key=_moment)
        )  # fmt: skip


def _moment(entry: HistoryEntry) -> float:
    return entry.monotonic


def away(history: Iterable[HistoryEntry]) -> tuple[tuple[float, float], ...]:
    """When a host was down, from and until (monotonic, seconds); until infinity while it still is.

    Tests of budgets count how many hosts were away at one moment.
    """
    found: list[tuple[float, float]] = []
    since: float | None = None
    for entry in history:
        if entry.what in {What.DOWN, What.SOFT_DOWN} and since is None:
            since = entry.monotonic
        elif entry.what is What.UP and since is not None:
            found.append((since, entry.monotonic))
            since = None
    if since is not None:
        found.append((since, float("inf")))
    return tuple(found)


@dataclass
class BootLog:
    """The journal of one boot: lines by part of the evidence, and the units that failed in it."""

    boot_id: str
    started: float = field(default_factory=time.time)
    lines: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    motd: str = ""

    def write(self, part: str, *lines: str) -> None:
        """Add lines of a part (`domain/hostevidence.py` names them)."""
        self.lines.setdefault(part, []).extend(lines)


def finalisation_failed(ended: BootLog, now: BootLog) -> None:
    """As ostree and systemd write it, at the end of one boot and in the next."""
    why = "Bootloader write config: grub2-mkconfig: Child process exited with code 1"
    unit = "ostree-finalize-staged.service"
    ended.write(
        Source.FINALIZE,
        "ostree[1889]: Copying /etc changes: 19 modified, 0 removed, 51 added",
        f"ostree[1889]: error: {why}",
        f"systemd[1]: {unit}: Control process exited, code=exited, status=1/FAILURE",
        f"systemd[1]: {unit}: Failed with result 'exit-code'.",
    )
    now.write(Source.BOOT_COMPLETE, f"ostree[751]: error: {unit} failed on previous boot: {why}")
    now.failed.append("ostree-boot-complete.service")


def greenboot_rolled_back(ended: BootLog, now: BootLog) -> None:
    """As greenboot writes it, in the boot that it gives up and in the one that it goes back to."""
    script = "/etc/greenboot/check/required.d/01-web.sh"
    ended.write(
        Source.GREENBOOT,
        f"greenboot[812]: required script {script} failed!",
        "greenboot[812]: Greenboot error: health-check failed!",
        "greenboot-rollback[901]: Greenboot will now attempt to rollback to a previous deployment.",
        "greenboot-rollback[901]: Rollback successful",
    )
    told = "FALLBACK BOOT DETECTED! Default bootc deployment has been rolled back."
    now.write(Source.GREENBOOT, f"greenboot[640]: {told}")
    now.motd = f"{told}\nGreenboot healthcheck passed - status is GREEN.\n"
