"""`bootcfleet channel prune`, `watch` and `import`: what keeps channels going by themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag

ImageNames = Annotated[
    list[str] | None,
    typer.Argument(help="The images; all of them without a name.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``bootcfleet channel``."""
    app.command("import")(import_images)
    app.command("watch")(watch)
    app.command("prune")(prune)


def import_images(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="The imports; all of them without a name.", show_default=False),
    ] = None,
    due: Annotated[
        bool, typer.Option("--due", help="Only those whose time has come, for a timer.")
    ] = False,
    loop: Annotated[
        bool, typer.Option("--loop", help="Go on, each in its interval, until ^C.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only show how the last looks ended.")
    ] = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Follow images from outside (imports: in bootcfleet.yaml) into the project's registry.

    Copies with all platforms and signatures, the digest unchanged, and moves the channel.
    On a failure the channel stays at the last good digest. Exit code 1 when one failed.
    """
    from bootcfleet.cli.import_run import loop_imports, run_imports, show_imports

    if status:
        show_imports(names or [], as_json=as_json)
    elif loop:
        loop_imports(names or [], as_json=as_json)
    else:
        run_imports(names or [], due_only=due, dry_run=dry_run, as_json=as_json)


def watch(
    images: ImageNames = None,
    channel: Annotated[
        list[str] | None,
        typer.Option("--channel", "-c", help="Only this channel; repeatable.", show_default=False),
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=1)] = 60.0,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            help="A command for each move, with BOOTCFLEET_IMAGE, _CHANNEL, _DIGEST, _BEFORE and "
            "_REFERENCE in its environment.",
            show_default=False,
        ),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            help="An address that each move is posted to, as JSON.",
            envvar="BOOTCFLEET_WEBHOOK",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Look once, and tell what moved since the last such look."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Look at the channels' tags and tell when one moves, whoever moved it.

    A command or webhook that fails is tried again, later and later, until it works or the
    channel moves on. With --once, exit code 1 when one failed.
    """
    from bootcfleet.cli.watch_run import run_watch

    run_watch(
        images or [],
        channel or [],
        interval=interval,
        command=command,
        webhook=webhook,
        once=once,
        as_json=as_json,
    )


def prune(
    images: ImageNames = None,
    keep: Annotated[
        int, typer.Option(help="Revisions of each channel, and of each image's builds.", min=1)
    ] = 3,
    younger_than: Annotated[
        str, typer.Option(help="What is younger stays: 60m, 24h, 7d.", show_default=True)
    ] = "60m",
    inventory: InventoryFile = None,
    ignore_hosts: Annotated[
        bool,
        typer.Option("--ignore-hosts", help="Delete also what a host may need to roll back to."),
    ] = False,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete from the registry what no channel, child, lock or host needs.

    Every manifest is listed with the reason why it goes or stays. Nothing is deleted unless
    every host of the inventory has said what it has.
    """
    from bootcfleet.cli.prune_run import run_prune

    run_prune(
        images or [],
        keep=keep,
        younger_than=younger_than,
        inventory=inventory,
        ignore_hosts=ignore_hosts,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
