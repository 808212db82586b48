"""The words of qemu, the choice of firmware, and what a file is."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from bootcfleet.domain.qemuargs import (
    Accel,
    Arch,
    Firmware,
    Machine,
    choose_firmware,
    disk_format,
    machine_argv,
)

PLAIN = Machine(
    "qemu", Arch.X86_64, Accel.KVM, "/d/disk.qcow2", "qcow2", 2222, "/r/serial", "/r/qmp"
)
UEFI = Firmware("/fw/CODE.fd", "raw", "/fw/VARS.qcow2", "qcow2")


@pytest.mark.parametrize(
    ("changes", "there", "not_there"),
    [
        ({}, "-machine q35,graphics=off -accel kvm -cpu host -smp 2 -m 2G", "pflash"),
        ({}, "-netdev user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22", "-smbios"),
        ({}, "if=none,id=disk0,format=qcow2,snapshot=on,file=/d/disk.qcow2", "snapshot=off"),
        ({"snapshot": False}, "format=qcow2,snapshot=off,file=", "snapshot=on"),
        ({"accel": Accel.TCG}, "-accel tcg,thread=multi -cpu max", "kvm"),
        ({"arch": Arch.AARCH64}, "-machine virt -accel", "graphics=off"),
        ({"memory": "512M", "cpus": 4}, "-smp 4 -m 512M", "2G"),
        ({"disk": "/d/a,b.raw"}, "file=/d/a,,b.raw", "/d/a,b.raw"),
        ({"serial": "/r/a,b"}, "file,id=serial0,path=/r/a,,b", "path=/r/a,b"),
        (
            {"firmware": UEFI, "variables": "/r/vars"},
            "-drive if=pflash,unit=0,format=raw,readonly=on,file=/fw/CODE.fd "
            "-drive if=pflash,unit=1,format=qcow2,readonly=off,file=/r/vars",
            "/fw/VARS",
        ),
    ],
)
def test_the_words(changes: dict[str, Any], there: str, not_there: str) -> None:
    line = " ".join(machine_argv(replace(PLAIN, **changes)))
    assert there in line
    assert not_there not in line


def test_a_key_goes_in_as_a_credential() -> None:
    argv = machine_argv(replace(PLAIN, public_key="ssh-ed25519 AAAA me\n"))
    value = argv[argv.index("-smbios") + 1]
    start = "type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root="
    assert value.startswith(start)
    assert base64.b64decode(value.removeprefix(start)) == b"ssh-ed25519 AAAA me\n"


def descriptor(name: str, *features: str, arch: str = "x86_64") -> dict[str, Any]:
    return {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": f"{name}.code", "format": "raw"},
            "nvram-template": {"filename": f"{name}.vars", "format": "raw"},
        },
        "targets": [{"architecture": arch, "machines": ["pc-q35-*", "virt-*"]}],
        "features": list(features),
    }


def test_firmware_without_secure_boot_is_chosen() -> None:
    ours = [
        {"interface-types": ["bios"], "mapping": {"device": "memory"}, "targets": []},
        {},
        descriptor("enrolled", "secure-boot", "enrolled-keys", "requires-smm"),
        descriptor("arm", arch="aarch64"),
        descriptor("plain", "acpi-s3"),
        descriptor("later"),
    ]
    assert choose_firmware(ours, Arch.X86_64) == Firmware("plain.code", "raw", "plain.vars", "raw")
    found = choose_firmware(ours, Arch.AARCH64)
    assert found is not None
    assert found.code == "arm.code"
    assert choose_firmware(ours[:3], Arch.X86_64) is None


SECTOR = bytes(510) + b"\x55\xaa"


@pytest.mark.parametrize(
    ("head", "end", "form"),
    [
        (b"QFI\xfb\0\0\0\3", b"", "qcow2"),
        (b"KDMV\1", b"", "vmdk"),
        (b"# Disk DescriptorFile\n", b"", "vmdk"),
        (b"conectix", b"conectix", "vpc"),
        (SECTOR, b"conectix\0", "vpc"),
        (b"vhdxfile", b"", "vhdx"),
        (SECTOR, bytes(512), "raw"),
        (SECTOR + bytes(0x8001 - 512) + b"CD001", bytes(512), None),
        (b"\x1f\x8b\x08", b"", None),
        (b"", b"", None),
        (bytes(65536), bytes(512), None),
    ],
)
def test_what_a_file_is(head: bytes, end: bytes, form: str | None) -> None:
    assert disk_format(head, end) == form
