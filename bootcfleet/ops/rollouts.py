"""The rollouts in the ledger: looked at, and asked to pause, go on, start a wave, or end.

A request is an entry of the journal.  The controller, wherever it runs, takes it in when it
next looks, so that any process that reaches the ledger may ask.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bootcfleet.domain.inventory import Host
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_journal import (
    PULL,
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
    RolloutSummary,
)
from bootcfleet.domain.rollout_replay import DamagedRolloutError, apply, replay
from bootcfleet.domain.rollout_request import RequestRefusedError
from bootcfleet.domain.rollout_standing import (
    TO_RESUME,
    Controller,
    Standing,
    controller_of,
    standing_of,
)
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.audit import Record, current_actor, open_ledger, project_commit, recorder_into
from bootcfleet.ops.project import LoadedProject

#: What a request is called in the ledger.
ACTIONS = {
    EntryKind.PAUSED: "rollout.pause",
    EntryKind.UNPAUSED: "rollout.resume",
    EntryKind.APPROVED: "rollout.approve",
    EntryKind.ABORTED: "rollout.abort",
    EntryKind.RETRY: "rollout.retry",
}


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of a project, or of the user outside of one."""

    ledger: Ledger
    store: RolloutStore
    record: Record
    actor: str
    clock: Callable[[], datetime] = _now


@contextmanager
def open_rollouts(loaded: LoadedProject | None) -> Iterator[Rollouts]:
    """The rollouts in the ledger, which is open as long.  Raises `FleetError`."""
    commit = project_commit(loaded)
    ledger = open_ledger(loaded)
    try:
        store = RolloutStore.open(ledger.db)
        yield Rollouts(ledger, store, recorder_into(ledger, commit), current_actor())
    finally:
        ledger.close()


@dataclass(frozen=True)
class Look:
    """A rollout as its journal has it now; `held`: a living controller carries it out."""

    record: RolloutRecord
    rollout: Rollout
    entries: tuple[JournalEntry, ...]
    held: bool
    summary: RolloutSummary = field(default_factory=RolloutSummary)

    @property
    def pull(self) -> bool:
        """Whether the hosts follow channels by themselves, and the channels are what moves."""
        return self.record.operation == PULL

    def advance(self, entries: Sequence[JournalEntry]) -> Look:
        """The rollout with the entries that came since.  Raises `FleetError`."""
        whole = (*self.entries, *entries)
        rollout = _pulled(self.record, whole) if self.pull else apply(self.rollout, entries)
        summary = RolloutSummary.of(entries)
        newest = {**self.summary.newest, **summary.newest}
        return replace(
            self,
            rollout=rollout,
            entries=whole,
            summary=RolloutSummary(summary.entries or self.summary.entries, newest),
        )

    @property
    def standing(self) -> Standing:
        """Where it stands."""
        return standing_of(self.summary, held=self.held)

    @property
    def controller(self) -> Controller | None:
        """Who carries it out, or did last."""
        return controller_of(self.summary)


def choose(rollouts: Rollouts, text: str | None, *, idle: bool = False) -> str:
    """The rollout that is meant: `text`, or the only one that it can be; the last if none is open.

    Those that a controller carries out go before the others, with `idle` those that wait for
    somebody to resume them.  Raises `UsageError` when it can be several.
    """
    if text:
        return text
    found = rollouts.store.all(open_only=True)
    if not found:
        return "last"
    ids = [record.id for record, _ in found]
    fitting = []
    for record, summary in found:
        standing = standing_of(summary, held=rollouts.store.held(record.id))
        waits = standing in TO_RESUME or standing is Standing.PAUSED
        if waits if idle else standing not in TO_RESUME:
            fitting.append(record.id)
    for some in (fitting, ids):
        if len(some) == 1:
            return some[0]
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    raise UsageError(
        f"{len(ids)} rollouts are open",
        hint=f"say which: {', '.join(ids[:5])}{more} (bootcfleet rollout list --open)",
    )


def look(rollouts: Rollouts, text: str) -> Look:
    """A rollout by its id, the beginning of it, or ``last``.

    Raises `UsageError` where there is none, `FleetError` for a journal that cannot be read.
    """
    record = rollouts.store.find(text)
    # Asked first: who ends in between has written its end by then.
    held = rollouts.store.held(record.id)
    entries = tuple(rollouts.store.entries(record.id))
    pull = record.operation == PULL
    rollout = _pulled(record, entries) if pull else replay(record, entries)
    return Look(record, rollout, entries, held, RolloutSummary.of(entries))


def _pulled(record: RolloutRecord, entries: Sequence[JournalEntry]) -> Rollout:
    # They bring channels and registries with them, which no other rollout needs.
    from bootcfleet.domain.pull_rollout import as_rollout, read_plan

    try:
        return as_rollout(read_plan(record), record, entries)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRolloutError(
            f"the journal of the rollout {record.id} cannot be read",
            hint="a newer bootcfleet may have written it: upgrade this one",
            details=str(error).splitlines()[:1],
        ) from error


def request(
    rollouts: Rollouts, found: Look, make: Callable[[Rollout], NewEntry]
) -> tuple[JournalEntry, Rollout]:
    """Append what `make` says of the rollout as it is then, and record it; both or neither.

    Returns the entry and the rollout with it.  Raises what `make` raises, and `FleetError`.
    """
    store, rollout_id = rollouts.store, found.record.id
    with rollouts.ledger.db.write():
        # The long journal was read before; what came since is little, and nobody adds to it now.
        now = found.advance(store.entries(rollout_id, after=found.rollout.number))
        new = make(now.rollout)
        if found.pull:
            new = _to_pull(found, new)
        (entry,) = store.append(rollout_id, [new], at=rollouts.clock(), actor=rollouts.actor)
        details = {key: value for key, value in entry.body.items() if value not in ("", False)}
        rollouts.record(
            ACTIONS[entry.kind],
            rollout_id,
            "done",
            digests={},
            details=details | ({"host": entry.host} if entry.host else {}),
        )
        return entry, now.advance([entry]).rollout


def _to_pull(found: Look, new: NewEntry) -> NewEntry:
    """A request as a rollout in pull mode takes it.  Raises `RequestRefusedError`."""
    if new.kind is EntryKind.RETRY:
        raise RequestRefusedError(
            f"the hosts of the rollout {found.record.id} try again by themselves: it is in pull "
            "mode",
            hint="see how they are: bootcfleet fleet status",
        )
    if new.kind is EntryKind.ABORTED:
        # Its channels go back in any case, and its journal says who aborted it.
        reason = str(new.body["reason"]).removeprefix("aborted").removeprefix(": ")
        return replace(new, body={"reason": reason, "unwind": True})
    return new


def require_here(rollouts: Rollouts, found: Look) -> None:
    """Raise `FleetError` for a rollout that must not be taken up on this machine.

    The lock of a ledger that is a file is seen on one machine alone: elsewhere, a living
    controller would look dead.
    """
    last = found.controller
    if rollouts.store.shared or last is None or last.machine == socket.gethostname():
        return
    stopped = found.summary.number(EntryKind.STOPPED) > found.summary.number(EntryKind.STARTED)
    if stopped:
        return
    raise FleetError(
        f"the rollout {found.record.id} was begun on {last.machine}, and this ledger is a file: "
        f"whether that controller still lives cannot be seen from {socket.gethostname()}",
        hint=f"resume it on {last.machine}; for rollouts that several machines may take up, put "
        "the ledger into PostgreSQL (docs/ledger.md)",
    )


def reached_by(rollout: Rollout, known: Sequence[Host]) -> Rollout:
    """The rollout with the connections of `known` hosts; the others stay as in its plan."""
    mine = {host.name: host.connection for host in known}
    hosts = {
        name: replace(host, connection=mine.get(name, host.connection))
        for name, host in rollout.hosts.items()
    }
    return replace(rollout, hosts=hosts)


@dataclass(frozen=True)
class Overlap:
    """An open rollout, and which of the hosts that somebody wants to move it has not done with."""

    record: RolloutRecord
    hosts: tuple[str, ...]

    @property
    def text(self) -> str:
        """Who, in which rollout of whom."""
        shown, more = ", ".join(self.hosts[:5]), len(self.hosts) - 5
        names = f"{shown}{f' and {more} more' if more > 0 else ''}"
        verb = "is" if len(self.hosts) == 1 else "are"
        return (
            f"{names} {verb} in the open rollout {self.record.id} "
            f"({self.record.operation}) of {self.record.actor}"
        )


def overlaps(rollouts: Rollouts, hosts: Collection[str]) -> list[Overlap]:
    """The open rollouts that still have something to do with one of `hosts`.

    A host is locked only once its turn has come; until then this ledger knows of it.
    Raises `FleetError` for a journal that cannot be read.
    """
    found = []
    for record, _ in rollouts.store.all(open_only=True):
        if record.operation == PULL:
            continue
        rollout = look(rollouts, record.id).rollout
        left = tuple(
            name for name in hosts if name in rollout.targets and not rollout.state(name).ended
        )
        if left:
            found.append(Overlap(record, left))
    return found
