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
from bootcfleet.cli.image_sbom import sbom
from bootcfleet.cli.image_sign import keygen, policy, sign, verify
from bootcfleet.cli.output import DryRunFlag, JsonFlag

app = typer.Typer(no_args_is_help=True, help="Render, plan and build the images of a project.")


Names = Annotated[
    list[str] | None,
    typer.Argument(help="The images; all of them without a name.", show_default=False),
]
PushFlag = Annotated[
    bool, typer.Option("--push", help="Push each image, and build its children FROM it.")
]
LockedFlag = Annotated[
    bool, typer.Option("--locked", help="Refuse a base that bootcfleet.lock does not pin.")
]


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
def plan(
    names: Names = None,
    push: PushFlag = False,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Ask the registry whether a base moved.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no registry: what is known here alone.")
    ] = False,
    locked: LockedFlag = False,
    detailed: Annotated[
        bool,
        typer.Option("--detailed-exitcode", help="Exit code 2 when there is something to build."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """What a build would do, image by image, and why.

    The registry is asked only for what was not built here; podman is never started.
    """
    from bootcfleet.cli.image_build_run import show_plan_command

    code = show_plan_command(
        names or [],
        push=push,
        upstream=upstream,
        offline=offline,
        locked=locked,
        detailed=detailed,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command()
def build(
    names: Names = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="Images built at the same time.", min=1, max=64)
    ] = 2,
    push: PushFlag = False,
    locked: LockedFlag = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Take no layer from podman's cache.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check each new image; children wait until it is green."),
    ] = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Build images with podman: parents first, independent ones side by side.

    What the named images stand on is built too; what is unchanged is skipped. A
    failure stops only what stands on that image. Exit code 1 when an image failed.
    """
    from bootcfleet.cli.image_build_run import BuildOptions, run_build_command

    run_build_command(
        BuildOptions(names or [], jobs, push, locked, no_cache, check, dry_run, as_json)
    )


app.command("lint")(lint)
app.command("lineage")(lineage)
app.command("check")(check)
app.command("diff")(diff)
app.command("revoke")(revoke)
app.command("restore")(restore)
app.command("sign")(sign)
app.command("verify")(verify)
app.command("keygen")(keygen)
app.command("policy")(policy)
app.command("sbom")(sbom)
