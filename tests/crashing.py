"""Controllers that die at a chosen moment, as by kill -9, and the world that they leave.

Nothing is told to anybody: the journal says no farewell, commands that were not sent are never
sent, and whoever takes the rollout up has connections of his own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bootcfleet.domain.judgement import HostReply
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_journal import JournalEntry, NewEntry, RolloutRecord
from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.simhost import SimHost
from bootcfleet.drivers.simrecord import What
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.hosttask import HostTask
from bootcfleet.ops.rollout_book import HostEnd, LedgerBook
from bootcfleet.ops.rollout_run import Office
from bootcfleet.ops.workers import Workers
from tests.simfleet import SimExecutor, SimFleet


class Killed(BaseException):
    """The controller is no more."""


class Moment(StrEnum):
    """When the controller dies: at a write of its journal, or at a command to a host."""

    #: What it was about to write is never written.
    BEFORE_WRITE = "before the write"
    #: It is on disk, and nothing was done about it.
    AFTER_WRITE = "after the write"
    #: All that runs has ended on the hosts, and nobody heard of it.
    ACTED = "before the write, when all has been done"
    BEFORE_COMMAND = "before the command"
    #: The host has done it.
    AFTER_COMMAND = "after the command"


@dataclass
class Doom:
    """When a controller dies: at the n-th (from 1) such moment; 0 is never."""

    moment: Moment = Moment.BEFORE_WRITE
    number: int = 0
    dead: bool = False
    writes: int = 0
    commands: int = 0
    running: set[Future[HostReply]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def live(self) -> None:
        """Raise `Killed` once it is dead."""
        if self.dead:
            raise Killed

    def die(self) -> None:
        """Die now."""
        self.dead = True
        raise Killed

    def write(self, moment: Moment) -> None:
        """A write is due, or has been made."""
        self.live()
        if moment is Moment.BEFORE_WRITE:
            self.writes += 1
        if self.writes != self.number:
            return
        if self.moment is Moment.ACTED and moment is Moment.BEFORE_WRITE:
            wait(list(self.running))
            self.die()
        if self.moment is moment:
            self.die()


class DoomedBook:
    """The book of a controller that may die at it."""

    def __init__(self, book: LedgerBook, doom: Doom) -> None:
        self._book, self._doom = book, doom

    def create(self, record: RolloutRecord, rollout: Rollout) -> None:
        """See `LedgerBook.create`."""
        self._doom.write(Moment.BEFORE_WRITE)
        self._book.create(record, rollout)
        self._doom.write(Moment.AFTER_WRITE)

    def start(self) -> list[JournalEntry]:
        """See `LedgerBook.start`."""
        self._doom.write(Moment.BEFORE_WRITE)
        made = self._book.start()
        self._doom.write(Moment.AFTER_WRITE)
        return made

    def write(
        self, entries: Sequence[NewEntry], rollout: Rollout, ends: Sequence[HostEnd] = ()
    ) -> list[JournalEntry]:
        """See `Book.write`."""
        self._doom.write(Moment.BEFORE_WRITE)
        made = self._book.write(entries, rollout, ends)
        self._doom.write(Moment.AFTER_WRITE)
        return made

    def read(self, after: int) -> list[JournalEntry]:
        """See `Book.read`."""
        self._doom.live()
        return self._book.read(after)


@dataclass(frozen=True)
class DoomedOffice(Office):
    """An office whose controllers may die."""

    doom: Doom = field(default_factory=Doom)

    def book(self, rollout_id: str) -> Any:
        """See `Office.book`."""
        return DoomedBook(super().book(rollout_id), self.doom)


class DoomedExecutor(SimExecutor):
    """A connection that is gone with its controller."""

    def __init__(self, host: SimHost, doom: Doom) -> None:
        super().__init__(host)
        self._doom = doom

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Executor.run`."""
        doom = self._doom
        with doom.lock:
            doom.live()
            doom.commands += 1
            last = doom.commands == doom.number
            if last and doom.moment is Moment.BEFORE_COMMAND:
                doom.die()
        try:
            return super().run(argv, timeout=timeout, stdin=stdin, as_root=as_root, on_line=on_line)
        finally:
            if last and doom.moment is Moment.AFTER_COMMAND:
                doom.die()
            doom.live()


class DoomedWorkers:
    """Workers whose running work is known."""

    def __init__(self, workers: Workers, doom: Doom) -> None:
        self._workers, self._doom = workers, doom

    def submit(self, task: HostTask) -> Future[HostReply]:
        """See `Workers.submit`."""
        self._doom.live()
        future = self._workers.submit(task)
        self._doom.running.add(future)
        future.add_done_callback(self._doom.running.discard)
        return future

    def room(self, running: int) -> int:
        """See `Workers.room`."""
        return self._workers.room(running)

    def stop(self) -> None:
        """See `Workers.stop`."""
        self._workers.stop()


class CrashFleet(SimFleet):
    """Simulated hosts whose controllers die."""

    doom = Doom()

    def connect(self) -> Fleet:
        """Connections of a controller, which end with it."""
        doom = self.doom
        return Fleet(self.hosts, lambda host: DoomedExecutor(self.sims[host.name], doom))

    def controller(self, doom: Doom) -> tuple[Office, Workers]:
        """A new controller: its office and its workers."""
        self.doom = doom
        office = DoomedOffice(self.ledger, None, emit=self.emit, doom=doom)
        return office, DoomedWorkers(self.workers(), doom)


@dataclass(frozen=True)
class Ended:
    """How a host is at the end, by what it says itself."""

    booted: str
    staged: str | None
    queued: bool
    reboots: int
    locked: bool
    in_use: bool
    """Not drained, or undrained since."""


@dataclass(frozen=True)
class Outcome:
    """What a rollout came to, and what the audit chain keeps of it."""

    outcome: str | None
    phases: Mapping[str, str]
    hosts: Mapping[str, Ended]
    audit: tuple[tuple[tuple[str, str, str], ...], ...]


def outcome(fleet: SimFleet, end: Rollout) -> Outcome:
    """What everybody says at the end; hosts of one wave stand in the order of their names."""
    ledger: Ledger = fleet.ledger
    assert ledger.verify() is None
    waves = {host: wave.number for wave in end.waves for host in wave.hosts}
    pieces: list[tuple[int, list[tuple[str, str, str]]]] = []
    for entry in ledger.entries():
        number = waves.get(entry.subject, -1 - len(pieces))
        if not pieces or pieces[-1][0] != number:
            pieces.append((number, []))
        pieces[-1][1].append((entry.action, entry.subject, entry.outcome))
    return Outcome(
        end.outcome,
        {name: str(end.state(name).phase) for name in fleet.sims},
        {name: ended(sim) for name, sim in fleet.sims.items()},
        tuple(tuple(sorted(piece)) for _, piece in pieces),
    )


def ended(sim: SimHost) -> Ended:
    """How a host is now."""
    drains = [e.what for e in sim.history if e.what in (What.DRAINED, What.UNDRAINED)]
    return Ended(
        booted=str(sim.booted.image.digest),
        staged=str(sim.staged.image.digest) if sim.staged else None,
        queued=sim.rollback_queued,
        reboots=sim.reboots,
        locked="/var/lib/bootcfleet/lock.json" in sim.files,
        in_use=not drains or drains[-1] is What.UNDRAINED,
    )
