"""`bootcfleet demo`: the main job in a minute, by the very commands that a user would type."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import JsonFlag, Output
from bootcfleet.errors import ExitCode, FleetError


def demo(
    hosts: Annotated[int, typer.Option(help="Simulated hosts.", min=2, max=300)] = 12,
    boot_seconds: Annotated[float, typer.Option(help="How long a host's reboot takes.")] = 1.0,
    as_json: JsonFlag = False,
) -> None:
    """The main job in a minute: a rollout, a bad image caught and taken back.

    Needs no root, no podman and no network beyond loopback.  It starts a lab (a
    registry and bootc hosts behind real SSH servers, simulated), rolls an
    upgrade out canary first, then a bad image, which the canary's health check
    catches and rolls back.  Everything lives in a temporary directory.
    """
    from bootcfleet.cli.demo_story import Story

    output = Output(as_json=as_json)
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="bootcfleet-demo-") as directory:
        # The commands of the story find their project as a user's do: in the working directory.
        os.chdir(directory)
        try:
            Story(output, Path(directory), hosts, boot_seconds).tell()
        finally:
            os.chdir(before)


def command_line(words: list[str]) -> str:
    """The words as a person would type them."""
    return "$ " + shlex.join(["bootcfleet", *words])


def expect(code: int, wanted: ExitCode, words: list[str]) -> None:
    """Raise `FleetError` when a command of the story ended otherwise than it must."""
    if code != wanted:
        raise FleetError(
            f"the demo expected exit code {int(wanted)} and got {code} from: "
            f"bootcfleet {shlex.join(words)}",
            hint="please report this with the output above",
        )
