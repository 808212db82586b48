"""The locks of many hosts at once: who has them, and breaking those that nobody needs any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootcfleet.domain.hostlock import LockHolder
from bootcfleet.drivers import hostlock
from bootcfleet.errors import FleetError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.fleet import Fleet

#: What a host says of its lock: who has it, nobody, or why it did not say.
Locks = Mapping[str, LockHolder | FleetError | None]


def read_locks(fleet: Fleet, *, parallel: int = 50) -> Locks:
    """Ask every host for its lock."""
    return gather(
        fleet.names, lambda name: hostlock.read(fleet.executor(name), name), parallel=parallel
    )


def to_break(locks: Locks, *, force: bool) -> dict[str, LockHolder]:
    """The locks that may go: stale ones, and with `force` all."""
    held = {name: one for name, one in locks.items() if isinstance(one, LockHolder)}
    return {name: one for name, one in held.items() if force or one.stale}


def break_locks(
    fleet: Fleet,
    chosen: Mapping[str, LockHolder],
    *,
    force: bool,
    record: Record,
    parallel: int = 50,
) -> Locks:
    """Break the locks that were looked at; who had each, or why it stays.

    A lock that another rollout has taken meanwhile stays.  Each intent is in the ledger before.
    """
    for name, holder in chosen.items():
        record("fleet.unlock", name, "started", digests={}, details=_details(holder, force=force))

    def work(name: str) -> LockHolder | None:
        return hostlock.break_lock(
            fleet.executor(name), name, rollout=chosen[name].rollout, live=force
        )

    broken = gather(tuple(chosen), work, parallel=parallel)
    for name, found in broken.items():
        details = _details(chosen[name], force=force)
        if isinstance(found, FleetError):
            details["message"] = found.message
        outcome = "failed" if isinstance(found, FleetError) else "done"
        record("fleet.unlock", name, outcome, digests={}, details=details)
    return broken


def _details(holder: LockHolder, *, force: bool) -> dict[str, Any]:
    return {**holder.to_json(), "force": force}
