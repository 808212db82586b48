"""What `fleet locks` and `fleet unlock` do once their options are read."""

from __future__ import annotations

from typing import Any

from bootcfleet.cli.fleet_hints import host_hints
from bootcfleet.cli.fleet_options import Selection
from bootcfleet.cli.fleet_selection import selected
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.hostlock import LockHolder, clock
from bootcfleet.errors import ExitCode, FleetError, HostError, UsageError
from bootcfleet.ops import connect
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.hostlocks import Locks, read_locks, to_break
from bootcfleet.ops.hostlocks import break_locks as break_all
from bootcfleet.ops.project import LoadedProject


def _fleet(selection: Selection) -> tuple[LoadedProject | None, Fleet]:
    loaded, hosts = selected(selection)
    return loaded, connect.over_ssh(hosts, ask_secret)


def show_locks(selection: Selection, *, parallel: int, as_json: bool) -> int:
    """Print who has locked which host; the exit code."""
    output = Output(as_json=as_json)
    _, fleet = _fleet(selection)
    try:
        locks = read_locks(fleet, parallel=parallel)
    finally:
        fleet.close()
    if as_json:
        output.json([_json(name, found) for name, found in locks.items()])
    else:
        _table(output, locks)
        if not any(locks.values()):
            output.line("no host is locked")
    return _code(locks)


def break_locks(
    selection: Selection, *, force: bool, parallel: int, yes: bool, as_json: bool
) -> int:
    """Show the locks, ask, break them, record it; the exit code."""
    if not (selection.patterns or selection.labels or selection.groups):
        raise UsageError(
            "unlock needs to know which hosts",
            hint="name them: bootcfleet fleet unlock HOST…, or see `bootcfleet fleet locks`",
        )
    output = Output(as_json=as_json)
    loaded, fleet = _fleet(selection)
    try:
        locks = read_locks(fleet, parallel=parallel)
        chosen = to_break(locks, force=force)
        if not as_json:
            _table(output, locks)
        live = [name for name, found in locks.items() if found and name not in chosen]
        live = [name for name in live if isinstance(locks[name], LockHolder)]
        broken: Locks = {}
        if chosen:
            noun = "lock" if len(chosen) == 1 else "locks"
            output.confirm(
                f"break {len(chosen)} {noun}?",
                yes=yes,
                changes="who may roll these hosts",
                look="look with `bootcfleet fleet locks`",
            )
            with recorder(loaded) as record:
                broken = break_all(fleet, chosen, force=force, record=record, parallel=parallel)
    finally:
        fleet.close()
    failed = {name: one for name, one in broken.items() if isinstance(one, FleetError)}
    if as_json:
        output.json(
            [
                {
                    **_json(name, found),
                    "broken": name in broken and name not in failed,
                    **({"error": _error(failed[name])} if name in failed else {}),
                }
                for name, found in locks.items()
            ]
        )
    else:
        for name, found in broken.items():
            said = f"error: {found.message}" if isinstance(found, FleetError) else "unlocked"
            output.line(f"{name}: {said}")
        if not any(locks.values()):
            output.line("no host is locked")
    if live:
        some = ", ".join(live[:5]) + (" …" if len(live) > 5 else "")
        raise FleetError(
            f"{len(live)} of the locks have not expired: {some}"
            if len(live) > 1
            else f"the lock of {some} has not expired",
            hint="when that rollout is gone for good, add --force; else end it with "
            "`bootcfleet rollout abort`",
        )
    return ExitCode.FAILED if failed else _code(locks)


def _code(locks: Locks) -> int:
    asked = not any(isinstance(found, FleetError) for found in locks.values())
    return ExitCode.DONE if asked else ExitCode.FAILED


def _json(name: str, found: LockHolder | FleetError | None) -> dict[str, Any]:
    error = _error(found) if isinstance(found, FleetError) else None
    lock = found.to_json() if isinstance(found, LockHolder) else None
    return {"host": name, "lock": lock, "error": error}


def _error(error: FleetError) -> dict[str, Any]:
    fault = str(error.fault) if isinstance(error, HostError) else None
    return {"fault": fault, "message": error.message, "hint": error.hint}


def _table(output: Output, locks: Locks) -> None:
    rows = []
    for name, found in locks.items():
        if isinstance(found, FleetError):
            rows.append([name, "?", "", "", "", "", f"error: {found.message}"])
        elif found is not None and not found.readable:
            rows.append([name, "?", "", "", "", "", "cannot be read"])
        elif found is not None:
            state = "stale" if found.stale else "live"
            since, until = clock(found.taken), clock(found.expires)
            rows.append([name, found.rollout, found.owner, found.controller, since, until, state])
    if rows:
        output.table(["HOST", "ROLLOUT", "OWNER", "ON", "SINCE", "UNTIL", "LOCK"], rows)
        host_hints(output, locks.items())
