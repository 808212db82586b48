"""What `kickstart hosts` and `kickstart again` do once their options are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bootcfleet.cli.output import Output
from bootcfleet.domain.bootprogress import Step
from bootcfleet.domain.document import did_you_mean
from bootcfleet.drivers.bootstate import BootState
from bootcfleet.errors import UsageError
from bootcfleet.ops.project import load_project, state_dir

FOLDER = "kickstart"


def _state_path() -> Path:
    return state_dir(load_project()) / FOLDER / "state.db"


def show_hosts(*, as_json: bool) -> None:
    """Print the table."""
    output = Output(as_json=as_json)
    path = _state_path()
    rows = []
    if path.exists():
        state = BootState(path)
        try:
            rows = state.rows()
        finally:
            state.close()
    if as_json:
        output.json([row.to_json() for row in rows])
        return
    if not rows:
        output.line("no machine has asked for anything yet; start `bootcfleet kickstart serve`")
        return
    shown = [Step.MENU, Step.KERNEL, Step.STAGE2, Step.KICKSTART]
    table = [
        [
            row.name,
            row.state,
            row.address,
            *(_time(row.steps[step].at) if step in row.steps else "-" for step in shown),
            _time(row.installed) if row.installed else "-",
            row.problem or "",
        ]
        for row in rows
    ]
    titles = ["HOST", "STATE", "ADDRESS", *(step.upper() for step in shown), "INSTALLED", "PROBLEM"]
    output.table(titles, table)


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%m-%d %H:%M:%S")


def install_again(names: Sequence[str]) -> None:
    """Forget that machines are installed.  Raises `UsageError`: then nothing was changed."""
    output = Output()
    path = _state_path()
    state = BootState(path) if path.exists() else None
    try:
        known = [row.name for row in state.rows() if row.known] if state else []
        for name in names:
            if name not in known:
                raise UsageError(
                    f"{name} has never asked for anything here",
                    hint=did_you_mean(name, known) or "see `bootcfleet kickstart hosts`",
                )
        for name in names:
            if state is not None and state.again(name):
                output.line(f"{name}: its next boot from the network installs it again")
    finally:
        if state is not None:
            state.close()
