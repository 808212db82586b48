"""`bootcfleet image`: look at, render and build the images of a project."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.image_check import check
from bootcfleet.cli.image_diff import diff
from bootcfleet.cli.image_lineage import lineage
from bootcfleet.cli.image_lint import lint
from bootcfleet.cli.image_revoke import restore, revoke
from bootcfleet.cli.output import DryRunFlag, JsonFlag

app = typer.Typer(no_args_is_help=True, help="Render, plan and build the images of a project.")


class Format(StrEnum):
    """How to draw the graph; the names of `domain.graph_format.GraphFormat`."""

    TREE = "tree"
    DOT = "dot"
    MERMAID = "mermaid"
    JSON = "json"


@app.command("list")
def list_images(as_json: JsonFlag = False) -> None:
    """The images of the project: template, base or parent, and the last build."""
    from bootcfleet.cli.image_run import show_images

    show_images(as_json=as_json)


@app.command()
def graph(
    how: Annotated[Format, typer.Option("--format", "-f", help="How to draw it.")] = Format.TREE,
    as_json: JsonFlag = False,
) -> None:
    """Which image is built from which."""
    from bootcfleet.cli.image_run import show_graph

    show_graph("json" if as_json else how.value)


@app.command()
def render(
    name: Annotated[str, typer.Argument(help="The image.", show_default=False)],
    show_diff: Annotated[
        bool, typer.Option("--diff", help="Show what differs from the last good build.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the build context into this new folder."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the Containerfile of an image and the files of its build context.

    The base is the exact one of the last build, or the reference as declared.
    """
    from bootcfleet.cli.image_run import show_rendered

    show_rendered(name, show_diff=show_diff, folder=output, as_json=as_json)


@app.command()
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="The images; all of them without a name.", show_default=False),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="Images built at the same time.", min=1, max=64)
    ] = 2,
    push: Annotated[
        bool, typer.Option("--push", help="Push each image, and build its children FROM it.")
    ] = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Build images with podman: parents first, independent ones side by side.

    What the named images stand on is built too. A failure stops only what
    stands on that image. Exit code 1 when an image failed.
    """
    from bootcfleet.cli.image_run import run_build_command

    run_build_command(names or [], jobs=jobs, push=push, dry_run=dry_run, as_json=as_json)


app.command("lint")(lint)
app.command("lineage")(lineage)
app.command("check")(check)
app.command("diff")(diff)
app.command("revoke")(revoke)
app.command("restore")(restore)
