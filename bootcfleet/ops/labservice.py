"""A lab as a service: started in the foreground or background, asked and stopped by others."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootcfleet.domain.event import Emit, Event
from bootcfleet.drivers.command import spawn_detached
from bootcfleet.drivers.labcontrol import ControlServer, Running
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.lab import Lab


@dataclass(frozen=True)
class LabOptions:
    """What a lab is made of: hosts, what they boot, how long a reboot takes (seconds).

    With `timer`, bootc's update timers fire every so many seconds, where they are active.
    `pull_seconds` is how long a download takes; with `soft_reboots`, hosts can be rebooted softly.
    """

    hosts: int = 12
    image: str | None = None
    registry: bool = True
    registry_port: int = 0
    boot_seconds: float = 1.0
    sudo_password: str | None = None
    timer: float | None = None
    pull_seconds: float = 0.0
    soft_reboots: bool = False


def running(directory: Path) -> Running:
    """The running lab of a directory.  Raises `UsageError` when none runs."""
    found = Running.read(directory)
    if found is None:
        raise UsageError(
            f"no lab runs in {directory}", hint="start one with `bootcfleet lab up --detach`"
        )
    return found


def serve(directory: Path, options: LabOptions, emit: Emit, stop: threading.Event) -> None:
    """Run a lab until `stop` is set.  Raises `UsageError` when one runs there already."""
    refuse_second(directory)
    if options.image is None and not options.registry:
        raise UsageError("hosts of a lab without a registry need --image")
    with Lab(directory) as lab:
        if options.registry:
            address = lab.start_registry(port=options.registry_port)
            emit(Event("lab.registry", "", f"registry on {address}", {"address": address}))
        lab.start_hosts(
            options.hosts,
            image=options.image or lab.seed(),
            boot_seconds=options.boot_seconds,
            sudo_password=options.sudo_password,
            timer=options.timer,
        )
        for host in lab.hosts.values():
            host.pull_seconds = options.pull_seconds
            host.soft_reboot_capable = options.soft_reboots
        control = ControlServer(directory, lambda verb, given: handle(lab, stop, verb, given))
        try:
            data = {"inventory": str(lab.inventory_path), "pid": os.getpid()}
            emit(Event("lab.up", "", f"{options.hosts} hosts are up", data))
            while not stop.wait(0.5):
                pass
        finally:
            control.close()
    emit(Event("lab.down", "", "the lab is down"))


def refuse_second(directory: Path) -> None:
    """Raise `UsageError` when a lab runs in the directory."""
    if (found := Running.read(directory)) is not None:
        raise UsageError(
            f"a lab runs in {directory} already (process {found.pid})",
            hint="look at it with `bootcfleet lab status`, or end it with `bootcfleet lab down`",
        )


def start_detached(directory: Path, arguments: list[str], *, wait: float = 60.0) -> Running:
    """Start ``bootcfleet lab up`` in the background; wait (seconds) until its hosts are up.

    Raises `FleetError` with the end of its log when it does not come up.
    """
    refuse_second(directory)
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "lab.log"
    argv = [sys.executable, "-m", "bootcfleet", "lab", "up", *arguments]
    process = spawn_detached(argv, log)
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        found = Running.read(directory)
        if found is not None:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.terminate()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    raise FleetError("the lab did not come up", details=lines[-10:], hint=f"see {log}")


def stop_lab(directory: Path, *, wait: float = 15.0) -> bool:
    """Stop the lab of a directory and remove what it left; whether there was anything.

    A lab that was killed before has left files only.
    """
    found = Running.read(directory)
    if found is not None:
        found.ask("stop")
        deadline = time.monotonic() + wait
        while Running.read(directory) is not None:
            if time.monotonic() > deadline:
                os.kill(found.pid, signal.SIGTERM)
                break
            time.sleep(0.05)
    if not (directory / "known_hosts").exists():
        # Never remove a directory that is not a lab's.
        return found is not None
    shutil.rmtree(directory)
    return True


def handle(lab: Lab, stop: threading.Event, verb: str, given: Mapping[str, Any]) -> Any:
    """Carry out a request that came through the control socket.  Raises `FleetError`."""
    match verb:
        case "status":
            registry = lab.registry_address if lab.has_registry else None
            return {
                "registry": registry,
                "inventory": str(lab.inventory_path),
                "hosts": lab.status(),
            }
        case "break":
            lab.break_host(str(given["host"]), str(given["fault"]))
        case "heal":
            lab.heal(str(given["host"]))
        case "stop":
            stop.set()
        case _:
            raise UsageError(f"a lab cannot {verb!r}")
    return None
