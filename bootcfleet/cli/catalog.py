"""`bootcfleet catalog`: the images of a project as a page for people."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.output import JsonFlag


class CatalogFormat(StrEnum):
    """What the catalogue is written as."""

    MARKDOWN = "markdown"
    HTML = "html"


def catalog(
    how: Annotated[
        CatalogFormat, typer.Option("--format", "-f", help="Markdown, or one HTML page.")
    ] = CatalogFormat.MARKDOWN,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it into this file.")
    ] = None,
    inventory: InventoryFile = None,
    no_hosts: Annotated[bool, typer.Option("--no-hosts", help="Do not ask the hosts.")] = False,
    no_packages: Annotated[
        bool, typer.Option("--no-packages", help="Do not look into the images.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """A catalogue of the images: graph, builds, evidence, packages, channels, hosts."""
    from bootcfleet.cli.catalog_run import run_catalog

    run_catalog(
        how.value,
        file,
        inventory,
        hosts=not no_hosts,
        packages=not no_packages,
        as_json=as_json,
    )
