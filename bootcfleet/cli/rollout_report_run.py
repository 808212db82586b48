"""What `rollout report` does once its options are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet import __version__
from bootcfleet.cli.output import Output
from bootcfleet.domain.rollout_page import page
from bootcfleet.domain.rollout_report import markdown, result_of, to_json
from bootcfleet.domain.rollout_timeline import timeline
from bootcfleet.drivers.command import write_atomic
from bootcfleet.ops.project import find_project
from bootcfleet.ops.rollouts import look, open_rollouts


def run_report(text: str, how: str, file: Path | None, *, as_json: bool) -> None:
    """Write the report of a rollout, or print it."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        found = look(rollouts, text)
    now = datetime.now(UTC)
    line = replace(timeline(found.record, found.entries, now), standing=str(found.standing))
    if file is not None or not as_json:
        said = page(line, now, __version__) if how == "html" else markdown(line)
        if file is not None:
            write_atomic(file, said.encode(), mode=0o644)
        else:
            output.raw(said.encode())
    if as_json:
        output.json(to_json(line))
    elif file is not None:
        hosts = len(line.hosts) + len(line.outside)
        output.line(f"wrote {file}: {line.rollout.id}, {result_of(line)}, {hosts} hosts")
