"""`bootcfleet rollout pull`: promote from channel to channel, for hosts that move by themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile, MetricsFile, MetricsListen
from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag


def register(app: typer.Typer) -> None:
    """Add the command to ``bootcfleet rollout``."""
    app.command("pull")(pull)


def pull(
    image: Annotated[str, typer.Argument(help="An image of the project.")],
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            "-p",
            help="The rollout policy whose pull: it follows; the only one that has it, or default.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The channel whose digest it is, or `build`; what the first channel is promoted "
            "from without it.",
            show_default=False,
        ),
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", help="The digest itself.", show_default=False)
    ] = None,
    inventory: InventoryFile = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Roll an image out to hosts that follow channels by bootc's own timer.

    The digest is promoted from channel to channel, each time when enough of a sample of its
    hosts run it and are healthy; when they are not, the channels go back to what they were.
    Exit code 4 when it halted. ^C lets go of it: `rollout resume` takes it up again.
    """
    from bootcfleet.cli.rollout_pull_run import run_pull
    from bootcfleet.ops.rollout_listen import Metrics

    run_pull(
        image,
        policy,
        source,
        digest,
        inventory=inventory,
        metrics=Metrics(metrics_file, metrics_listen),
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
