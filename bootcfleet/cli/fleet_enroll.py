"""`bootcfleet fleet enroll`: hosts that follow a channel by bootc's own timer."""

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
from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag


def register(app: typer.Typer) -> None:
    """Add the command to ``bootcfleet fleet``."""
    app.command("enroll")(enroll)


def enroll(
    hosts: HostNames = None,
    pull: Annotated[
        bool, typer.Option("--pull", help="Let them follow their channel by bootc's own timer.")
    ] = False,
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="The channel that they are to follow.", show_default=False),
    ] = None,
    switch: Annotated[
        bool,
        typer.Option("--switch", help="Stage the channel's image where another one is followed."),
    ] = False,
    window: Annotated[
        list[str] | None,
        typer.Option(
            help="Look only then: 'sat 02:00-06:00', 'mon-fri 22:00-04:00'; repeatable.",
            show_default=False,
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(
            help="The time zone of --window, as Europe/Amsterdam; the hosts' own without it.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", help="The rollout policy whose windows they keep.", show_default=False
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(help="Without windows: look so often (8h).", show_default=False),
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            help="Spread the hosts over this time (2h; most of the window).", show_default=False
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Put the timer back as it was before.")
    ] = False,
    inventory: InventoryFile = None,
    labels: Labels = None,
    groups: Groups = None,
    parallel: Parallel = 50,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Let hosts follow a channel by themselves, for rollouts in pull mode.

    Writes a drop-in for bootc-fetch-apply-updates.timer, by which they upgrade and reboot in
    their windows or every so often, and starts the timer. Once more changes nothing.
    """
    from bootcfleet.cli.fleet_enroll_run import Asked, run_enroll

    asked = Asked(
        pull=pull,
        channel=channel,
        switch=switch,
        windows=window or [],
        zone=zone,
        policy=policy,
        every=every,
        delay=delay,
        undo=undo,
    )
    selection = Selection(inventory, labels, groups, hosts)
    raise typer.Exit(
        run_enroll(selection, asked, parallel=parallel, dry_run=dry_run, yes=yes, as_json=as_json)
    )
