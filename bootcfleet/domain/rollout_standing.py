"""Where a rollout stands, in one word: from the newest entries of its journal and its lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bootcfleet.domain.rollout_journal import EntryKind, RolloutSummary


class Standing(StrEnum):
    """The words; stable in JSON.  The last four are those of FINISHED."""

    #: Its plan is written down, and no controller has begun.
    NOT_BEGUN = "not-begun"
    RUNNING = "running"
    PAUSED = "paused"
    #: It has halted or was aborted, and its controller finishes what is under way.
    HALTING = "halting"
    #: Its controller let go of it before its end, or it was opened again: nobody carries it out.
    STOPPED = "stopped"
    #: Its controller is gone without a word.
    LEFT_BEHIND = "left-behind"
    DONE = "done"
    FAILED = "failed"
    HALTED = "halted"
    ABORTED = "aborted"


#: Nobody carries it out, and there is something left to do.
TO_RESUME = frozenset({Standing.NOT_BEGUN, Standing.STOPPED, Standing.LEFT_BEHIND})


#: It has ended, and nobody has opened it again.
OVER = frozenset({Standing.DONE, Standing.FAILED, Standing.HALTED, Standing.ABORTED})


@dataclass(frozen=True)
class Controller:
    """Who carries a rollout out, or did last; `pid` 0 is unknown."""

    name: str
    pid: int
    version: str
    since: datetime

    @property
    def machine(self) -> str:
        """Its machine's name."""
        return self.name.rpartition("@")[2]


def controller_of(summary: RolloutSummary) -> Controller | None:
    """Who took the rollout up last, or None."""
    entry = summary.newest.get(EntryKind.STARTED)
    if entry is None:
        return None
    pid = entry.body.get("pid")
    return Controller(
        str(entry.body.get("controller") or entry.actor),
        pid if isinstance(pid, int) else 0,
        str(entry.body.get("version") or ""),
        entry.at,
    )


def standing_of(summary: RolloutSummary, *, held: bool) -> Standing:
    """Where a rollout stands; `held` is whether a living controller has its lock."""
    number = summary.number
    if not summary.unfinished:
        outcome = str(summary.newest[EntryKind.FINISHED].body.get("outcome"))
        known = {Standing.DONE, Standing.HALTED, Standing.ABORTED}
        return next((one for one in known if one == outcome), Standing.FAILED)
    if not held:
        started = number(EntryKind.STARTED)
        if not started:
            return Standing.NOT_BEGUN
        gone = number(EntryKind.STOPPED, EntryKind.FINISHED) > started
        return Standing.STOPPED if gone else Standing.LEFT_BEHIND
    if number(EntryKind.HALTED, EntryKind.ABORTED) > number(EntryKind.RETRY):
        return Standing.HALTING
    paused = number(EntryKind.PAUSED) > number(EntryKind.UNPAUSED)
    return Standing.PAUSED if paused else Standing.RUNNING
