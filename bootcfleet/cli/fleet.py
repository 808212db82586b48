"""`bootcfleet fleet`: look at hosts and move them forward or back."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli import fleet_enroll, fleet_lock
from bootcfleet.cli.bundle import bundled
from bootcfleet.cli.fleet_moves import reboot, rollback, switch, upgrade
from bootcfleet.cli.fleet_options import (
    Groups,
    HostNames,
    InventoryFile,
    Labels,
    Parallel,
    Selection,
)
from bootcfleet.cli.fleet_truth import drift, facts, preflight
from bootcfleet.cli.output import JsonFlag
from bootcfleet.errors import ExitCode

app = typer.Typer(no_args_is_help=True, help="Look at hosts and move them forward or back.")
app.command()(preflight)
app.command()(facts)
app.command()(drift)


@app.command()
def status(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    parallel: Parallel = 50,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            "-w",
            help="Again every SECONDS, and when a host changes.",
            min=0.5,
            metavar="SECONDS",
        ),
    ] = None,
    no_registry: Annotated[
        bool, typer.Option("--no-registry", help="Do not ask the registry; drift is unknown.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Every host: booted, staged and rollback image, drift, last boot.

    Exit code 1 when a host could not be asked.
    """
    from bootcfleet.cli.fleet_status_run import show_status

    selection = Selection(inventory, labels, groups, hosts)
    code = show_status(
        selection, parallel=parallel, watch=watch, registry=not no_registry, as_json=as_json
    )
    raise typer.Exit(code)


app.command()(bundled(upgrade))
app.command()(bundled(switch))
app.command()(bundled(rollback))
app.command()(bundled(reboot))


@app.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def execute(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    hosts: Annotated[
        list[str] | None, typer.Option("--host", "-H", help="Host name or glob; repeatable.")
    ] = None,
    parallel: Parallel = 50,
    timeout: Annotated[float, typer.Option(help="Seconds per host.", min=0.1)] = 60,
    as_root: Annotated[bool, typer.Option("--sudo", "-b", help="Run it as root.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a command on hosts: `fleet exec -l role=web -- systemctl is-active nginx`.

    The words reach the host as they are, quoted; for pipes say `sh -c '...'`.
    Exit code 1 when it failed on a host.
    """
    from bootcfleet.cli.fleet_run import run_command

    selection = Selection(inventory, labels, groups, hosts)
    good = run_command(
        selection, command, as_root=as_root, timeout=timeout, parallel=parallel, as_json=as_json
    )
    raise typer.Exit(ExitCode.DONE if good else ExitCode.FAILED)


@app.command("list")
def list_hosts(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    as_json: JsonFlag = False,
) -> None:
    """The selected hosts of the inventory, without asking them anything."""
    from bootcfleet.cli.fleet_run import show_hosts

    show_hosts(Selection(inventory, labels, groups, hosts), as_json=as_json)


fleet_lock.register(app)
fleet_enroll.register(app)
