"""`bootcfleet kickstart lint`: pykickstart's parser and our own rules."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.lint_options import FindingsFile, How, LintFormat, ListRulesFlag, StrictFlag
from bootcfleet.cli.output import JsonFlag


def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Installs, templates or files; every install without a name.", show_default=False
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", help="For this host alone.", show_default=False),
    ] = None,
    inventory: InventoryFile = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--release", help="Release of the medium: rhel9, fedora43.", show_default=False
        ),
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option(
            "--var", help="NAME=VALUE of a template's variable; repeatable.", show_default=False
        ),
    ] = None,
    how: How = LintFormat.TEXT,
    output: FindingsFile = None,
    strict: StrictFlag = False,
    list_rules: ListRulesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Check kickstarts against Anaconda's parser and the rules of images.

    Nothing is fetched, and no secret is read. Exit code 3 when there is an error.
    """
    from bootcfleet.cli.kickstart_lint_run import run_kickstart_lint, show_kickstart_rules

    if list_rules:
        show_kickstart_rules(as_json=as_json or how is LintFormat.JSON)
        return
    run_kickstart_lint(
        names or [],
        host=host,
        inventory=inventory,
        release=release,
        variables=variables or [],
        how="json" if as_json else how.value,
        file=output,
        strict=strict,
    )
