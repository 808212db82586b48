"""What `disk run` does once its options are read."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path
from types import FrameType

from bootcfleet.cli.output import Output
from bootcfleet.domain.check import Check, Outcome
from bootcfleet.domain.event import Event
from bootcfleet.domain.qemuargs import Accel, Arch
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.errors import ChecksFailedError, UsageError
from bootcfleet.ops.check import project_checks
from bootcfleet.ops.diskrun import run_disk_image
from bootcfleet.ops.diskrun_find import find_disk
from bootcfleet.ops.diskrun_prepare import DiskRun, RunOptions
from bootcfleet.ops.project import find_project, load_project
from bootcfleet.ops.render import ProjectImages


def run_disk(
    disk: str,
    *,
    checks: str | None,
    no_check: bool,
    user: str,
    identity: Path | None,
    inject_key: bool,
    ssh_port: int | None,
    snapshot: bool,
    memory: str,
    cpus: int,
    uefi: bool,
    arch: str | None,
    accel: str | None,
    keep: bool,
    serial: Path | None,
    timeout: str,
    as_json: bool,
) -> None:
    """Boot it, show what came of it, and fail when it is not green."""
    output = Output(as_json=as_json)
    if checks and no_check:
        raise UsageError("--checks and --no-check contradict each other")
    found = find_disk(disk, find_project())
    image, wanted = (None, ()) if no_check else _checks(checks or found.image, disk)
    options = RunOptions(
        disk=found.path,
        user=user,
        identity=identity,
        inject_key=inject_key,
        ssh_port=ssh_port,
        snapshot=snapshot,
        memory=memory,
        cpus=cpus,
        uefi=uefi,
        arch=Arch(arch) if arch else found.arch,
        accel=Accel(accel) if accel else None,
        keep=keep,
        serial=serial,
        timeout=_seconds(timeout),
    )

    def say(event: Event) -> None:
        # The result is one JSON document: progress goes to standard error then.
        output.line(f"{event.subject}: {event.message}")

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # The machine must not outlive us: an end by SIGTERM stops it as ^C does.
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        result = run_disk_image(options, image, wanted, say)
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        output.json(result.to_json())
    else:
        _show(output, result)
    _judge(result)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([1-9]\d{0,5})(s|m|h)", text)
    if match is None:
        raise UsageError(f"--timeout: {text!r} is not a length of time", hint="write 90s, 10m, 1h")
    return float(int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]])


def _checks(image: str | None, disk: str) -> tuple[str, tuple[Check, ...]]:
    """The checks to run; said before anything boots when there are none to be found."""
    if image is None:
        raise UsageError(
            f"nothing says which image {disk} was made of, so there are no checks to run",
            hint="name the image with --checks IMAGE, or only boot it with --no-check",
        )
    images = ProjectImages.open(load_project(), LocalExecutor())
    return image, project_checks(images, image)


def _show(output: Output, result: DiskRun) -> None:
    report = result.report
    if report is not None:
        output.line(f"{report.image} on {result.disk}: {report.outcome.upper()}: {report.summary}")
        rows = [
            [one.outcome.value, one.check.name, one.check.where, one.expected, one.found]
            for one in report.of(Outcome.FAILED, Outcome.SKIPPED)
        ]
        if rows:
            output.table(["RESULT", "CHECK", "WHERE", "EXPECTED", "FOUND"], rows)
    elif result.booted:
        output.line(f"{result.disk}: booted; no checks were run")
    if result.system_state not in ("", "running"):
        output.line(f"systemd says: {result.system_state}")
    if result.console:
        output.line("the end of the serial console:")
        for line in result.console:
            output.line(f"  {line}")
    if result.folder is not None:
        output.line(f"left running: process {result.pid}")
        output.line(f"  {shlex.join(result.ssh_command)}")
        folder = shlex.quote(str(result.folder))
        output.line(f"  end it with: kill {result.pid} && rm -r {folder}")
    if result.screenshot:
        output.line(f"the screen: {result.screenshot}")
    if result.serial and not result.booted:
        output.line(f"the whole console: {result.serial}")


def _judge(result: DiskRun) -> None:
    if not result.booted:
        diagnosis = result.diagnosis
        details = [f"{diagnosis.state.value}: {diagnosis.meaning}"] if diagnosis else []
        if diagnosis and diagnosis.line:
            details.append(f"seen: {diagnosis.line[:200]}")
        hint = result.hint or (diagnosis.remedy if diagnosis else None)
        raise ChecksFailedError(f"{result.disk}: {result.problem}", details=details, hint=hint)
    if not result.ok and result.report is not None:
        raise ChecksFailedError(
            f"{result.disk} is not green: {result.report.summary}",
            hint="look around in the machine with --keep",
        )
