"""`bootcfleet fleet preflight | facts | drift`: what hosts are, before anything is done to them."""

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
from bootcfleet.cli.output import JsonFlag


def preflight(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="REF",
            help="Judge a switch to this image, not an upgrade.",
            show_default=False,
        ),
    ] = None,
    no_registry: Annotated[
        bool, typer.Option("--no-registry", help="Hosts do not ask their registries.")
    ] = False,
    parallel: Parallel = 50,
    as_json: JsonFlag = False,
) -> None:
    """What would keep hosts out of an upgrade or switch, and what to know before.

    bootc and root rights, room for the download, the registry as the host sees it, its signature
    policy, locks, clock, timers and more: docs/host-truth.md.  Nothing is changed.

    Exit code 3 when a host would be refused.
    """
    from bootcfleet.cli.fleet_truth_run import show_preflight

    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(
        show_preflight(
            selection,
            image=image,
            hosts_ask=not no_registry,
            parallel=parallel,
            as_json=as_json,
        )
    )


def facts(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    parallel: Parallel = 50,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line for each host.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """The inventory of versions: system, kernel, bootc, image, space, timer, signature policy.

    Exit code 1 when a host could not be asked.
    """
    from bootcfleet.cli.fleet_truth_run import show_facts

    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(show_facts(selection, parallel=parallel, csv=csv, as_json=as_json))


def drift(
    hosts: HostNames = None,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    no_registry: Annotated[
        bool, typer.Option("--no-registry", help="Ask no registry: what the ledger knows alone.")
    ] = False,
    parallel: Parallel = 50,
    as_json: JsonFlag = False,
) -> None:
    """Hosts that do not run what their channel or the inventory says, and what else is odd.

    Moved without a rollout, pinned or not pinned, changed locally, images that the ledger does
    not know, that are revoked or past their end of life: docs/host-truth.md.

    Exit code 3 when a host drifts, else 1 when one could not be asked.
    """
    from bootcfleet.cli.fleet_drift_run import show_drift

    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(
        show_drift(selection, registry=not no_registry, parallel=parallel, as_json=as_json)
    )
