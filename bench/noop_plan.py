"""`bootcfleet image plan` of many unchanged images, beside one cached `podman build`.

    python bench/noop_plan.py [--images N] [--runs N]

The peer is what tells without a plan that an image is up to date: a `podman build` in which every
step comes from the cache. Both are whole processes, taken in turns; the figure is how many images
are planned in the time of one such build. A podman that only counts is first on the plan's PATH.
Needs podman; as root, or with rootless podman set up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.domain.build import LastBuild
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.ops.plan import image_graph, image_inputs
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages

BASE = "registry.example.com/rhel10/rhel-bootc@sha256:" + "0a" * 32


def write_project(root: Path, count: int) -> None:
    """Families of one SOE and nine web servers, from the shipped templates."""
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
    (root / "bootcfleet.yaml").write_text("\n".join(lines) + "\n")


def pretend_built(root: Path) -> None:
    """Write down a last build of every image, as a build does."""
    images = ProjectImages.open(load_project(root), LocalExecutor())
    made: dict[str, LastBuild] = {}
    for name in image_graph(images.loaded).names:
        spec = images.loaded.project.images[name]
        base = made[spec.from_].reference if spec.from_ else BASE
        inputs, _ = image_inputs(images, name, base)
        digest = "sha256:" + inputs.build_id
        made[name] = LastBuild(
            image_id=digest,
            reference=f"{images.repository(name)}@{digest}",
            base=base,
            built_at=datetime.now(UTC).isoformat(),
            declared=spec.base,
            digest=digest,
            inputs=inputs,
        )
    for name, build in made.items():
        images.files.remember(name, build)


def timed(argv: list[str], folder: Path, env: dict[str, str]) -> float:
    """Seconds of a process that must end well."""
    started = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Measure both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "project"
        root.mkdir()
        write_project(root, chosen.images)
        pretend_built(root)
        counted = folder / "bin/podman"
        counted.parent.mkdir()
        counted.write_text(f"#!/bin/sh\necho x >> {folder}/started\nexit 1\n")
        counted.chmod(0o755)
        alone = {**os.environ, "PATH": f"{counted.parent}:{os.environ['PATH']}"}
        context = folder / "context"
        context.mkdir()
        (context / "file").write_text("x\n")
        (context / "Containerfile").write_text("FROM scratch\nCOPY file /\nLABEL a=b\n")
        build = ["podman", "build", "--quiet", "--layers", "."]
        timed(build, context, dict(os.environ))
        plan = [sys.executable, "-m", "bootcfleet", "image", "plan", "--detailed-exitcode"]
        plans, builds = [], []
        for _ in range(chosen.runs):
            plans.append(timed(plan, root, alone))
            builds.append(timed(build, context, dict(os.environ)))
        started = (
            (folder / "started").read_text().count("x") if (folder / "started").exists() else 0
        )
        one, other = statistics.median(plans), statistics.median(builds)
        print(
            f"plan of {chosen.images} unchanged images: {one:.2f} s, podman started {started} times"
        )
        print(f"one podman build, all from the cache:  {other:.2f} s")
        print(f"images planned in the time of one cached build: {chosen.images * other / one:.0f}")


if __name__ == "__main__":
    main()
