"""`bootcfleet image build` against plain `podman build`, one after the other, of the same files.

    python bench/image_build.py [--base REFERENCE] [--children N] [--jobs N] [--seconds S]

A parent and its children are built in a storage of their own without anything
in podman's cache, first as `bootcfleet image build --jobs N`, then by a loop over the rendered
build contexts that it left behind. Each RUN waits (like a download) and
computes (like an unpacking); give --seconds for how long it waits.

Without --base the base is an image with the shell of this machine in it.
Needs podman; as root, or with rootless podman set up.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("/bin/sh", "/bin/sleep", "/usr/bin/sha256sum", "/usr/bin/head")


def run(argv: list[str], env: dict[str, str], folder: Path) -> float:
    """Run a command; its seconds."""
    started = time.perf_counter()
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def make_base(folder: Path, env: dict[str, str]) -> str:
    """An image with a shell and three programs of this machine, and what they are linked to."""
    root = folder / "base"
    for program in PROGRAMS:
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for path in [program, *re.findall(r"(/\S+) \(0x", linked.stdout)]:
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(path).resolve(), target)
    (folder / "Containerfile.base").write_text("FROM scratch\nCOPY base/ /\n")
    run(
        ["podman", "build", "-f", "Containerfile.base", "-t", "localhost/bench/base:1", "."],
        env,
        folder,
    )
    return "localhost/bench/base:1"


def write_project(folder: Path, base: str, children: int, seconds: float) -> None:
    """One parent, and children from one template."""
    template = folder / "containerfiles" / "work"
    (template / "files").mkdir(parents=True)
    (template / "files" / "name.j2").write_text("{{ image.name }}\n")
    (template / "Containerfile.j2").write_text(
        "FROM {{ base }}\nCOPY files/ /\n"
        f"RUN sleep {seconds} && head -c 300000000 /dev/zero | sha256sum >/sum\n"
    )
    names = "".join(f"  child{n}: {{from: parent, template: work}}\n" for n in range(children))
    (folder / "bootcfleet.yaml").write_text(
        "version: 1\nname: bench\nregistry: registry.example.com/bench\nimages:\n"
        f"  parent: {{base: '{base}', template: work}}\n{names}"
    )


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base")
    parser.add_argument("--children", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bootcfleet-bench-", dir="/var/tmp"))
    storage = folder / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
    )
    env = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage)}
    try:
        base = options.base or make_base(folder, env)
        if options.base:
            run(["podman", "pull", base], env, folder)
        write_project(folder, base, options.children, options.seconds)
        ours = [sys.executable, "-m", "bootcfleet", "image", "build", "--jobs", str(options.jobs)]
        taken = {f"bootcfleet image build --jobs {options.jobs}": run(ours, env, folder)}
        plain = 0.0
        for name in ["parent", *(f"child{n}" for n in range(options.children))]:
            # The context that was just built; its Containerfile has the parent's id.
            context = folder / ".bootcfleet" / "build" / name
            argv = ["podman", "build", "--no-cache", "--layers", "-t", f"localhost/plain/{name}"]
            plain += run([*argv, str(context)], env, folder)
        taken["podman build, one after the other"] = plain
        first = next(iter(taken.values()))
        print(f"{1 + options.children} images, {os.cpu_count()} processors")
        for name, seconds in taken.items():
            print(f"{name:<40} {seconds:7.1f} s {seconds / first:6.2f}×")
    finally:
        run(["podman", "rmi", "--all", "--force"], env, folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
