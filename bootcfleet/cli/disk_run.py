"""`bootcfleet disk run`: its options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import JsonFlag


class AccelName(StrEnum):
    """What runs the machine; the names of `domain.qemuargs.Accel`."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class ArchName(StrEnum):
    """The disk's architecture; the names of `domain.qemuargs.Arch`."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


def run(
    disk: Annotated[
        str,
        typer.Argument(
            metavar="DISK",
            help="A disk image (qcow2, raw, vmdk, vhd), a folder that disk build has written, or "
            "a disk of the project.",
            show_default=False,
        ),
    ],
    checks: Annotated[
        str | None,
        typer.Option("--checks", help="Run the checks of this image.", show_default=False),
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Only boot it and wait for SSH.")
    ] = False,
    user: Annotated[str, typer.Option("--user", "-u", help="The user to log in as.")] = "root",
    identity: Annotated[
        Path | None,
        typer.Option("--identity", "-i", help="The private key to log in with."),
    ] = None,
    ssh_key: Annotated[
        bool,
        typer.Option(
            "--ssh-key",
            help="Let root in with --identity's key, or with one made for this run; the disk is "
            "not touched (systemd 252 and newer).",
        ),
    ] = False,
    ssh_port: Annotated[
        int | None,
        typer.Option(
            "--ssh-port", help="The loopback's port; a free one without it.", min=1, max=65535
        ),
    ] = None,
    snapshot: Annotated[
        bool,
        typer.Option("--snapshot/--no-snapshot", help="Throw away what the machine writes."),
    ] = True,
    memory: Annotated[str, typer.Option("--memory", "-m", help="Memory: 2G, 1536M.")] = "2G",
    cpus: Annotated[int, typer.Option("--cpus", help="Processors.", min=1, max=64)] = 2,
    uefi: Annotated[bool, typer.Option("--uefi", help="Boot by UEFI instead of BIOS.")] = False,
    arch: Annotated[
        ArchName | None,
        typer.Option("--arch", help="The disk's architecture; this machine's without it."),
    ] = None,
    accel: Annotated[
        AccelName, typer.Option("--accel", help="KVM, software emulation, or what works.")
    ] = AccelName.AUTO,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the machine running.")] = False,
    serial: Annotated[
        Path | None, typer.Option("--serial", help="Write the serial console into this file.")
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long to wait for SSH: 90s, 10m.")
    ] = "10m",
    as_json: JsonFlag = False,
) -> None:
    """Boot a disk in qemu, wait for SSH, and run the image's checks on it.

    The disk is not changed. When it does not boot, the end of its console is shown, with what it
    looks like and what helps. Exit code 3 when it does not boot or a check is not green.
    """
    from bootcfleet.cli.disk_run_run import run_disk

    run_disk(
        disk,
        checks=checks,
        no_check=no_check,
        user=user,
        identity=identity,
        inject_key=ssh_key,
        ssh_port=ssh_port,
        snapshot=snapshot,
        memory=memory,
        cpus=cpus,
        uefi=uefi,
        arch=arch.value if arch else None,
        accel=None if accel is AccelName.AUTO else accel.value,
        keep=keep,
        serial=serial,
        timeout=timeout,
        as_json=as_json,
    )
