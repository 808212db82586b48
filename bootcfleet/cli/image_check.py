"""`bootcfleet image check`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import JsonFlag


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="The images; all of them without a name.", show_default=False),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest", help="Check this digest (or image id) instead of the last build's."
        ),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Run nothing; show what stands for each last build.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Also write the results as JUnit XML.")
    ] = None,
    no_boot: Annotated[
        bool, typer.Option("--no-boot", help="Do not try systemd; what needs it is skipped.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", help="Images checked at the same time.", min=1, max=64)
    ] = 2,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the containers running, to look around.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the checks of images in a container, with systemd booted inside where that works.

    Checks are in checks.yaml beside each template; a parent's run again in its children. The
    result is kept about the digest. Exit code 3 when an image is not green.
    """
    from bootcfleet.cli.image_check_run import run_checks, show_status

    if status:
        show_status(names or [], as_json=as_json)
    else:
        run_checks(
            names or [],
            digest=digest,
            junit=junit,
            boot=not no_boot,
            keep=keep,
            jobs=jobs,
            as_json=as_json,
        )
