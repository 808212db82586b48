"""`bootcfleet fleet upgrade`, `switch`, `rollback` and `reboot`: their options."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import (
    Asking,
    Failing,
    Groups,
    HostNames,
    InventoryFile,
    Labels,
    Pace,
    Running,
    Selection,
)


def upgrade(
    pace: Pace,
    failing: Failing,
    running: Running,
    asking: Asking,
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
) -> None:
    """Move hosts to what the tag that they follow is now.

    Stage, compare the staged digest with the planned one, reboot, compare the
    booted digest, run the health checks; the canary first, then in batches.
    A host whose checks fail goes back to the deployment it came from.
    """
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    selection = Selection(inventory, labels, groups, hosts)
    what = Move(Operation.UPGRADE)
    raise typer.Exit(move(what, selection, pace, running, asking, failing))


def switch(
    image: Annotated[str, typer.Argument(help="REGISTRY/REPOSITORY:TAG, or @DIGEST to pin it.")],
    pace: Pace,
    failing: Failing,
    running: Running,
    asking: Asking,
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
) -> None:
    """Move hosts to another image, by the same steps as an upgrade.

    A tag keeps them following it; a digest pins them until the next switch.
    """
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    selection = Selection(inventory, labels, groups, hosts)
    what = Move(Operation.SWITCH, image)
    raise typer.Exit(move(what, selection, pace, running, asking, failing))


def rollback(
    pace: Pace,
    running: Running,
    asking: Asking,
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
) -> None:
    """Move hosts back to the deployment in their rollback slot.

    /etc goes back to that deployment's too, and a staged update is discarded.
    """
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(move(Move(Operation.ROLLBACK), selection, pace, running, asking))


def reboot(
    pace: Pace,
    running: Running,
    asking: Asking,
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    apply_staged: Annotated[
        bool, typer.Option("--apply-staged", help="Reboot into a staged update too.")
    ] = False,
) -> None:
    """Reboot hosts into the deployment that they run, in waves, with health checks."""
    from bootcfleet.cli.fleet_move import Move, move
    from bootcfleet.domain.rollout import Operation

    selection = Selection(inventory, labels, groups, hosts)
    what = Move(Operation.REBOOT, apply_staged=apply_staged)
    raise typer.Exit(move(what, selection, pace, running, asking))
