"""What the ledger knows of earlier rollouts, for whoever plans the next one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.fleetdrift import MOVED, newest_moves
from bootcfleet.domain.rollout_standing import Standing, standing_of
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.project import LoadedProject


@dataclass(frozen=True)
class Past:
    """The newest move of each host, and where rollouts stand."""

    moves: Mapping[str, AuditEntry] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)


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
            # One of another ledger is not there, and nothing is known of it.
            return Past(
                moves,
                {
                    record.id: standing_of(summary, held=store.held(record.id))
                    for record, summary in store.all()
                    if record.id in rollouts
                },
            )

    return ask
