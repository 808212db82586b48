"""Runs a lab for `bootcfleet lab up`, in the foreground or in the background."""

from __future__ import annotations

import shlex
import signal
import threading
from pathlib import Path
from types import FrameType

from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event
from bootcfleet.errors import UsageError
from bootcfleet.ops.labservice import LabOptions, serve, start_detached


def run_up(directory: Path, options: LabOptions, *, detach: bool, output: Output) -> None:
    """Start a lab.  In the foreground it ends by ^C (a clean end: exit code 0) or `lab down`."""
    if detach:
        # Two keys are made for each host: a thousand take a slow machine its time.
        wait = 60.0 + options.hosts / 10
        found = start_detached(directory, _arguments(directory, options), wait=wait)
        if output.as_json:
            output.json({"pid": found.pid, "inventory": str(directory / "inventory.yaml")})
        else:
            output.line(f"the lab is up: {options.hosts} hosts, process {found.pid}")
            _next(output, directory)
        return
    stop = threading.Event()

    def finish(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {n: signal.signal(n, finish) for n in (signal.SIGINT, signal.SIGTERM)}

    def say(event: Event) -> None:
        output.event(event)
        if event.kind == "lab.up" and not output.as_json:
            _next(output, directory)
            output.line("^C ends the lab")

    try:
        serve(directory, options, say, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next(output: Output, directory: Path) -> None:
    inventory = directory / "inventory.yaml"
    shown = inventory.relative_to(Path.cwd()) if inventory.is_relative_to(Path.cwd()) else inventory
    output.line(f"next: bootcfleet fleet status -i {shlex.quote(str(shown))}")


def _arguments(directory: Path, options: LabOptions) -> list[str]:
    if options.sudo_password not in {None, "lab"}:
        raise UsageError("a lab's sudo password is 'lab'")
    words = ["--directory", str(directory), "--hosts", str(options.hosts)]
    words += ["--boot-seconds", str(options.boot_seconds)]
    words += ["--registry-port", str(options.registry_port)]
    words += ["--image", options.image] if options.image else []
    words += [] if options.registry else ["--no-registry"]
    words += ["--timer", str(options.timer)] if options.timer is not None else []
    words += ["--pull-seconds", str(options.pull_seconds)]
    words += ["--soft-reboots"] if options.soft_reboots else []
    words += ["--ask-sudo"] if options.sudo_password else []
    return words
