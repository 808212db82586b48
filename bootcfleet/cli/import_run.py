"""What `channel import` does once its options are read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from bootcfleet.cli.output import Output
from bootcfleet.domain.channel_import import ImportSpec, ImportState, due
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.channelimport import chosen_imports, read_states, run_import
from bootcfleet.ops.project import LoadedProject, load_project
from bootcfleet.ops.train import recover

#: The longest that a loop sleeps before it reads the project again (seconds).
_LONGEST = 60.0


def show_imports(names: Sequence[str], *, as_json: bool) -> None:
    """How the last look at each source ended."""
    output = Output(as_json=as_json)
    loaded = load_project()
    states = read_states(loaded)
    rows = []
    body = []
    for name, spec in chosen_imports(loaded, names).items():
        state = states.get(name)
        body.append({"name": name, "source": spec.source, "channel": spec.tag,
                     "state": state.to_json() if state else None})  # fmt: skip
        said = ["never looked at", "", "", ""]
        if state is not None:
            since = "" if state.condition.good else f" since {_time(state.since)}"
            said = [
                state.condition.value + since,
                state.digest or "",
                _time(state.checked),
                state.message,
            ]
        rows.append([name, spec.tag, spec.source, *said])
    if as_json:
        output.json(body)
        return
    output.table(["IMPORT", "CHANNEL", "SOURCE", "CONDITION", "DIGEST", "LOOKED AT", "WHY"], rows)


def run_imports(names: Sequence[str], *, due_only: bool, dry_run: bool, as_json: bool) -> None:
    """Look at the sources once.  Raises `FleetError` when one failed."""
    output = Output(as_json=as_json)
    loaded = load_project()
    chosen = chosen_imports(loaded, names)
    if not chosen:
        output.line("the project has no imports: declare imports: in bootcfleet.yaml")
        return
    if due_only:
        chosen = _due(loaded, chosen)
    states = _look(loaded, chosen, output, dry_run=dry_run)
    bad = [state for state in states if not state.condition.good]
    if bad:
        raise FleetError(
            f"{len(bad)} of {len(states)} imports failed: {', '.join(one.name for one in bad)}",
            details=[f"{one.name}: {one.message}" for one in bad],
            hint="the channels stay where they were; see bootcfleet channel import --status",
        )


def loop_imports(names: Sequence[str], *, as_json: bool) -> None:
    """Look at each source in its interval, until ^C.  The project is read anew each time."""
    output = Output(as_json=as_json)
    chosen_imports(load_project(), names)  # a wrong name or file stops it here
    while True:
        wait = _LONGEST
        try:
            loaded = load_project()
            chosen = chosen_imports(loaded, names)
            _look(loaded, _due(loaded, chosen), output)
            states, now = read_states(loaded), datetime.now(UTC)
            next_ones = [due(spec, states.get(name), now) for name, spec in chosen.items()]
            if next_ones:
                wait = min(wait, max(1.0, (min(next_ones) - now).total_seconds()))
        except FleetError as error:
            # The ledger may be away, or somebody is writing the file: the next round tells.
            output.line(f"error: {error.message}")
        time.sleep(wait)


def _due(loaded: LoadedProject, chosen: dict[str, ImportSpec]) -> dict[str, ImportSpec]:
    states, now = read_states(loaded), datetime.now(UTC)
    return {name: spec for name, spec in chosen.items() if due(spec, states.get(name), now) <= now}


def _look(
    loaded: LoadedProject,
    chosen: dict[str, ImportSpec],
    output: Output,
    *,
    dry_run: bool = False,
) -> list[ImportState]:
    if not chosen:
        return []
    with open_channels(loaded, emit=output.event) as channels:
        if not dry_run:
            recover(channels)
        return [run_import(channels, name, spec, dry_run=dry_run) for name, spec in chosen.items()]


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
