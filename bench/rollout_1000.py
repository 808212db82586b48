"""A whole rollout of 1,000 lab hosts: wall time beside what waves, bakes and reboots add up to.

    python bench/rollout_1000.py [HOSTS] [BOOT_SECONDS] [BAKE_SECONDS] [PARALLEL]

The lab runs in a process of its own, on the same cores.  What cannot be avoided is, for
each wave, a reboot for each `PARALLEL` hosts and one bake.  The controller's CPU and
memory are its own process's alone.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bootcfleet.drivers.labimage import push_image  # noqa: E402

PROGRAM = [sys.executable, "-m", "bootcfleet"]


def lab_cpu(pid: int) -> float:
    """Seconds of CPU of the lab."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def new_version(inventory: Path) -> None:
    """Push version 2.0 of every image of the lab."""
    hosts = yaml.load(inventory.read_text(), yaml.CSafeLoader)["hosts"]
    for image in {host["image"] for host in hosts.values()}:
        address, _, rest = image.partition("/")
        repository, _, tag = rest.partition(":")
        push_image(
            address,
            repository,
            tag,
            version="2.0",
            files={"usr/share/lab/version": b"2.0\n"},
            created=datetime.now(UTC),
        )


def main() -> None:
    """Start a lab, move it, and compare."""
    given = [float(word) for word in sys.argv[1:]]
    count, boot, bake, parallel = [*given, *(1000, 1.0, 30.0, 200)[len(given) :]][:4]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(folder / "state"),
            "SSH_AUTH_SOCK": "",
        }
        up = ["lab", "up", "-n", str(int(count)), "--boot-seconds", str(boot), "--detach"]
        subprocess.run(
            [*PROGRAM, *up], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        try:
            lab = json.loads((folder / ".bootcfleet/lab/lab.json").read_text())["pid"]
            inventory = folder / ".bootcfleet/lab/inventory.yaml"
            new_version(inventory)
            words = ["fleet", "upgrade", "-i", str(inventory), "--yes", "--json"]
            words += ["--canary", "1%", "--batch", "33%", "--parallel", str(int(parallel))]
            words += ["--bake", f"{bake:g}s", "--max-unavailable", "100%"]
            events = folder / "events"
            work, started = lab_cpu(lab), time.monotonic()
            with events.open("wb") as stream:
                process = subprocess.Popen(
                    [*PROGRAM, *words], cwd=folder, env=environment, stdout=stream
                )
                _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - started
            work = lab_cpu(lab) - work
        finally:
            subprocess.run([*PROGRAM, "lab", "down"], cwd=folder, env=environment, check=False)
        lines = [json.loads(line) for line in events.read_text().splitlines()]
        report(lines, wall, boot, bake, int(parallel))
        client = usage.ru_utime + usage.ru_stime
        print(
            f"controller: {client:.1f} s of CPU ({client / count * 1000:.1f} ms a host), ", end=""
        )
        print(f"{usage.ru_maxrss / 1024:.0f} MB; lab: {work:.1f} s of CPU")
        if os.waitstatus_to_exitcode(status):
            print(f"it ended with {os.waitstatus_to_exitcode(status)}")
            print("\n".join(events.read_text().splitlines()[-3:])[:2000])


def report(lines: list[dict[str, object]], wall: float, boot: float, bake: float, at: int) -> None:
    """The table."""
    plan = next(line for line in lines if line["kind"] == "rollout.planned")
    waves = plan["waves"] if "waves" in plan else plan["data"]["waves"]  # type: ignore[index]
    sizes = [len(wave["hosts"]) for wave in waves]  # type: ignore[attr-defined]
    least = sum(math.ceil(size / at) * boot + bake for size in sizes)
    print(f"{sum(sizes)} hosts in waves of {sizes}, {at} at once")
    print(f"{boot:g} s a boot, {bake:g} s a bake")
    print(f"wall {wall:.1f} s; waves, bakes and reboots alone {least:.1f} s: {wall / least:.2f}×")
    print("events:", dict(Counter(str(line["kind"]) for line in lines).most_common(12)))


if __name__ == "__main__":
    main()
