"""`bootcfleet disk lint` and `disk config`: what a builder would say, and what it is given."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bootcfleet.cli.lint_options import FindingsFile, How, LintFormat, ListRulesFlag, StrictFlag
from bootcfleet.cli.output import JsonFlag


class ConfigFormat(StrEnum):
    """How to write a blueprint."""

    TOML = "toml"
    JSON = "json"


def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="The disks; all of them without a name.", show_default=False),
    ] = None,
    how: How = LintFormat.TEXT,
    output: FindingsFile = None,
    strict: StrictFlag = False,
    list_rules: ListRulesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Check the configuration of disks and installers, per type and backend.

    Nothing is started and nobody is asked: what the builder would refuse after minutes, ignore
    without a word, or do to one's surprise is said at once. Exit code 3 when there is an error.
    """
    from bootcfleet.cli.disk_lint_run import run_disk_lint, show_disk_rules

    if list_rules:
        show_disk_rules(as_json=as_json or how is LintFormat.JSON)
        return
    run_disk_lint(names or [], how="json" if as_json else how.value, file=output, strict=strict)


def config(
    name: Annotated[str, typer.Argument(help="The disk.", show_default=False)],
    how: Annotated[
        ConfigFormat, typer.Option("--format", "-f", help="How to write it.")
    ] = ConfigFormat.TOML,
    as_json: JsonFlag = False,
) -> None:
    """Print the configuration that the builder is given for a disk.

    It is a blueprint, from `config` of the project or from the file that `config_file` names.
    """
    from bootcfleet.cli.disk_lint_run import show_config

    show_config(name, as_json=as_json or how is ConfigFormat.JSON)
