"""Follows a rollout's journal as it grows, from any process that reaches the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_journal import JournalEntry
from bootcfleet.domain.rollout_replay import apply
from bootcfleet.drivers.rolloutrows import DamagedJournalError
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError


@dataclass(frozen=True)
class News:
    """What was written since the last look, and the rollout with it."""

    entries: tuple[JournalEntry, ...]
    rollout: Rollout


def follow(
    store: RolloutStore,
    rollout: Rollout,
    *,
    interval: float = 1.0,
    patience: float = 15.0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[News]:
    """What is added to the journal after `rollout.number`, until the rollout has ended.

    It looks every `interval` seconds.  Raises `FleetError` when nobody carries the rollout out
    for `patience` seconds, or when the ledger cannot be read for as long: a controller that is
    started anew, or a database, takes a while.
    """
    trouble: tuple[float, FleetError] | None = None
    while rollout.outcome is None:
        try:
            # Asked first: who ends in between has written its end by then.
            held = store.held(rollout.id)
            entries = tuple(store.entries(rollout.id, after=rollout.number))
            problem = None if held or entries else _abandoned(rollout)
        except DamagedJournalError:
            raise
        except FleetError as error:
            entries, problem = (), error
        if entries:
            rollout = apply(rollout, entries)
            yield News(entries, rollout)
            if rollout.outcome is not None:
                return
        now = monotonic()
        if problem is None:
            trouble = None
        elif trouble is None:
            trouble = (now, problem)
        elif now - trouble[0] >= patience:
            raise problem
        sleep(interval)


def _abandoned(rollout: Rollout) -> FleetError:
    return FleetError(
        f"nobody carries the rollout {rollout.id} out any more",
        hint=f"take it up: bootcfleet rollout resume {rollout.id}",
    )
