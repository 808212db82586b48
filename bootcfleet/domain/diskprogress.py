"""How far a builder is, from what ``--progress debug`` prints: one event a line.

Source: pkg/progress of osbuild/image-builder @a1f35083; both builders share it::

    Start progressbar
    pulse: Manifest generation step
    [4 / 5] Pipeline image
      [7 / 13] Stage org.osbuild.mkfs.ext4
    Stop progressbar
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_STEP = re.compile(r"( *)\[(\d+) / (\d+)\] (.+)")
_SAID = re.compile(r"(?:pulse|msg): (.+)")


@dataclass(frozen=True)
class DiskProgress:
    """Where a build is: `done` of `total` pipelines, and within one `stage_done` of its stages."""

    message: str
    done: int = 0
    total: int = 0
    pipeline: str = ""
    stage: str = ""
    stage_done: int = 0
    stage_total: int = 0

    @property
    def fraction(self) -> float:
        """From 0 to 1; the pipelines count alike, as nobody knows how long each will take."""
        if not self.total:
            return 0.0
        within = self.stage_done / self.stage_total if self.stage_total else 0.0
        return min(1.0, (max(0, self.done - 1) + within) / self.total)

    def to_json(self) -> dict[str, Any]:
        """The progress as JSON-ready data."""
        return {
            "pipeline": self.pipeline,
            "stage": self.stage,
            "done": self.done,
            "total": self.total,
            "stage_done": self.stage_done,
            "stage_total": self.stage_total,
            "fraction": round(self.fraction, 4),
        }


class ProgressReader:
    """Reads the lines of one run."""

    def __init__(self) -> None:
        self._now = DiskProgress("")

    def feed(self, line: str) -> DiskProgress | None:
        """What a line says of the progress; None for every other line."""
        if said := _SAID.fullmatch(line.strip()):
            self._now = DiskProgress(said[1], self._now.done, self._now.total, self._now.pipeline)
            return self._now
        step = _STEP.fullmatch(line.rstrip())
        if step is None:
            return None
        done, total, text = int(step[2]), int(step[3]), step[4]
        if not step[1]:
            self._now = DiskProgress(text, done, total, text.removeprefix("Pipeline "))
        elif len(step[1]) == 2:
            now = self._now
            stage = text.removeprefix("Stage ")
            self._now = DiskProgress(
                f"{now.pipeline}: {stage}", now.done, now.total, now.pipeline, stage, done, total
            )
        else:
            # Deeper levels say how far a stage itself is; the stage is enough.
            return None
        return self._now
