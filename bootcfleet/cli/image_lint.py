"""`bootcfleet image lint`: our own rules, and hadolint's, before anything is built."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.lint_options import FindingsFile, How, LintFormat, ListRulesFlag, StrictFlag
from bootcfleet.cli.output import JsonFlag


def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="The images; all of them without a name.", show_default=False),
    ] = None,
    how: How = LintFormat.TEXT,
    output: FindingsFile = None,
    strict: StrictFlag = False,
    list_rules: ListRulesFlag = False,
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
