"""`bootcfleet channel`: promote images from channel to channel, look at histories, go back."""

from __future__ import annotations

from typing import Annotated

import typer

from bootcfleet.cli.channel_care import register
from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag
from bootcfleet.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    help="Promote images from channel to channel, look at histories, go back.",
)

ImageArgument = Annotated[str, typer.Argument(help="The image.", show_default=False)]
ChannelArgument = Annotated[str, typer.Argument(help="The channel.", show_default=False)]
ImageChoice = Annotated[
    str | None, typer.Argument(help="The image; all of them without it.", show_default=False)
]
ChannelChoice = Annotated[
    str | None, typer.Argument(help="The channel; all of them without it.", show_default=False)
]
SkipOption = Annotated[
    list[str] | None,
    typer.Option("--skip-gate", help="Go through a red gate; --reason says why. Repeatable."),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", "-m", help="Why; it is recorded.", show_default=False)
]


@app.command()
def promote(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[IMAGE]... SRC DST",
            help="The images, where they are, and the channel that they go to. SRC is a channel, "
            "`build` for the last build that was pushed, a tag or a digest.",
            show_default=False,
        ),
    ],
    all_images: Annotated[
        bool,
        typer.Option("--all-images", help="All images that are in SRC, as one release train."),
    ] = False,
    skip_gate: SkipOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Move a channel's tag to the digest that is in another one, once its gates are green.

    The manifest's bytes are moved, so the digest stays the same. Several images move whole or
    are put back whole. Exit code 3 when a gate is red.
    """
    from bootcfleet.cli.channel_run import run_promote

    if len(words) < 2:
        raise UsageError(
            "promote needs where the image is and the channel that it goes to",
            hint="bootcfleet channel promote web dev test",
        )
    *images, source, channel = words
    run_promote(
        images,
        source,
        channel,
        everything=all_images,
        skip=[one for text in skip_gate or () for one in text.split(",")],
        why=reason,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


@app.command()
def rollback(
    image: ImageArgument,
    channel: ChannelArgument,
    to: Annotated[
        str | None,
        typer.Option(
            help="A number or digest of the history, or `known-good`: the newest whose checks "
            "passed. Default: the one before.",
            show_default=False,
        ),
    ] = None,
    skip_gate: SkipOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Move a channel back to a digest that it had, as a new entry of its history."""
    from bootcfleet.cli.channel_run import run_rollback

    run_rollback(
        image,
        channel,
        to,
        skip=[one for text in skip_gate or () for one in text.split(",")],
        why=reason,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


@app.command("list")
def list_channels(
    image: ImageChoice = None, channel: ChannelChoice = None, as_json: JsonFlag = False
) -> None:
    """Which digest each image has in each channel, since when, and who moved it there."""
    from bootcfleet.cli.channel_run import show_channels

    show_channels(image, channel, as_json=as_json)


@app.command()
def history(
    image: ImageArgument,
    channel: ChannelArgument,
    from_registry: Annotated[
        bool, typer.Option("--from-registry", help="The copy that is in the registry.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Every move of an image in a channel: when, who, why, and with which gates."""
    from bootcfleet.cli.channel_run import show_history

    show_history(image, channel, from_registry=from_registry, as_json=as_json)


@app.command()
def verify(
    image: ImageChoice = None,
    channel: ChannelChoice = None,
    mend: Annotated[
        bool, typer.Option("--repair", help="Make the registry what the histories say.")
    ] = False,
    reason: ReasonOption = "",
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Whether tags still point where the histories say; exit code 3 when one does not.

    Looks at the tags, at those that keep older digests, at the chains, at the copies in the
    registry, and for moves that were killed half-way.
    """
    from bootcfleet.cli.channel_verify import run_verify

    run_verify(image, channel, mend=mend, why=reason, yes=yes, as_json=as_json)


@app.command()
def restore(
    image: ImageChoice = None,
    channel: ChannelChoice = None,
    from_registry: Annotated[  # noqa: ARG001 - there is no other place yet; it says what happens
        bool, typer.Option("--from-registry", help="From the copies in the registry (always).")
    ] = True,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Take into the ledger what it lacks of the histories in the registry, once they hold."""
    from bootcfleet.cli.channel_verify import run_restore

    run_restore(image, channel, dry_run=dry_run, yes=yes, as_json=as_json)


register(app)
