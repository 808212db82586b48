"""Begins a rollout from its plan, or takes one up that another controller left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bootcfleet.domain.check import Check
from bootcfleet.domain.event import Emit, ignore
from bootcfleet.domain.rollout import Observation, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry
from bootcfleet.domain.rollout_replay import apply, record_of, replay
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.ledgerhold import Hold
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError, RolloutHaltedError
from bootcfleet.ops.audit import current_actor, recorder_into
from bootcfleet.ops.controller import Controller
from bootcfleet.ops.rollout_book import LedgerBook
from bootcfleet.ops.rollout_events import RolloutVoice
from bootcfleet.ops.rollout_patience import PatientBook
from bootcfleet.ops.rollout_plan import Plan
from bootcfleet.ops.workers import Workers


@dataclass(frozen=True)
class Office:
    """Where a controller works: its ledger, from which commit, what listens.

    Local hooks run in `directory`, the project's.
    """

    ledger: Ledger
    commit: str | None = None
    emit: Emit = ignore
    directory: str = ""
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def book(self, rollout_id: str) -> LedgerBook:
        """The book of a rollout in this ledger."""
        return LedgerBook(
            self.ledger,
            rollout_id,
            recorder_into(self.ledger, self.commit),
            actor=current_actor(),
            clock=self.clock,
        )


def begin_rollout(
    plan: Plan,
    workers: Workers,
    office: Office,
    *,
    checks: Mapping[str, tuple[Check, ...]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Rollout:
    """Write a plan down and carry it out; returns how it ended.

    A ledger that cannot be written stops it before it begins.  Raises `KeyboardInterrupt`.
    """
    rollout = plan.rollout
    book = office.book(rollout.id)
    with _held(office, rollout.id) as hold:
        book.create(record_of(rollout, **(more or {})), rollout)
        return _run(rollout, book, hold, workers, office, checks or {}, dict(plan.observed))


def resume_rollout(
    rollout_id: str,
    workers: Callable[[Rollout], Workers],
    office: Office,
    *,
    checks: Callable[[Rollout], Mapping[str, tuple[Check, ...]]] | None = None,
    here: Callable[[Rollout], Rollout] = lambda rollout: rollout,
    unpause: bool = True,
) -> Rollout:
    """Take a rollout up where its journal left it; returns how it ended.

    `here` may change how its hosts are reached from this machine.

    Raises `FleetError` when a living controller has it, `UsageError` for no such rollout.
    """
    store = RolloutStore.open(office.ledger.db)
    record = store.record(rollout_id)
    book = office.book(rollout_id)
    with _held(office, rollout_id) as hold:
        rollout = here(replay(record, store.entries(rollout_id)))
        if rollout.outcome is not None:
            return rollout
        if rollout.paused is not None and unpause:
            reason = {"reason": "resumed"}
            made = book.write([NewEntry(EntryKind.UNPAUSED, "", reason)], rollout)
            rollout, heard = _taken(rollout, book, made)
            RolloutVoice(office.emit, rollout).entries(heard[:-1])
        return _run(
            rollout, book, hold, workers(rollout), office, checks(rollout) if checks else {}, {}
        )


@contextmanager
def _held(office: Office, rollout_id: str) -> Iterator[Hold]:
    """Nobody else's controller works on the rollout inside of this."""
    store = RolloutStore.open(office.ledger.db)
    with store.hold(rollout_id) as hold:
        if hold is None:
            raise FleetError(
                f"another controller works on rollout {rollout_id}",
                hint=f"look on with `bootcfleet rollout watch {rollout_id}`",
            )
        yield hold


def _run(
    rollout: Rollout,
    book: LedgerBook,
    hold: Hold,
    workers: Workers,
    office: Office,
    checks: Mapping[str, tuple[Check, ...]],
    seen: dict[str, Observation],
) -> Rollout:
    started, made = _taken(rollout, book, book.start())
    controller = Controller(
        started,
        PatientBook(book, hold, started.number, emit=office.emit),
        workers,
        emit=office.emit,
        owner=current_actor(),
        checks=checks,
        seen=seen,
        clock=office.clock,
        directory=office.directory,
    )
    return controller.run(made)


def _taken(
    rollout: Rollout, book: LedgerBook, made: Sequence[JournalEntry]
) -> tuple[Rollout, Sequence[JournalEntry]]:
    """The rollout after an entry of ours, and what was new: people may have asked for something
    between our reading and our writing, and an abort must not be passed over.
    """
    if made[0].number != rollout.number + 1:
        made = book.read(rollout.number)
    return apply(rollout, made), made


def raise_if_halted(rollout: Rollout) -> None:
    """Raise `RolloutHaltedError` (exit code 4) for a rollout that its policy stopped."""
    if rollout.halted:
        raise RolloutHaltedError(
            f"the {rollout.operation} halted: {rollout.halted}",
            hint=f"`bootcfleet rollout show {rollout.id}` has the evidence; when the cause is "
            f"gone: `bootcfleet rollout retry --rollout {rollout.id}`",
        )
