"""`bootcfleet image revoke` and `restore`: an image that must not be used any more, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.image_lineage import ImageWord
from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag

NoHosts = Annotated[bool, typer.Option("--no-hosts", help="Do not ask the hosts.")]


def revoke(
    image: ImageWord,
    reason: Annotated[
        str, typer.Option("--reason", "-m", help="Why; it is recorded.", show_default=False)
    ],
    rollback_channels: Annotated[
        bool,
        typer.Option(
            "--rollback-channels", help="Move channels that have it back to their last good digest."
        ),
    ] = False,
    inventory: InventoryFile = None,
    no_hosts: NoHosts = False,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Block builds on an image, and promotions of it and of all that stands on it.

    Lists its descendants, the channels that have any of them, and the hosts that have one
    booted, staged or to roll back to. Hosts are left as they are. Exit code 1 when a
    channel could not be moved back.
    """
    from bootcfleet.cli.revoke_run import run_revoke

    run_revoke(
        image,
        reason,
        rollback=rollback_channels,
        inventory=inventory,
        hosts=not no_hosts,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


def restore(
    image: ImageWord,
    reason: Annotated[
        str, typer.Option("--reason", "-m", help="Why; it is recorded.", show_default=False)
    ],
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Undo a revocation. Channels stay where they are."""
    from bootcfleet.cli.revoke_run import run_restore

    run_restore(image, reason, dry_run=dry_run, yes=yes, as_json=as_json)


def who_uses(
    image: ImageWord,
    inventory: InventoryFile = None,
    no_hosts: NoHosts = False,
    as_json: JsonFlag = False,
) -> None:
    """What stands on an image or base, and the channels and hosts that have any of it."""
    from bootcfleet.cli.revoke_run import show_uses

    show_uses(image, inventory=inventory, hosts=not no_hosts, as_json=as_json)
