"""`bootcfleet rollout`: look at rollouts, and pause, approve, abort, retry and resume them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli import rollout_pull
from bootcfleet.cli.fleet_options import (
    Asking,
    ExecutorAt,
    MetricsFile,
    MetricsListen,
    Parallel,
    Running,
)
from bootcfleet.cli.output import JsonFlag, YesFlag

app = typer.Typer(no_args_is_help=True, help="Follow, pause, approve, abort and resume rollouts.")

RolloutArgument = Annotated[
    str,
    typer.Argument(
        metavar="[ROLLOUT]", help="Its id, the beginning of it, or `last`.", show_default=True
    ),
]
OpenArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ROLLOUT]",
        help="Its id, the beginning of it, or `last`; without it the one that is open.",
        show_default=False,
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", "-m", help="Why; it is recorded.", show_default=False)
]


@app.command("list")
def list_rollouts(
    open_only: Annotated[
        bool, typer.Option("--open", help="Only those in which something is left to do.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="How many, the newest.", min=1)] = 20,
    as_json: JsonFlag = False,
) -> None:
    """The rollouts in the ledger, newest first: where each stands, and who carries it out.

    `left-behind` is one whose controller was killed: `rollout resume` takes it up.
    """
    from bootcfleet.cli.rollout_run import show_list

    show_list(limit, open_only=open_only, as_json=as_json)


@app.command()
def show(
    rollout: RolloutArgument = "last",
    host: Annotated[
        list[str] | None,
        typer.Option("--host", "-H", help="Only this host (or glob), with all of it. Repeatable."),
    ] = None,
    journal: Annotated[bool, typer.Option("--journal", help="Every entry of the journal.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """A rollout: its plan, its waves, its hosts, what failed and why, and what it waits for."""
    from bootcfleet.cli.rollout_run import show_one

    show_one(rollout, host or [], journal=journal, as_json=as_json)


@app.command()
def pause(
    rollout: OpenArgument = None, reason: ReasonOption = "", as_json: JsonFlag = False
) -> None:
    """Begin nothing more; what is under way comes to its end.

    A host that is being rebooted is still checked, and rolled back when it failed.
    """
    from bootcfleet.cli.rollout_run import run_pause

    run_pause(rollout, reason, as_json=as_json)


@app.command()
def approve(
    rollout: OpenArgument = None,
    wave: Annotated[
        int | None,
        typer.Option(help="The wave's number, also before it is its turn.", show_default=False),
    ] = None,
    reason: ReasonOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Let the wave start that waits for approval."""
    from bootcfleet.cli.rollout_run import run_approve

    run_approve(rollout, wave, reason, as_json=as_json)


@app.command()
def abort(
    rollout: OpenArgument = None,
    unwind: Annotated[
        bool,
        typer.Option(
            "--rollback", help="Take the hosts back that were updated, newest wave first."
        ),
    ] = False,
    reason: ReasonOption = "",
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """End a rollout early: begin nothing more, and finish what is under way."""
    from bootcfleet.cli.rollout_run import run_abort

    run_abort(rollout, reason, unwind=unwind, yes=yes, as_json=as_json)


@app.command()
def retry(
    host: Annotated[
        str | None,
        typer.Argument(help="The host; all that did not end well without it.", show_default=False),
    ] = None,
    rollout: Annotated[
        str | None,
        typer.Option(
            "--rollout",
            "-r",
            help="Its id, the beginning of it, or `last`; without it the one that is open, or "
            "the last.",
            show_default=False,
        ),
    ] = None,
    reason: ReasonOption = "",
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Take up a host again that failed, was rolled back or refused; a halted rollout goes on."""
    from bootcfleet.cli.rollout_run import run_retry

    run_retry(rollout, host, reason, yes=yes, as_json=as_json)


@app.command()
def resume(
    rollout: OpenArgument = None,
    inventory: Annotated[
        Path | None,
        typer.Option(
            "--inventory",
            "-i",
            help="Reach the hosts as this inventory says, and not as the plan does.",
            show_default=False,
        ),
    ] = None,
    parallel: Parallel = 50,
    executor: ExecutorAt = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    reason: ReasonOption = "",
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Let a paused rollout go on; carry one out here that nobody carries out.

    It looks at the hosts again and does what is left to do. Exit codes are those of
    `fleet upgrade`: 1 when hosts failed, 4 when it halted.
    """
    from bootcfleet.cli.rollout_resume import run_resume

    running = Running(parallel, executor, metrics_file, metrics_listen)
    asking = Asking(yes=yes, as_json=as_json)
    code = run_resume(rollout, reason, inventory, running, asking)
    raise typer.Exit(code)


@app.command()
def watch(
    rollout: OpenArgument = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Tell what has happened already, too.")
    ] = False,
    interval: Annotated[
        float, typer.Option(help="Seconds between two looks at the journal.", min=0.2)
    ] = 1,
    patience: Annotated[
        float,
        typer.Option(help="Seconds without a controller until it gives up watching.", min=0),
    ] = 15,
    as_json: JsonFlag = False,
) -> None:
    """Follow a rollout to its end, from any machine that reaches the ledger.

    A live view on a terminal, lines elsewhere. ^C ends the watching, not the rollout.
    Exit code 1 when hosts failed or nobody carries it out, 4 when it halted or was aborted.
    """
    from bootcfleet.cli.rollout_watch import run_watch

    code = run_watch(
        rollout, from_start=from_start, interval=interval, patience=patience, as_json=as_json
    )
    raise typer.Exit(code)


class ReportFormat(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MARKDOWN = "markdown"


@app.command()
def report(
    rollout: RolloutArgument = "last",
    how: Annotated[
        ReportFormat, typer.Option("--format", "-f", help="One HTML page, or Markdown.")
    ] = ReportFormat.HTML,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write it into this file, not to standard output.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """A rollout as one page: waves, hosts along time, failures with their evidence, who did what.

    The page needs nothing else: it can be mailed, kept and printed. Also while it is under way.
    """
    from bootcfleet.cli.rollout_report_run import run_report

    run_report(rollout, how.value, file, as_json=as_json)


rollout_pull.register(app)
