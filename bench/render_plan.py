"""Rendering and planning 1,000 images: how long, and does it grow in step with their number?

    python bench/render_plan.py [IMAGES]

Images are rendered from the shipped `soe` and `web` templates with their own
variables, in families of one parent and nine children. Nothing is built.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.ops.plan import plan_build
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages

BASE = "registry.example.com/rhel10/rhel-bootc@sha256:" + "0a" * 32


def project(count: int) -> str:
    """A bootcfleet.yaml with `count` images."""
    lines = ["version: 1", "name: bench", "registry: registry.example.com/bench", "images:"]
    for number in range(count):
        if number % 10 == 0:
            parent = number
            lines.append(f"  soe-{number}: {{base: '{BASE}', template: soe}}")
        else:
            lines.append(
                f"  web-{number}: {{from: soe-{parent}, template: web, "
                f"vars: {{server_name: host{number}.example.com}}}}"
            )
    return "\n".join(lines) + "\n"


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes; the best of three, as the rest is noise."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    """Measure a tenth of the images and all of them."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{'images':>7} {'read project':>13} {'render and plan':>16} {'per image':>10}")
    for count in (max(10, most // 10), most):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "bootcfleet.yaml").write_text(project(count))
            read = timed(lambda root=root: load_project(root))  # type: ignore[misc]
            images = ProjectImages.open(load_project(root), LocalExecutor())
            now = datetime.now(UTC)
            plan = timed(lambda images=images, now=now: plan_build(images, now=now))  # type: ignore[misc]
        print(f"{count:>7} {read:>11.2f} s {plan:>14.2f} s {plan / count * 1000:>7.2f} ms")


if __name__ == "__main__":
    main()
