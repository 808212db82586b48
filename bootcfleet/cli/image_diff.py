"""`bootcfleet image diff`: what differs between two images, and what that costs a host."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.output import JsonFlag


class DiffFormat(StrEnum):
    """How to write the difference."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


_NAME = "NAME (its last build), NAME:CHANNEL, NAME@DIGEST, a digest, or a full reference."


def diff(
    a: Annotated[str, typer.Argument(help=f"The old image: {_NAME}", show_default=False)],
    b: Annotated[str, typer.Argument(help="The new image, named alike.", show_default=False)],
    how: Annotated[
        DiffFormat, typer.Option("--format", "-f", help="How to write it.")
    ] = DiffFormat.TEXT,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="Ask the hosts, and count what all of them download.")
    ] = False,
    inventory: InventoryFile = None,
    platform: Annotated[
        str, typer.Option(help="The platform that is compared, where an image has several.")
    ] = "linux/amd64",
    size_only: Annotated[
        bool, typer.Option("--size-only", help="Only what is downloaded; reads manifests alone.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every line, also files of packages that changed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what differs from image A to image B: packages, files, units, users, ports, labels.

    Says exactly how many bytes a host on A downloads to get B.
    """
    from bootcfleet.cli.image_diff_run import Wish, run_diff

    chosen = DiffFormat.JSON if as_json else how
    run_diff(a, b, chosen.value, Wish(platform, size_only, everything, fleet, inventory))
