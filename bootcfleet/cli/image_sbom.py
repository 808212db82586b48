"""`bootcfleet image sbom`: what an image is made of, as an SPDX document."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import DryRunFlag, JsonFlag


class SbomFormat(StrEnum):
    """How to write it."""

    SPDX_JSON = "spdx-json"


class Tool(StrEnum):
    """What makes it; the names of `ops.sbom.SbomTool`."""

    AUTO = "auto"
    SYFT = "syft"
    BUILTIN = "builtin"


def sbom(
    name: Annotated[
        str,
        typer.Argument(
            help="NAME (its last build), NAME:CHANNEL, NAME@DIGEST, or a full reference.",
            show_default=False,
        ),
    ],
    how: Annotated[  # noqa: ARG001 - there is one form so far
        SbomFormat, typer.Option("--format", "-f", help="How to write it.")
    ] = SbomFormat.SPDX_JSON,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write it into this file.", show_default=False),
    ] = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="Attach it to the image's digest in the registry.")
    ] = False,
    tool: Annotated[
        Tool, typer.Option(help="What makes it; auto is syft where it is installed.")
    ] = Tool.AUTO,
    platform: Annotated[
        str, typer.Option(help="Which image of an index; --attach does all of them.")
    ] = "linux/amd64",
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Print an image's software bill of materials (SPDX 2.3), or attach it to the image.

    The builtin maker lists the RPM packages, and gives the same bytes for the same
    image; syft finds more, and stamps each document with its own time.
    """
    from bootcfleet.cli.image_sbom_run import run_attach, run_sbom

    if attach:
        run_attach(name, output, tool.value, platform, dry_run=dry_run, as_json=as_json)
    else:
        run_sbom(name, output, tool.value, platform, as_json=as_json)
