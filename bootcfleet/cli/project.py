"""`bootcfleet init` and `bootcfleet schema`."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import JsonFlag, Output


class SchemaKind(StrEnum):
    """The files that have a schema."""

    PROJECT = "project"
    INVENTORY = "inventory"
    CHECKS = "checks"


def init(
    directory: Annotated[
        Path, typer.Argument(help="The project's directory; its name is the name.")
    ],
    registry: Annotated[
        str | None,
        typer.Option(help="Where images go: REGISTRY/PATH. Default: localhost:5000/NAME."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The bootc base image that the SOE is built on.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The project's name, where it is not its directory's.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there, and say which.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a new project that builds as it is.

    bootcfleet.yaml, inventory.yaml, the shipped templates to change, .gitignore, and schemas for
    editors.  It refuses to overwrite, and leaves other files alone.
    """
    from bootcfleet.ops.init import DEFAULT_BASE, init_project

    output = Output(as_json=as_json)
    target = directory.absolute()
    written = init_project(
        target,
        registry=f"localhost:5000/{name or target.name}" if registry is None else registry,
        base=DEFAULT_BASE if base is None else base,
        force=force,
        name=name,
    )
    if as_json:
        output.json(
            {
                "directory": str(written.directory),
                "files": list(written.files),
                "replaced": list(written.replaced),
                "extended": list(written.extended),
                "unchanged": list(written.unchanged),
            }
        )
        return
    for path in written.replaced:
        output.line(f"replaced {path}")
    for path in written.extended:
        output.line(f"added to {path}")
    same = f" ({len(written.unchanged)} were there already)" if written.unchanged else ""
    output.line(f"wrote {len(written.files)} files to {directory}{same}")
    output.line()
    output.line("next:")
    if target != Path.cwd():
        output.line(f"  cd {shlex.quote(str(directory))}")
    output.line("  bootcfleet image list                    # what it builds")
    output.line("  bootcfleet image render soe              # one image, rendered")
    output.line("  bootcfleet image plan                    # what has to be built, and why")


def schema(
    which: Annotated[SchemaKind, typer.Argument(help="Which file's.")] = SchemaKind.PROJECT,
    as_json: JsonFlag = False,  # noqa: ARG001 - the answer is JSON in any case
) -> None:
    """Print the JSON Schema of bootcfleet.yaml, inventory.yaml or checks.yaml, for editors."""
    from bootcfleet.ops import init as ops

    Output(as_json=True).json(ops.schema(which))
