"""What `channel watch` does once its options are read."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.cli.output import Output
from bootcfleet.domain.watch import Moved
from bootcfleet.drivers.webhook import Webhook
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.channelwatch import (
    Deliver,
    Watcher,
    read_told,
    run_command,
    watched,
    write_told,
)
from bootcfleet.ops.project import load_project


def run_watch(
    images: Sequence[str],
    names: Sequence[str],
    *,
    interval: float,
    command: str | None,
    webhook: str | None,
    once: bool,
    as_json: bool,
) -> None:
    """Look at the channels, once or until ^C."""
    output = Output(as_json=as_json)
    loaded = load_project()
    watcher = Watcher(_deliver(command, webhook, loaded.root), interval)
    if once:
        watcher.told = read_told(loaded)
    with open_channels(loaded, emit=output.event) as channels:
        pairs = watched(channels, images, names)
        if not once:
            output.line(f"watching {len(pairs)} channels every {interval:g} s; ^C ends it")
        while not once:
            try:
                watcher.look(channels, pairs, time.monotonic())
            except FleetError as error:
                output.line(f"error: {error.message}")  # the ledger may be away for a while
            time.sleep(interval)
        failures = watcher.look(channels, pairs, time.monotonic())
    write_told(loaded, watcher.told, datetime.now(UTC))
    if failures:
        noun = "channel" if failures == 1 else "channels"
        raise FleetError(
            f"{failures} {noun} could not be looked at or told about",
            hint="run it again: what was not told counts as moved still",
        )


def _deliver(command: str | None, webhook: str | None, root: Path) -> Deliver:
    """To the command, and to the webhook; none of both is right, for then it is only said."""
    ways: list[Deliver] = []
    if command is not None:
        try:
            argv = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--exec cannot be read: {error}") from error
        if not argv:
            raise UsageError("--exec is empty")
        ways.append(run_command(argv, root))
    if webhook is not None:
        hook = Webhook(webhook)
        ways.append(lambda moved: hook.post({"kind": "channel.moved", **moved.to_json()}))

    def deliver(moved: Moved) -> None:
        for way in ways:
            way(moved)

    return deliver
