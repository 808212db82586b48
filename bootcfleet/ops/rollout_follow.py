"""Follows a rollout's journal as it grows, from any process that reaches the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bootcfleet.drivers.rolloutrows import DamagedJournalError
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError
from bootcfleet.ops.rollouts import Look


def follow(
    store: RolloutStore,
    found: Look,
    *,
    interval: float = 1.0,
    patience: float = 15.0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Look]:
    """The rollout with what is added to its journal, until it has ended.

    It looks every `interval` seconds.  Raises `FleetError` when nobody carries the rollout out
    for `patience` seconds, or when the ledger cannot be read for as long: a controller that is
    started anew, or a database, takes a while.
    """
    trouble: tuple[float, FleetError] | None = None
    rollout_id = found.record.id
    while found.rollout.outcome is None:
        try:
            # Asked first: who ends in between has written its end by then.
            held = store.held(rollout_id)
            entries = tuple(store.entries(rollout_id, after=found.rollout.number))
            problem = None if held or entries else _abandoned(rollout_id)
        except DamagedJournalError:
            raise
        except FleetError as error:
            entries, problem = (), error
        if entries:
            found = found.advance(entries)
            yield found
            if found.rollout.outcome is not None:
                return
        now = monotonic()
        if problem is None:
            trouble = None
        elif trouble is None:
            trouble = (now, problem)
        elif now - trouble[0] >= patience:
            raise problem
        sleep(interval)


def _abandoned(rollout_id: str) -> FleetError:
    return FleetError(
        f"nobody carries the rollout {rollout_id} out any more",
        hint=f"take it up: bootcfleet rollout resume {rollout_id}",
    )
