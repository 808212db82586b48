"""The options of `disk build`, `disk backends`, `disk list` and `disk verify`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag


class BackendName(StrEnum):
    """What makes disks; the names of `domain.disktype.Backend`."""

    BOOTC_IMAGE_BUILDER = "bootc-image-builder"
    IMAGE_BUILDER = "image-builder"
    BOOTC_INSTALL = "bootc-install"


def build(
    what: Annotated[
        str,
        typer.Argument(
            metavar="DISK|IMAGE",
            help="A disk of the project, an image of it (NAME, NAME:CHANNEL), or a reference.",
            show_default=False,
        ),
    ],
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            "-t",
            help="qcow2, ami, raw, anaconda-iso and so on; repeatable.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        BackendName | None,
        typer.Option("--backend", help="What makes it.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The folder of the result; disks/NAME without it.",
            show_default=False,
        ),
    ] = None,
    builder: Annotated[
        str | None,
        typer.Option("--builder", help="The builder's image.", show_default=False),
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Run the installed image-builder, no container.")
    ] = False,
    rootfs: Annotated[
        str | None,
        typer.Option("--rootfs", help="ext4, xfs or btrfs.", show_default=False),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="The disk's size, as '20 GiB'.", show_default=False),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option("--platform", help="As linux/arm64.", show_default=False),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="The channel whose image it is.", show_default=False),
    ] = None,
    installer: Annotated[
        str | None,
        typer.Option(
            "--installer", help="For bootc-installer: the image with Anaconda.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A config.toml or config.json.", show_default=False),
    ] = None,
    target_imgref: Annotated[
        str | None,
        typer.Option(
            "--target-imgref",
            help="bootc-install: where the machine upgrades from.",
            show_default=False,
        ),
    ] = None,
    ami_name: Annotated[
        str | None,
        typer.Option("--aws-ami-name", help="Upload it as this AMI.", show_default=False),
    ] = None,
    ami_bucket: Annotated[
        str | None, typer.Option("--aws-bucket", help="The S3 bucket for it.", show_default=False)
    ] = None,
    ami_region: Annotated[
        str | None, typer.Option("--aws-region", help="The region of it.", show_default=False)
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file", help="A file with AWS_ACCESS_KEY_ID=… and so on.", show_default=False
        ),
    ] = None,
    pull: Annotated[
        bool, typer.Option("--pull", help="Pull the image and the builder as root first.")
    ] = False,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Copy the image from your own storage to root's.")
    ] = False,
    wipe_disks: Annotated[
        bool,
        typer.Option("--wipe-disks", help="An installer may clear all disks without a question."),
    ] = False,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make disks and installers of an image.

    Everything that is known to fail later is looked at first, all at once. A file has its name
    only when it is whole; artifacts.json says what it is. Exit code 3 when something is in the way.
    """
    from bootcfleet.cli.disk_build_run import BuildDisk, run_disk_build
    from bootcfleet.domain.disktype import Backend, DiskType
    from bootcfleet.ops.diskrequest import DiskOptions

    options = DiskOptions(
        types=[DiskType.parse(one) for one in types or []],
        backend=Backend(backend.value) if backend else None,
        builder=builder,
        native=native,
        rootfs=rootfs,
        size=size,
        platform=platform,
        channel=channel,
        installer=installer,
        config=config,
        env_file=env_file,
        target_imgref=target_imgref,
        ami_name=ami_name,
        ami_bucket=ami_bucket,
        ami_region=ami_region,
    )
    run_disk_build(
        BuildDisk(what, options, output, pull, transfer, wipe_disks, dry_run, yes, as_json)
    )


def backends(as_json: JsonFlag = False) -> None:
    """What can make disks on this machine, and what is in the way of the rest."""
    from bootcfleet.cli.disk_list_run import show_backends

    show_backends(as_json=as_json)


def list_disks(
    name: Annotated[str | None, typer.Argument(help="Only this disk.", show_default=False)] = None,
    as_json: JsonFlag = False,
) -> None:
    """The disks that were built: what, of which image, when, and whether they are there."""
    from bootcfleet.cli.disk_list_run import show_disks

    show_disks(name, as_json=as_json)


def verify(
    place: Annotated[
        Path,
        typer.Argument(help="The folder of a build, or a file in it.", show_default=False),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Compute the sha256 of a build's files anew. Exit code 3 when one is not what was built."""
    from bootcfleet.cli.disk_list_run import run_verify

    run_verify(place, as_json=as_json)
