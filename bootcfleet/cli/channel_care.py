"""`bootcfleet channel prune`, `watch` and `import`: what keeps channels going by themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag

ImageNames = Annotated[
    list[str] | None,
    typer.Argument(help="The images; all of them without a name.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``bootcfleet channel``."""
    app.command("prune")(prune)


def prune(
    images: ImageNames = None,
    keep: Annotated[
        int, typer.Option(help="Revisions of each channel, and of each image's builds.", min=1)
    ] = 3,
    younger_than: Annotated[
        str, typer.Option(help="What is younger stays: 60m, 24h, 7d.", show_default=True)
    ] = "60m",
    inventory: InventoryFile = None,
    ignore_hosts: Annotated[
        bool,
        typer.Option("--ignore-hosts", help="Delete also what a host may need to roll back to."),
    ] = False,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete from the registry what no channel, child, lock or host needs.

    Every manifest is listed with the reason why it goes or stays. Nothing is deleted unless
    every host of the inventory has said what it has.
    """
    from bootcfleet.cli.prune_run import run_prune

    run_prune(
        images or [],
        keep=keep,
        younger_than=younger_than,
        inventory=inventory,
        ignore_hosts=ignore_hosts,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
