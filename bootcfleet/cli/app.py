"""The `bootcfleet` program: finds the command, runs it, turns errors into messages and exit codes.

Start-up time is part of the interface (shell completion runs the program at
every key), so a command's module is imported only when that command is asked
for; the others stand in the help as names and one line each.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from bootcfleet import __version__
from bootcfleet.domain.plaintext import harmless
from bootcfleet.errors import ExitCode, FleetError, InterruptedRunError


@dataclass(frozen=True)
class Command:
    """Where a command lives: a group's `typer.Typer` named ``app``, or one function."""

    module: str
    help: str
    panel: str
    function: str | None = None


#: In the order of the help: the life of an image.
COMMANDS: dict[str, Command] = {
    "init": Command("project", "Write a new project that builds as it is.", "Project", "init"),
    "schema": Command("project", "Print the JSON Schema of a file.", "Project", "schema"),
    "lock": Command("lock", "Pin the bases by digest, and prove that they hold.", "Images"),
    "image": Command("image", "Render, plan and build the images of a project.", "Images"),
    "channel": Command("channel", "Promote images from channel to channel, and back.", "Images"),
    "catalog": Command("catalog", "A page about every image.", "Images", "catalog"),
    "ci": Command("ci", "Write pipelines for continuous integration.", "Images"),
    "disk": Command("disk", "Make disks and installers of images.", "Machines"),
    "kickstart": Command(
        "kickstart", "Install machines: kickstarts rendered, checked and served.", "Machines"
    ),
    "fleet": Command("fleet", "Look at hosts and move them forward or back.", "Fleet"),
    "rollout": Command("rollout", "Follow, pause, approve, abort and resume rollouts.", "Fleet"),
    "why": Command("why", "Show why a host or image is what it is.", "Fleet", "why"),
    "who-uses": Command("image_revoke", "Show what uses an image.", "Fleet", "who_uses"),
    "audit": Command("audit", "Show who did what, when, and with which digests.", "Fleet", "audit"),
    "lab": Command("lab", "Simulated bootc hosts behind real SSH, to rehearse on.", "Lab"),
    "demo": Command("demo", "The main job in a minute, on an embedded lab.", "Lab", "demo"),
}


class _Program(TyperGroup):
    """All commands; ^C comes out of them as what is said of it."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            # typer would make it an exit without a word.
            raise InterruptedRunError("interrupted") from error


def build_app(wanted: str | None = None) -> typer.Typer:
    """The typer application with the `wanted` command loaded, or all of them for None."""
    app = typer.Typer(
        name="bootcfleet",
        cls=_Program,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="From a templated Containerfile to a bootc image, and a fleet that rolls forward or "
        "back.",
    )
    app.callback()(_global_options)
    for name, command in COMMANDS.items():
        if wanted is None or name == wanted:
            module = importlib.import_module(f"bootcfleet.cli.{command.module}")
            if command.function:
                app.command(name, help=None, rich_help_panel=command.panel)(
                    getattr(module, command.function)
                )
            else:
                app.add_typer(
                    module.app, name=name, help=command.help, rich_help_panel=command.panel
                )
        else:
            app.command(name, help=command.help, rich_help_panel=command.panel)(_not_loaded)
    return app


def _not_loaded() -> None:
    """Stands in the help for a command whose module this run does not need."""


def _version(value: bool) -> None:
    if value:
        typer.echo(f"bootcfleet {__version__}")
        raise typer.Exit


def _global_options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_version
    ),
) -> None:
    """Global options are read by their callbacks."""


def run(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    words = list(argv)
    wanted = next((word for word in words if not word.startswith("-")), "")
    # Completion asks about any command; everything else needs only its own.
    app = build_app(None if "_BOOTCFLEET_COMPLETE" in os.environ else wanted)
    try:
        code = app(args=words, prog_name="bootcfleet", standalone_mode=False)
        return code if isinstance(code, int) else ExitCode.DONE
    except FleetError as error:
        report(error, as_json="--json" in words)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        report(InterruptedRunError("interrupted"), as_json="--json" in words)
        return ExitCode.INTERRUPTED
    except OSError as error:
        refused = _refused(error)
        if refused is None:
            raise
        report(refused, as_json="--json" in words)
        return refused.exit_code
    except Exception as error:
        # typer's own usage errors; newer versions carry click within, so no common class to name.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", ExitCode.USAGE))


#: What a disk or its rights refuse: no fault of the program, wherever it comes up.
_REFUSALS = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR,
        errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP,
    }
)  # fmt: skip


def _refused(error: OSError) -> FleetError | None:
    """A refusal of the disk as an error for people; None for everything else."""
    if error.errno not in _REFUSALS:
        return None
    if not isinstance(error.filename, str):
        return FleetError(f"a file cannot be used: {error.strerror}", hint="see the disks: df -h")
    path = Path(error.filename).absolute()
    return FleetError(
        f"{path} cannot be used: {error.strerror}", hint=f"see its folder: ls -ld {path.parent}"
    )


def report(error: FleetError, *, as_json: bool) -> None:
    """Say an error on standard error: what, why, and what to run next."""
    if as_json:
        body = {
            "message": error.message,
            "hint": error.hint,
            "details": list(error.details),
            "exit_code": int(error.exit_code),
        }
        print(json.dumps({"error": body}), file=sys.stderr)
        return
    # What it quotes may come from a host, a hook or a registry.
    print(harmless(f"error: {error.message}"), file=sys.stderr)
    for detail in error.details:
        print(harmless(f"  {detail}"), file=sys.stderr)
    if error.hint:
        print(harmless(f"hint: {error.hint}"), file=sys.stderr)


def _open_what_is_closed() -> None:
    """Streams that whoever started us has closed (`>&-`, some daemons): Python has None for them.

    They are opened in the order of their numbers, so that no file gets one of those by chance, and
    with it what is meant for a terminal.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def main() -> None:
    """The program's entry point."""
    # Programs and fleets make many objects and little garbage: the collector's default of 700
    # has it look as often as it would find something a hundred times that.
    gc.set_threshold(20_000, 20, 50)
    _open_what_is_closed()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        # It was said; the interpreter would try once more, and end with a code of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
