"""The command line of qemu for booting a disk image once.

Facts: qemu's manual (qemu-system(1)), docs/interop/firmware.json, and systemd.system-credentials(7)
for the SMBIOS strings.
"""

from __future__ import annotations

import base64
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Accel(StrEnum):
    """What runs the guest's instructions: the processor, or software emulation."""

    KVM = "kvm"
    TCG = "tcg"


class Arch(StrEnum):
    """The architecture of the disk's system."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


#: Where a machine type differs by architecture: the type, and whether it can only boot by UEFI.
_MACHINE = {Arch.X86_64: "q35", Arch.AARCH64: "virt"}


@dataclass(frozen=True)
class Firmware:
    """UEFI in two files: its code, and an empty store of variables to be copied."""

    code: str
    code_format: str
    variables: str
    variables_format: str


@dataclass(frozen=True)
class Machine:
    """A virtual machine that boots one disk.

    `memory` is as qemu takes it (``2G``). `variables` is this machine's own copy of the
    firmware's store. `public_key` is given to root through systemd's credentials. Nothing
    secret may be in it: the words are seen by everybody on the machine (`ps`).
    """

    program: str
    arch: Arch
    accel: Accel
    disk: str
    disk_format: str
    ssh_port: int
    serial: str
    monitor: str
    memory: str = "2G"
    cpus: int = 2
    snapshot: bool = True
    firmware: Firmware | None = None
    variables: str | None = None
    public_key: str | None = None


def machine_argv(machine: Machine) -> tuple[str, ...]:
    """The words that start `machine`.

    The serial console goes to a file, the control socket (QMP) is a file, and the guest's port 22
    is on this machine's loopback only. ``graphics=off`` sends the BIOS's and GRUB's own words to
    the serial console as well; the screen stays, for pictures.
    """
    options = ",graphics=off" if machine.arch is Arch.X86_64 else ""
    words = [
        machine.program,
        "-nodefaults",
        "-no-user-config",
        "-machine",
        f"{_MACHINE[machine.arch]}{options}",
        "-accel",
        "kvm" if machine.accel is Accel.KVM else "tcg,thread=multi",
        "-cpu",
        "host" if machine.accel is Accel.KVM else "max",
        "-smp",
        str(machine.cpus),
        "-m",
        machine.memory,
        "-display",
        "none",
        "-device",
        "VGA" if machine.arch is Arch.X86_64 else "virtio-gpu-pci",
        "-chardev",
        f"file,id=serial0,path={_value(machine.serial)}",
        "-serial",
        "chardev:serial0",
        "-qmp",
        f"unix:{_value(machine.monitor)},server=on,wait=off",
    ]
    if machine.firmware is not None and machine.variables is not None:
        for unit, (file, form, readonly) in enumerate(
            (
                (machine.firmware.code, machine.firmware.code_format, "on"),
                (machine.variables, machine.firmware.variables_format, "off"),
            )
        ):
            drive = f"if=pflash,unit={unit},format={form},readonly={readonly}"
            words += ["-drive", f"{drive},file={_value(file)}"]
    snapshot = "on" if machine.snapshot else "off"
    words += [
        "-drive",
        f"if=none,id=disk0,format={machine.disk_format},snapshot={snapshot},"
        f"file={_value(machine.disk)}",
        "-device",
        "virtio-blk-pci,drive=disk0,bootindex=0",
        "-netdev",
        f"user,id=net0,hostfwd=tcp:127.0.0.1:{machine.ssh_port}-:22",
        # Without its ROM: a disk that does not boot must not go on to the network.
        "-device",
        "virtio-net-pci,netdev=net0,romfile=",
        "-device",
        "virtio-rng-pci",
    ]
    if machine.public_key is not None:
        words += ["-smbios", f"type=11,value={_value(credential(machine.public_key))}"]
    return tuple(words)


def credential(public_key: str) -> str:
    """The SMBIOS string by which systemd (252 and newer) lets root in with a key."""
    encoded = base64.b64encode(public_key.strip().encode() + b"\n").decode()
    return f"io.systemd.credential.binary:ssh.authorized_keys.root={encoded}"


def _value(text: str) -> str:
    """A value within an option: a comma is written twice."""
    return text.replace(",", ",,")


def choose_firmware(descriptors: Iterable[Mapping[str, Any]], arch: Arch) -> Firmware | None:
    """The first UEFI for `arch` that needs nothing special and enforces no Secure Boot.

    `descriptors` are the files of ``/usr/share/qemu/firmware`` in the order of their names, which
    is the distribution's order of preference. What is not understood is passed over.
    """
    for one in descriptors:
        try:
            mapping, features = one["mapping"], set(one.get("features", ()))
            if "uefi" not in one["interface-types"] or mapping["device"] != "flash":
                continue
            if features & {"requires-smm", "enrolled-keys"} or not _fits(one["targets"], arch):
                continue
            code, store = mapping["executable"], mapping["nvram-template"]
            return Firmware(code["filename"], code["format"], store["filename"], store["format"])
        except (KeyError, TypeError):
            continue
    return None


def _fits(targets: Iterable[Mapping[str, Any]], arch: Arch) -> bool:
    # The machines are patterns of full names, like pc-q35-*.
    name = "pc-q35-7.2" if arch is Arch.X86_64 else "virt-7.2"
    return any(
        target["architecture"] == arch.value
        and any(fnmatch.fnmatchcase(name, pattern) for pattern in target["machines"])
        for target in targets
    )


def disk_format(head: bytes, tail: bytes) -> str | None:
    """qemu's name of a disk image's format by its first 64 KiB and last 512 bytes.

    None for what is no disk image that qemu boots: an archive, an ISO, a text.
    """
    if head.startswith(b"QFI\xfb"):
        return "qcow2"
    if head.startswith((b"KDMV", b"COWD", b"# Disk DescriptorFile")):
        return "vmdk"
    if head.startswith(b"vhdxfile"):
        return "vhdx"
    if head.startswith(b"conectix") or tail.startswith(b"conectix"):
        return "vpc"
    # An ISO that also boots from a stick has a boot sector, too.
    if head[0x8001:0x8006] == b"CD001":
        return None
    return "raw" if head[510:512] == b"\x55\xaa" else None
