"""What a simulated host answers to the program of `drivers/hostevidence.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from bootcfleet.domain.hostevidence import Source
from bootcfleet.drivers import simbootc
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import BAD_UNIT, SimHost

#: The program's own limit for bootc (seconds).
_PATIENCE = 15.0


def answer(host: SimHost, boot: str, *, gone: Callable[[], bool]) -> Said:
    """All parts, each line of them indented.  `boot` is -1 or 0."""
    now = host.boots[-1]
    back = boot == "-1" and not host.soft_reboots
    before = host.boots[-2] if back and len(host.boots) > 1 else None
    asked = before if back else now
    deadline = time.monotonic() + _PATIENCE
    status = simbootc.run(
        host, ["status", "--format=json"], root=True,
        gone=lambda: gone() or time.monotonic() > deadline,
    )  # fmt: skip
    state = "starting" if host.starting else "degraded" if host.failed_units else "running"
    parts = {
        "boot_id": host.boot_id,
        "systemd": f"Version=257 (257.9-1.lab)\nSoftRebootsCount={host.soft_reboots}",
        "previous": "1" if back else "",
        "state": state,
        "failed": "\n".join(f"{unit} loaded failed failed A unit" for unit in host.failed_units),
        Source.FAILED_UNITS: "\n".join(
            f"systemd[1]: {unit}: Failed with result 'exit-code'." for unit in host.failed_units
        ),
        "motd": now.motd,
        "boots": "\n".join(
            f"{index} {log.boot_id.replace('-', '')} {_time(log.started)}"
            for index, log in enumerate(host.boots, start=1 - len(host.boots))
        ),
        Source.BOOT_COMPLETE: "\n".join(now.lines.get(Source.BOOT_COMPLETE, ())),
        Source.GREENBOOT: "\n".join(now.lines.get(Source.GREENBOOT, ())),
    }
    if boot == "-1" and asked is not None:
        parts[Source.FINALIZE] = "\n".join(asked.lines.get(Source.FINALIZE, ()))
        parts[Source.GREENBOOT_BEFORE] = "\n".join(asked.lines.get(Source.GREENBOOT, ()))
    if asked is now and BAD_UNIT in host.failed_units:
        parts[Source.WARNINGS] = f"systemd[1]: Failed to start {BAD_UNIT} - Demo web."
    parts["status"] = status.stdout
    return Said("".join(_part(name, text) for name, text in parts.items()), status.stderr)


def _part(name: str, text: str) -> str:
    lines = "".join(f" {line}\n" for line in text.splitlines())
    return f"--8<-- bootcfleet {name}\n{lines}\n"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC")
