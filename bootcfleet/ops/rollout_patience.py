"""A rollout's book while its database is away: nothing is begun, and it goes on when it is back.

A database that is restarted in the night must not end a rollout.  What was being written when
the connection broke may be there or not: it is looked for before it is written again.  The
rollout's lock ended with the connection, and is taken again; when somebody else has it by
then, the rollout is theirs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from bootcfleet.domain.event import Emit, Event, ignore
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry
from bootcfleet.drivers.ledgerhold import Hold
from bootcfleet.drivers.rolloutrows import DamagedJournalError
from bootcfleet.drivers.rolloutstore import RolloutTakenError
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.rollout_book import HostEnd, LedgerBook

#: No other try would help against these.
_FINAL = (RolloutTakenError, DamagedJournalError, UsageError)


class PatientBook:
    """A `Book` that waits `patience` seconds for a database that cannot be reached.

    `number` is the newest entry that is known.  After its patience has ended once, it has none.
    """

    def __init__(
        self,
        book: LedgerBook,
        hold: Hold,
        number: int,
        *,
        emit: Emit = ignore,
        patience: float = 300.0,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book, self._hold, self._number = book, hold, number
        self._emit, self._patience = emit, patience
        self._sleep, self._monotonic = sleep, monotonic

    def read(self, after: int) -> list[JournalEntry]:
        """See `Book.read`; raises `RolloutTakenError` when another controller has the rollout."""

        def once(_: bool) -> list[JournalEntry]:
            self._keep()
            return self._book.read(after)

        return self._known(self._patiently(once))

    def write(
        self, entries: Sequence[NewEntry], rollout: Rollout, ends: Sequence[HostEnd] = ()
    ) -> list[JournalEntry]:
        """See `Book.write`."""

        def once(again: bool) -> list[JournalEntry]:
            if again:
                self._keep()
                if there := self._there(entries):
                    return there
            return self._book.write(entries, rollout, ends)

        if all(entry.kind is EntryKind.STOPPED for entry in entries):
            # Who says goodbye waits for nobody.
            return self._known(once(False))
        return self._known(self._patiently(once))

    def _patiently(self, act: Callable[[bool], list[JournalEntry]]) -> list[JournalEntry]:
        began, pause, again = self._monotonic(), 1.0, False
        while True:
            try:
                made = act(again)
            except _FINAL:
                raise
            except FleetError as error:
                if self._monotonic() - began >= self._patience:
                    self._patience = 0
                    raise
                if not again:
                    self._say("the ledger", f"{error.message}; nothing is begun until it is back")
                again = True
                self._sleep(pause)
                pause = min(2 * pause, 10.0)
                continue
            if again:
                self._say("the ledger", "")
            return made

    def _keep(self) -> None:
        if self._hold.lost() and not self._hold.retake():
            raise RolloutTakenError(
                "the connection to the ledger was lost, and another controller has taken the "
                "rollout up",
                hint="follow it: bootcfleet rollout watch",
            )

    def _there(self, entries: Sequence[NewEntry]) -> list[JournalEntry]:
        """`entries` as they are in the journal after all, or nothing."""
        wanted = [(entry.kind, entry.host, json.dumps(entry.body)) for entry in entries]
        news = self._book.read(self._number)
        found = [(entry.kind, entry.host, json.dumps(entry.body)) for entry in news]
        for first in range(len(found) - len(wanted) + 1):
            if found[first : first + len(wanted)] == wanted:
                return news[first : first + len(wanted)]
        return []

    def _known(self, entries: list[JournalEntry]) -> list[JournalEntry]:
        if entries:
            self._number = max(self._number, entries[-1].number)
        return entries

    def _say(self, what: str, why: str) -> None:
        message = f"{what}: {why}" if why else ""
        data = {"rollout": self._book.rollout_id, "what": what, "why": why}
        self._emit(Event("rollout.waiting", "", message, data))
