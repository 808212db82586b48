"""What is booted, how, and what came of it; what is decided before a machine is started."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootcfleet.domain.bootconsole import Diagnosis
from bootcfleet.domain.check import CheckReport
from bootcfleet.domain.qemuargs import Accel, Arch, disk_format
from bootcfleet.drivers.command import write_atomic
from bootcfleet.drivers.qemu import kvm_problem
from bootcfleet.drivers.sshkeys import make_key
from bootcfleet.errors import FleetError, UsageError

_MEMORY = re.compile(r"[1-9]\d*[MG]")


@dataclass(frozen=True)
class RunOptions:
    """How to boot.  `ssh_port` None takes a free one; `accel` None is KVM where it works.

    `inject_key` gives root a key by systemd's credentials: `identity`'s, or one made for this
    run. `timeout` is in seconds, from the start to SSH.
    """

    disk: Path
    user: str = "root"
    identity: Path | None = None
    inject_key: bool = False
    ssh_port: int | None = None
    snapshot: bool = True
    memory: str = "2G"
    cpus: int = 2
    uefi: bool = False
    arch: Arch | None = None
    accel: Accel | None = None
    keep: bool = False
    serial: Path | None = None
    timeout: float = 600.0


@dataclass
class DiskRun:
    """What came of it.  `booted` is whether a command ran over SSH; seconds for both times."""

    disk: Path
    accel: Accel
    accel_reason: str = ""
    port: int = 0
    pid: int = 0
    booted: bool = False
    boot_seconds: float | None = None
    problem: str = ""
    hint: str | None = None
    diagnosis: Diagnosis | None = None
    console: tuple[str, ...] = ()
    serial: Path | None = None
    #: Where the console of the last start begins in `serial` (bytes), and how often it was reset.
    serial_from: int = 0
    resets: int = 0
    screenshot: Path | None = None
    system_state: str = ""
    report: CheckReport | None = None
    stopped: str = ""
    folder: Path | None = None
    ssh_command: tuple[str, ...] = ()
    argv: tuple[str, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether it booted and, if there were checks, all of them are green."""
        return self.booted and (self.report is None or self.report.ok)

    def to_json(self) -> dict[str, Any]:
        """The run as JSON-ready data; the keys are stable."""
        return {
            "disk": str(self.disk),
            "ok": self.ok,
            "booted": self.booted,
            "boot_seconds": None if self.boot_seconds is None else round(self.boot_seconds, 1),
            "accel": self.accel.value,
            "accel_reason": self.accel_reason,
            "port": self.port,
            "system_state": self.system_state,
            "problem": self.problem,
            "diagnosis": self.diagnosis.to_json() if self.diagnosis else None,
            "console": list(self.console),
            "serial": str(self.serial) if self.serial else None,
            "screenshot": str(self.screenshot) if self.screenshot else None,
            "report": self.report.to_json() if self.report else None,
            "stopped": self.stopped,
            "kept": {"pid": self.pid, "folder": str(self.folder), "ssh": list(self.ssh_command)}
            if self.folder
            else None,
            "argv": list(self.argv),
        }


def format_of(options: RunOptions) -> str:
    """qemu's name of the disk's format.  Raises `UsageError` for what cannot be booted so."""
    if not _MEMORY.fullmatch(options.memory):
        raise UsageError(f"the memory {options.memory!r} is not a number with M or G", hint="2G")
    try:
        with options.disk.open("rb") as stream:
            head = stream.read(65536)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 512))
            form = disk_format(head, stream.read())
    except OSError as error:
        raise UsageError(f"{options.disk} cannot be read: {error.strerror}") from error
    if form is None:
        raise UsageError(
            f"{options.disk} is no disk image: neither qcow2, vmdk nor vhd, and no boot sector",
            hint="unpack an archive (gce: tar -xf, ova: tar -xf) and name the disk in it; "
            "an installer ISO is not a disk",
        )
    if not options.snapshot and not os.access(options.disk, os.W_OK):
        raise UsageError(f"{options.disk} cannot be written", hint="run it with --snapshot")
    return form


def own_arch() -> Arch:
    """The architecture of this machine."""
    machine = os.uname().machine
    return Arch(machine) if machine in list(Arch) else Arch.X86_64


def choose_accel(options: RunOptions, arch: Arch) -> tuple[Accel, str]:
    """KVM or software emulation, and why.  Raises `FleetError` when KVM is asked for in vain."""
    problem = kvm_problem(arch)
    if options.accel is Accel.KVM and problem:
        raise FleetError(f"KVM cannot be used: {problem}", hint="leave --accel out")
    if options.accel is not None:
        return options.accel, "as asked for"
    return (Accel.TCG, f"no KVM: {problem}") if problem else (Accel.KVM, "")


def choose_key(options: RunOptions, folder: Path) -> tuple[Path | None, str | None]:
    """The private key's file, and the public key to hand to the guest.  Raises `UsageError`."""
    identity = options.identity.expanduser() if options.identity else None
    if identity is not None and not identity.is_file():
        raise UsageError(f"there is no key {identity}")
    if not options.inject_key:
        return identity, None
    if options.user != "root":
        raise UsageError(
            "--ssh-key is for root: systemd has no credential for other users before 256",
            hint="leave --user out, or put the user's key into the image",
        )
    if identity is None:
        private, public = make_key("bootcfleet-disk-run")
        identity = folder / "key"
        write_atomic(identity, private, mode=0o600)
        return identity, public.decode()
    try:
        return identity, Path(f"{identity}.pub").read_text()
    except OSError as error:
        raise UsageError(
            f"{identity}.pub cannot be read: {error.strerror}",
            hint=f"make it of the key: ssh-keygen -y -f {identity} > {identity}.pub",
        ) from error
