"""What bootc writes on ``--progress-fd`` while a simulated host pulls (schema progress-v0)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from bootcfleet.drivers.simhost import Pulled

#: bootc writes at most five reports a second.
_EVERY = 0.2


def tell_progress(
    seconds: float,
    reference: str,
    image: Pulled,
    say: Callable[[str], None] | None,
) -> None:
    """Take `seconds` for a pull, and tell how far it is to a caller who has asked for it.

    A caller who hangs up does not end it, as a bootc that sudo runs is not ended.
    """

    def line(event: dict[str, Any]) -> None:
        if say is not None:
            # Canonical, as bootc's status.
            say(json.dumps(event, sort_keys=True, separators=(",", ":")) + "\n")

    total = sum(size for _, size in image.layers)
    line({"type": "Start", "version": "0.1.0"})
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        line(_pulling(reference, image, int(total * passed / seconds), total))
        time.sleep(min(_EVERY, seconds - passed))
    line(_pulling(reference, image, total, total))
    for task, steps in (("importing", len(image.layers)), ("staging", 3)):
        line({
            "type": "ProgressSteps",
            "task": task,
            "description": task.capitalize(),
            "id": task,
            "stepsCached": 0,
            "steps": steps,
            "stepsTotal": steps,
            "subtasks": [
                {"subtask": task, "description": task, "id": task, "completed": True}
            ],
        })  # fmt: skip


def _pulling(reference: str, image: Pulled, done: int, total: int) -> dict[str, Any]:
    subtasks, before = [], 0
    for digest, size in image.layers:
        here = min(size, max(0, done - before))
        before += size
        if here > 0:
            subtasks.append({
                "subtask": "ostree_derived",
                "description": "Derived Layer:",
                "id": str(digest),
                "bytesCached": 0,
                "bytes": here,
                "bytesTotal": size,
            })  # fmt: skip
    return {
        "type": "ProgressBytes",
        "task": "pulling",
        "description": "Pulling",
        "id": reference,
        "bytesCached": 0,
        "bytes": done,
        "bytesTotal": total,
        "stepsCached": 0,
        "steps": sum(1 for each in subtasks if each["bytes"] == each["bytesTotal"]),
        "stepsTotal": len(image.layers),
        "subtasks": subtasks,
    }
