"""`bootcfleet fleet locks` and `unlock`: which rollout has locked which host."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import (
    Groups,
    HostNames,
    InventoryFile,
    Labels,
    Parallel,
    Selection,
)
from bootcfleet.cli.output import JsonFlag, YesFlag


def register(app: typer.Typer) -> None:
    """Add the commands to ``bootcfleet fleet``."""
    app.command("locks")(locks)
    app.command("unlock")(unlock)


def locks(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    parallel: Parallel = 50,
    as_json: JsonFlag = False,
) -> None:
    """Which hosts are locked, by whose rollout, since when and until when.

    Exit code 1 when a host could not be asked.
    """
    from bootcfleet.cli.fleet_lock_run import show_locks

    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(show_locks(selection, parallel=parallel, as_json=as_json))


def unlock(
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Host names or globs.", show_default=False)
    ] = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Break locks that have not expired, too.")
    ] = False,
    parallel: Parallel = 50,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Break the locks that rollouts left on hosts: stale ones, or any with --force.

    A rollout that still runs goes on without its lock: look for it first (`fleet locks`,
    `rollout list`). Exit code 1 when a lock stays.
    """
    from bootcfleet.cli.fleet_lock_run import break_locks

    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(
        break_locks(selection, force=force, parallel=parallel, yes=yes, as_json=as_json)
    )
