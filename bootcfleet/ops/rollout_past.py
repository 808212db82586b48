"""What the ledger knows of earlier rollouts, for whoever plans the next one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.fleetdrift import MOVED, newest_moves
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.project import LoadedProject


@dataclass(frozen=True)
class Past:
    """The newest move of each host, and how rollouts have ended that will not be taken up again."""

    moves: Mapping[str, AuditEntry] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)


#: Takes the time from which on moves count, and the ids of rollouts.
AskPast = Callable[[datetime, Collection[str]], Past]


def past_of(loaded: LoadedProject | None) -> AskPast:
    """What asks the ledger, which is opened when it is first needed."""

    def ask(since: datetime, rollouts: Collection[str]) -> Past:
        with closing(open_ledger(loaded)) as ledger:
            entries = ledger.entries(action="fleet", since=since)
            moves = newest_moves(entry for entry in entries if entry.outcome in MOVED)
            if not rollouts:
                return Past(moves)
            store = RolloutStore.open(ledger.db)
            still_open = {record.id for record, _ in store.all(open_only=True)}
            ended = {}
            for rollout in set(rollouts) - still_open:
                # One of another ledger has no entries here, and nothing is known of it.
                for entry in ledger.entries(action="fleet", subject=rollout, limit=1):
                    if entry.outcome != "started":
                        ended[rollout] = entry.outcome
            return Past(moves, ended)

    return ask
