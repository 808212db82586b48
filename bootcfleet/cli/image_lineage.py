"""`bootcfleet image lineage`: what an image was built from, and what was built from it."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.output import JsonFlag

ImageWord = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="A digest (or its beginning), a reference, or an image of the project: web, web:prod.",
        show_default=False,
    ),
]
NoRegistry = Annotated[
    bool, typer.Option("--no-registry", help="Ask no registry: the ledger alone.")
]


def lineage(
    image: ImageWord,
    up: Annotated[bool, typer.Option("--up", help="Only what it was built from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what was built from it.")] = False,
    no_registry: NoRegistry = False,
    as_json: JsonFlag = False,
) -> None:
    """What an image was built from, and what was built from it, by digest.

    From the ledger; of an image that the ledger did not build, from its labels, compared
    with the layers.
    """
    from bootcfleet.cli.lineage_run import show_lineage

    show_lineage(image, up=up, down=down, registry=not no_registry, as_json=as_json)
