"""`bootcfleet lock`: pin the bases of a project, and prove that the pins hold."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.output import DryRunFlag, JsonFlag

app = typer.Typer(
    no_args_is_help=True, help="Pin the bases of a project by digest, and prove that they hold."
)


@app.command()
def update(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="The images whose bases are moved; all without a name.",
            show_default=False,
        ),
    ] = None,
    dry_run: DryRunFlag = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print what moved for a merge request.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask the registries what each base is now, and write bootcfleet.lock.

    An image that stands on another of the project moves that one's base. A base that cannot be
    resolved keeps its pin, the others move, and the exit code is 1.
    """
    from bootcfleet.cli.lock_run import run_update

    run_update(names or [], dry_run=dry_run, markdown=markdown, as_json=as_json)


@app.command()
def verify(as_json: JsonFlag = False) -> None:
    """Prove that every base is pinned and every pin still there, for each platform.

    Exit code 3 when something is not green, with what to do about it.
    """
    from bootcfleet.cli.lock_run import run_verify

    run_verify(as_json=as_json)
