"""What bootc says on ``--progress-fd`` while it downloads and stages.

JSON lines, by bootc's published schema (progress-v0): ``Start`` with the version of the protocol,
``ProgressBytes`` (task ``pulling``) and ``ProgressSteps`` (tasks ``importing`` and ``staging``), at
most five a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

#: bootc's own limit, held to by us as well (per second).
MAX_RATE = 5.0


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is.  A total of 0 means that it is not known.

    `steps` are image layers while it pulls, and parts of the work while it imports and stages.
    """

    task: str
    bytes: int = 0
    bytes_total: int = 0
    steps: int = 0
    steps_total: int = 0

    @property
    def finished(self) -> bool:
        """Whether this task has come to its end."""
        if self.bytes_total:
            return self.bytes >= self.bytes_total
        return 0 < self.steps_total <= self.steps


def parse_progress(line: str) -> DownloadProgress | None:
    """Read one line; None for the start, for other events and for anything that is no progress."""
    text = line.strip()
    if not text.startswith("{"):
        return None
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("type") not in ("ProgressBytes", "ProgressSteps"):
        return None
    task = event.get("task")
    if not isinstance(task, str) or not task.isprintable() or not 0 < len(task) <= 40:
        return None
    return DownloadProgress(
        task,
        _count(event, "bytes"),
        _count(event, "bytesTotal"),
        _count(event, "steps"),
        _count(event, "stepsTotal"),
    )


class Pace:
    """Lets through at most `MAX_RATE` reports a second, and each task's first and last in any case.

    What is told is drawn and sent to people; a bootc that says more must not slow a fleet down.
    """

    def __init__(self) -> None:
        self._last: DownloadProgress | None = None
        self._at = 0.0

    def lets(self, progress: DownloadProgress, now: float) -> bool:
        """Whether a report that came at `now` (seconds) is told."""
        last = self._last
        if progress == last:
            return False
        turns = last is None or last.task != progress.task or progress.finished
        if not turns and now - self._at < 1 / MAX_RATE:
            return False
        self._last, self._at = progress, now
        return True


def _count(event: dict[str, Any], name: str) -> int:
    value = event.get(name)
    # A JSON true is an int in Python; the schema's numbers have 64 bits.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**64:
        return 0
    return value
