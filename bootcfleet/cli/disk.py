"""`bootcfleet disk`: from an image to disks and installers that boot it."""

from __future__ import annotations

import typer

from bootcfleet.cli.disk_build import backends, build, list_disks, verify
from bootcfleet.cli.disk_lint import config, lint
from bootcfleet.cli.disk_run import run

app = typer.Typer(no_args_is_help=True, help="Make disks and installers of images.")


app.command("build")(build)
app.command("list")(list_disks)
app.command("verify")(verify)
app.command("backends")(backends)
app.command("lint")(lint)
app.command("config")(config)
app.command("run")(run)
