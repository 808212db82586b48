"""`bootcfleet image lint`: our own rules, and hadolint's, before anything is built."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import JsonFlag


class LintFormat(StrEnum):
    """How to print findings."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="The images; all of them without a name.", show_default=False),
    ] = None,
    how: Annotated[
        LintFormat, typer.Option("--format", "-f", help="How to print the findings.")
    ] = LintFormat.TEXT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the findings into this file.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    list_rules: Annotated[
        bool, typer.Option("--list-rules", help="Print every rule, with reason and remedy.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check rendered Containerfiles and their files against the rules of bootc images.

    Nothing is built, and podman is not needed. Where hadolint is installed its
    findings are shown too. Exit code 3 when there is an error.
    """
    from bootcfleet.cli.image_lint_run import run_lint, show_rules

    if list_rules:
        show_rules(as_json=as_json or how is LintFormat.JSON)
        return
    run_lint(names or [], how="json" if as_json else how.value, file=output, strict=strict)
