"""Boots a disk image in qemu, waits for SSH, runs an image's checks there, and stops it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bootcfleet.domain.bootconsole import BootState, clean, diagnose, tail
from bootcfleet.domain.check import Check, CheckReport, Mode
from bootcfleet.domain.checkfile import checks_hash
from bootcfleet.domain.event import Emit, Event, ignore
from bootcfleet.domain.inventory import Connection
from bootcfleet.domain.qemuargs import Accel, Arch, Machine, machine_argv
from bootcfleet.drivers.command import write_atomic
from bootcfleet.drivers.guestssh import learn_host_key
from bootcfleet.drivers.qemu import Vm, find_firmware, free_port, qemu_program
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.diskrun_prepare import (
    DiskRun,
    RunOptions,
    choose_accel,
    choose_key,
    format_of,
    own_arch,
)
from bootcfleet.ops.systemcheck import check_system

_GRACE = 5.0
#: Seconds that a refused key is tried again: users and keys may be made while the system starts.
_AUTH_PATIENCE = 20.0
_POWERDOWN = 60.0
_HALF_BOOTED = 15.0
#: How often an emulated machine is started anew whose timer test failed.
_RESETS = 3


def run_disk_image(
    options: RunOptions,
    image: str | None,
    checks: Sequence[Check],
    emit: Emit = ignore,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> DiskRun:
    """Boot, check, stop.  `checks` are those of `image`; None runs none.

    The machine is stopped whatever happens, ^C included, unless `keep` is set and the run came to
    its end. Raises `UsageError` for what is no disk image, `ToolMissingError` without qemu or the
    firmware, `FleetError` when qemu does not start.
    """
    form = format_of(options)
    arch = options.arch or own_arch()
    program = qemu_program(arch)
    firmware = find_firmware(arch) if options.uefi or arch is Arch.AARCH64 else None
    # The socket's path has a limit of 107 bytes, which a long $TMPDIR would break.
    folder = Path(tempfile.mkdtemp(prefix="bootcfleet-run-", dir="/tmp"))
    kept = False
    vm: Vm | None = None
    booted = False
    try:
        serial = (options.serial or folder / "serial.log").absolute()
        identity, public = choose_key(options, folder)
        accel, reason = choose_accel(options, arch)
        run = DiskRun(options.disk, accel, reason, serial=serial)
        if firmware is not None:
            shutil.copy(firmware.variables, folder / "vars")
        given = Machine(
            program, arch, accel, str(options.disk.absolute()), form,
            options.ssh_port or 0, str(serial), str(folder / "qmp"), options.memory, options.cpus,
            options.snapshot, firmware, str(folder / "vars"), public,
        )  # fmt: skip
        vm = _start(run, given, options, folder, sleep, monotonic)
        _tell(run, emit)
        booted = _boot(run, vm, options, identity, folder, emit, sleep, monotonic)
        if booted and image is not None:
            run.report = _check(run, image, checks, options, identity, folder, emit)
        if not booted:
            _explain(run, vm, options)
        kept = options.keep and vm.running
        if kept:
            run.folder = folder
    finally:
        if vm is not None and not kept:
            # With a throw-away disk nothing is lost; without, also a half-booted system may answer.
            patience = _POWERDOWN if booted else (0.0 if options.snapshot else _HALF_BOOTED)
            emit(Event("disk.run.stopping", options.disk.name, "stopping the machine"))
            try:
                run.stopped = vm.stop(powerdown=patience)
            finally:
                _tidy(folder, run)
        elif not kept:
            _tidy(folder, None)
    return run


def _start(
    run: DiskRun,
    given: Machine,
    options: RunOptions,
    folder: Path,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> Vm:
    """Start qemu; again with another port that was taken meanwhile, and without a broken KVM."""
    for attempt in range(4):
        run.port = options.ssh_port or free_port()
        values = {**vars(given), "ssh_port": run.port, "accel": run.accel}
        argv = machine_argv(Machine(**values))
        log = folder / f"qemu-{attempt}.log"
        vm = Vm(argv, run.accel, log, Path(given.monitor))
        run.pid, run.argv = vm.pid, argv
        try:
            deadline = monotonic() + (_GRACE if run.accel is Accel.KVM else 1.0)
            while vm.running and monotonic() < deadline:
                sleep(0.1)
        except BaseException:
            vm.stop()
            raise
        if vm.running:
            return vm
        words = vm.complaint()
        text = " ".join(words)
        if "host forwarding" in text and options.ssh_port is None:
            continue
        # A KVM that opens and then cannot run a processor: virtual machines within others.
        if run.accel is Accel.KVM and options.accel is None and "kvm" in text.lower():
            run.accel, run.accel_reason = Accel.TCG, f"KVM does not work here: {words[0]}"
            continue
        break
    hint = "choose another --ssh-port, or leave it out" if "host forwarding" in text else None
    raise FleetError(f"qemu ended at once (exit code {vm.exit_code})", hint=hint, details=words)


def _tell(run: DiskRun, emit: Emit) -> None:
    how = f" ({run.accel_reason})" if run.accel_reason else ""
    said = f"booting with {run.accel.value}{how}, SSH on 127.0.0.1 port {run.port}"
    data = {"pid": run.pid, "port": run.port, "accel": run.accel.value}
    emit(Event("disk.run.started", run.disk.name, said, data))


def _boot(
    run: DiskRun,
    vm: Vm,
    options: RunOptions,
    identity: Path | None,
    folder: Path,
    emit: Emit,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> bool:
    """Wait until a command runs over SSH; False with `run.problem` when it will not."""
    started = monotonic()
    known = folder / "known_hosts"
    refused_since: float | None = None
    final_since: float | None = None
    state = None
    while True:
        now = monotonic()
        diagnosis = diagnose(_console(run))
        if diagnosis.state is not state:
            state = diagnosis.state
            emit(Event("disk.run.console", options.disk.name, f"console: {state.value}"))
        if diagnosis.state is BootState.TIMER and _reset(run, vm, emit):
            continue
        if not vm.running:
            run.problem = f"qemu has ended (exit code {vm.exit_code}): {' '.join(vm.complaint())}"
            return False
        final_since = (final_since or now) if diagnosis.final else None
        if final_since is not None and now - final_since >= _GRACE:
            run.problem = f"it does not boot: {diagnosis.meaning}"
            return False
        if now - started > options.timeout:
            run.problem = f"no SSH within {options.timeout:g} s"
            return False
        if not known.exists() and (line := learn_host_key(run.port)):
            write_atomic(known, line.encode(), mode=0o600)
        if known.exists():
            executor = _executor(run, options, identity, folder)
            try:
                if executor.run(["true"], timeout=60).ok:
                    run.booted, run.boot_seconds = True, monotonic() - started
                    said = f"SSH answers after {run.boot_seconds:.0f} s"
                    emit(Event("disk.run.booted", options.disk.name, said))
                    return True
            except HostError as error:
                run.problem = ""
                if error.fault is HostFault.AUTH_FAILED:
                    refused_since = refused_since or now
                    if now - refused_since >= _AUTH_PATIENCE:
                        run.problem, run.hint = error.message, _key_hint(options)
                        return False
            finally:
                executor.close()
        sleep(1.0)


def _reset(run: DiskRun, vm: Vm, emit: Emit) -> bool:
    """Start an emulated machine again that only lacked time; False when that is of no use.

    The kernel has not come to the disk yet, so nothing is lost.
    """
    if run.accel is not Accel.TCG or run.resets >= _RESETS or run.serial is None or not vm.running:
        return False
    run.serial_from = run.serial.stat().st_size
    run.resets += 1
    vm.command("system_reset")
    said = f"the timer test failed on a busy machine: starting again ({run.resets} of {_RESETS})"
    emit(Event("disk.run.reset", run.disk.name, said, {"resets": run.resets}))
    return True


def _key_hint(options: RunOptions) -> str:
    if options.inject_key:
        return "the image's systemd is older than 252, or sshd there does not let root in by a key"
    return "name the key with --identity FILE and --user, or give root one for this run: --ssh-key"


def _executor(
    run: DiskRun, options: RunOptions, identity: Path | None, folder: Path
) -> SshExecutor:
    connection = Connection(
        address="127.0.0.1",
        port=run.port,
        user=options.user,
        identity_file=str(identity) if identity else None,
        known_hosts=str(folder / "known_hosts"),
        # What the user's own configuration says of 127.0.0.1 is not about this machine.
        ssh_config=os.devnull,
        connect_timeout=60.0,
    )
    words = ["ssh", "-F", "none", "-o", f"UserKnownHostsFile={folder / 'known_hosts'}"]
    words += ["-p", str(run.port), *(["-i", str(identity)] if identity else [])]
    run.ssh_command = (*words, f"{options.user}@127.0.0.1")
    return SshExecutor(options.disk.name, connection, SshShared(ask=_nobody))


def _nobody(question: str) -> str:
    raise FleetError(f"{question.rstrip(': ')} is needed", hint="use a key in the SSH agent")


def _check(
    run: DiskRun,
    image: str,
    checks: Sequence[Check],
    options: RunOptions,
    identity: Path | None,
    folder: Path,
    emit: Emit,
) -> CheckReport:
    executor = _executor(run, options, identity, folder)
    started = time.monotonic()
    try:
        emit(Event("disk.run.checking", options.disk.name, f"running {len(checks)} checks"))
        # Services that are still starting are not failures yet.
        words = ["timeout", "120", "systemctl", "is-system-running", "--wait"]
        run.system_state = executor.run(words, timeout=150).stdout.strip()
        results = check_system(checks, executor, Mode.HOST)
    finally:
        executor.close()
    return CheckReport(
        image=image,
        reference=str(options.disk),
        digest="",
        mode=Mode.HOST,
        results=results,
        checks_hash=checks_hash(checks),
        seconds=time.monotonic() - started,
    )


def _console(run: DiskRun) -> str:
    try:
        return clean(run.serial.read_bytes()[run.serial_from :]) if run.serial else ""
    except OSError:
        return ""


def _explain(run: DiskRun, vm: Vm, options: RunOptions) -> None:
    text = _console(run)
    run.console = tail(text)
    # A refused key is no question of booting.
    if run.hint is None:
        run.diagnosis = diagnose(text)
    serial = run.serial
    if options.serial is None and serial is not None:
        descriptor, name = tempfile.mkstemp(prefix="bootcfleet-serial-", suffix=".log")
        os.close(descriptor)
        run.serial = Path(name)
        if serial.exists():
            shutil.copyfile(serial, run.serial)
    if run.serial is not None and vm.running:
        picture = run.serial.with_suffix(".png")
        run.screenshot = picture if vm.screenshot(picture) else None


def _tidy(folder: Path, run: DiskRun | None) -> None:
    """Remove the run's folder; the console stays only where somebody asked for it or needs it."""
    if run is not None and run.serial == folder / "serial.log":
        run.serial = None
    shutil.rmtree(folder, ignore_errors=True)
