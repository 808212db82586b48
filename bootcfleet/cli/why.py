"""`bootcfleet why`: the chain of custody of a host or an image."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.image_lineage import NoRegistry
from bootcfleet.cli.output import JsonFlag


def why(
    target: Annotated[
        str,
        typer.Argument(
            metavar="HOST|IMAGE",
            help="A host of the inventory; or an image: digest, reference, web or web:prod.",
            show_default=False,
        ),
    ],
    inventory: InventoryFile = None,
    no_registry: NoRegistry = False,
    as_json: JsonFlag = False,
) -> None:
    """Why a host runs what it runs, back to the base from outside.

    The booted digest, who moved the host there, the channel's entry, the build with its
    commit and evidence, and every image below it.
    """
    from bootcfleet.cli.lineage_run import show_why

    show_why(target, inventory, registry=not no_registry, as_json=as_json)
