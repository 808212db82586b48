"""`bootcfleet kickstart iso`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.output import DryRunFlag, JsonFlag


def iso(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE",
            help="An install of the project, a template, or a kickstart file.",
            show_default=False,
        ),
    ] = None,
    iso: Annotated[
        Path | None,
        typer.Option(
            help="The installer's boot or DVD ISO; it is not changed.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The ISO to write; it must not exist.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="The host of the inventory that it is for.", show_default=False),
    ] = None,
    append: Annotated[
        list[str] | None,
        typer.Option(
            help="More kernel arguments for every menu entry: 'inst.text …'; repeatable.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="What writes the ISO: auto, mkksiso or xorriso.")
    ] = "auto",
    inspect: Annotated[
        Path | None,
        typer.Option(
            metavar="ISO",
            help="Only show the label, menus and kickstart of this ISO.",
            show_default=False,
        ),
    ] = None,
    inventory: InventoryFile = None,
    release: Annotated[
        str | None,
        typer.Option(help="Release of the medium, for a template.", show_default=False),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="Image to install instead of the install's.", show_default=False),
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--var", help="NAME=VALUE of a template's variable; repeatable.", show_default=False
        ),
    ] = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Put a kickstart into an installer ISO, so that it installs by itself.

    BIOS and UEFI menus name the kickstart, the medium boots as before, and its checksum is
    made anew. An ISO with secrets is for its owner alone.
    """
    from bootcfleet.cli.kickstart_iso_run import IsoOptions, run_inspect, run_kickstart_iso

    if inspect is not None:
        run_inspect(inspect, alone=not (name or iso or output), as_json=as_json)
        return
    run_kickstart_iso(
        IsoOptions(
            name=name,
            iso=iso,
            output=output,
            host=host,
            append=tuple(append or ()),
            backend=backend,
            inventory=inventory,
            release=release,
            image=image,
            variables=tuple(variables or ()),
        ),
        dry_run=dry_run,
        as_json=as_json,
    )
