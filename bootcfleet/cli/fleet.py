"""`bootcfleet fleet`: look at hosts and move them forward or back."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli import fleet_enroll, fleet_lock
from bootcfleet.cli.fleet_options import (
    Accept,
    Bake,
    Batch,
    BootTimeout,
    Canary,
    ExecutorAt,
    Groups,
    HostNames,
    IgnoreWindows,
    InventoryFile,
    Labels,
    MaxFailures,
    MaxUnavailable,
    MetricsFile,
    MetricsListen,
    NoRevert,
    Offline,
    OnFailure,
    OnHalt,
    Pace,
    Parallel,
    PolicyName,
    Retries,
    Running,
    Selection,
    SoftReboot,
    Success,
)
from bootcfleet.cli.fleet_truth import drift, facts, preflight
from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag
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


@app.command()
def upgrade(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    policy: PolicyName = None,
    canary: Canary = None,
    batch: Batch = None,
    success: Success = None,
    bake: Bake = None,
    max_failures: MaxFailures = None,
    max_unavailable: MaxUnavailable = None,
    offline: Offline = None,
    retries: Retries = None,
    boot_timeout: BootTimeout = None,
    on_failure: OnFailure = None,
    no_revert: NoRevert = False,
    on_halt: OnHalt = None,
    soft_reboot: SoftReboot = None,
    ignore_windows: IgnoreWindows = False,
    parallel: Parallel = 50,
    executor: ExecutorAt = None,
    accept: Accept = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Move hosts to what the tag that they follow is now.

    Stage, compare the staged digest with the planned one, reboot, compare the
    booted digest, run the health checks; the canary first, then in batches.
    A host whose checks fail goes back to the deployment it came from.
    """
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    pace = Pace(
        policy=policy,
        canary=canary,
        batch=batch,
        success=success,
        bake=bake,
        max_failures=max_failures,
        max_unavailable=max_unavailable,
        offline=offline,
        retries=retries,
        boot_timeout=boot_timeout,
        on_failure="leave" if no_revert else on_failure,
        on_halt=on_halt,
        soft_reboot=soft_reboot,
        windows=not ignore_windows,
    )
    running = Running(
        parallel,
        metrics_file,
        metrics_listen,
        executor,
        tuple(accept or ()),
        dry_run,
        yes,
        as_json,
    )
    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(move(Move(Operation.UPGRADE), selection, pace, running))


@app.command()
def switch(
    image: Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY:TAG, or @DIGEST to pin it.")],
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    policy: PolicyName = None,
    canary: Canary = None,
    batch: Batch = None,
    success: Success = None,
    bake: Bake = None,
    max_failures: MaxFailures = None,
    max_unavailable: MaxUnavailable = None,
    offline: Offline = None,
    retries: Retries = None,
    boot_timeout: BootTimeout = None,
    on_failure: OnFailure = None,
    no_revert: NoRevert = False,
    on_halt: OnHalt = None,
    soft_reboot: SoftReboot = None,
    ignore_windows: IgnoreWindows = False,
    parallel: Parallel = 50,
    executor: ExecutorAt = None,
    accept: Accept = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Move hosts to another image, by the same steps as an upgrade.

    A tag keeps them following it; a digest pins them until the next switch.
    """
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    pace = Pace(
        policy=policy,
        canary=canary,
        batch=batch,
        success=success,
        bake=bake,
        max_failures=max_failures,
        max_unavailable=max_unavailable,
        offline=offline,
        retries=retries,
        boot_timeout=boot_timeout,
        on_failure="leave" if no_revert else on_failure,
        on_halt=on_halt,
        soft_reboot=soft_reboot,
        windows=not ignore_windows,
    )
    running = Running(
        parallel,
        metrics_file,
        metrics_listen,
        executor,
        tuple(accept or ()),
        dry_run,
        yes,
        as_json,
    )
    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(move(Move(Operation.SWITCH, image), selection, pace, running))


@app.command()
def rollback(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    policy: PolicyName = None,
    canary: Canary = None,
    batch: Batch = None,
    success: Success = None,
    bake: Bake = None,
    max_failures: MaxFailures = None,
    max_unavailable: MaxUnavailable = None,
    offline: Offline = None,
    retries: Retries = None,
    boot_timeout: BootTimeout = None,
    soft_reboot: SoftReboot = None,
    ignore_windows: IgnoreWindows = False,
    parallel: Parallel = 50,
    executor: ExecutorAt = None,
    accept: Accept = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Move hosts back to the deployment in their rollback slot.

    /etc goes back to that deployment's too, and a staged update is discarded.
    """
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    pace = Pace(
        policy=policy,
        canary=canary,
        batch=batch,
        success=success,
        bake=bake,
        max_failures=max_failures,
        max_unavailable=max_unavailable,
        offline=offline,
        retries=retries,
        boot_timeout=boot_timeout,
        soft_reboot=soft_reboot,
        windows=not ignore_windows,
    )
    running = Running(
        parallel,
        metrics_file,
        metrics_listen,
        executor,
        tuple(accept or ()),
        dry_run,
        yes,
        as_json,
    )
    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(move(Move(Operation.ROLLBACK), selection, pace, running))


@app.command()
def reboot(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    policy: PolicyName = None,
    canary: Canary = None,
    batch: Batch = None,
    success: Success = None,
    bake: Bake = None,
    max_failures: MaxFailures = None,
    max_unavailable: MaxUnavailable = None,
    offline: Offline = None,
    retries: Retries = None,
    boot_timeout: BootTimeout = None,
    soft_reboot: SoftReboot = None,
    ignore_windows: IgnoreWindows = False,
    parallel: Parallel = 50,
    executor: ExecutorAt = None,
    accept: Accept = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    apply_staged: Annotated[
        bool, typer.Option("--apply-staged", help="Reboot into a staged update too.")
    ] = False,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Reboot hosts into the deployment that they run, in waves, with health checks."""
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    pace = Pace(
        policy=policy,
        canary=canary,
        batch=batch,
        success=success,
        bake=bake,
        max_failures=max_failures,
        max_unavailable=max_unavailable,
        offline=offline,
        retries=retries,
        boot_timeout=boot_timeout,
        soft_reboot=soft_reboot,
        windows=not ignore_windows,
    )
    running = Running(
        parallel,
        metrics_file,
        metrics_listen,
        executor,
        tuple(accept or ()),
        dry_run,
        yes,
        as_json,
    )
    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(
        move(Move(Operation.REBOOT, apply_staged=apply_staged), selection, pace, running)
    )


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
