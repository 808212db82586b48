"""`bootcfleet kickstart`: from an image to machines that are installed with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.kickstart_iso import iso
from bootcfleet.cli.kickstart_lint import lint
from bootcfleet.cli.kickstart_serve import again, hosts, serve
from bootcfleet.cli.output import JsonFlag

app = typer.Typer(no_args_is_help=True, help="Install machines: kickstarts rendered and checked.")

ReleaseOption = Annotated[
    str | None,
    typer.Option(
        "--release",
        help="Release of the installation medium: rhel9, rhel10, centos-stream10, fedora43.",
        show_default=False,
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option("--image", help="Image to install instead of the install's.", show_default=False),
]
VarOption = Annotated[
    list[str] | None,
    typer.Option(
        "--var", help="NAME=VALUE of a template's variable; repeatable.", show_default=False
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option("--host", help="The host of the inventory that it is for.", show_default=False),
]


@app.command("list")
def list_kickstarts(inventory: InventoryFile = None, as_json: JsonFlag = False) -> None:
    """The installs of the project with their hosts, and the templates."""
    from bootcfleet.cli.kickstart_run import show_kickstarts

    show_kickstarts(inventory, as_json=as_json)


@app.command()
def render(
    name: Annotated[
        str, typer.Argument(help="An install of the project, or a template.", show_default=False)
    ],
    host: HostOption = None,
    inventory: InventoryFile = None,
    release: ReleaseOption = None,
    image: ImageOption = None,
    variables: VarOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write it into this file, with its secrets and for its owner alone; - prints it.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the kickstart of an install for a host.

    Secrets are left out of what is printed; --output has them.
    """
    from bootcfleet.cli.kickstart_run import render_kickstart

    render_kickstart(
        name,
        host=host,
        inventory=inventory,
        release=release,
        image=image,
        variables=variables or [],
        file=output,
        as_json=as_json,
    )


app.command("lint")(lint)
app.command("serve")(serve)
app.command("hosts")(hosts)
app.command("again")(again)
app.command("iso")(iso)
