"""The controller of a rollout: it asks what to do, writes it down, does it, and looks again.

It keeps nothing that matters but the journal.  Killed at any moment, another one takes up
the same rollout, looks at the hosts, and goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bootcfleet.domain.action import Action, ActionKind, GateAnswer, World
from bootcfleet.domain.check import Check
from bootcfleet.domain.event import Emit, ignore
from bootcfleet.domain.judgement import HostReply, Problem, judge
from bootcfleet.domain.rollout import ENDS, HostPhase, Observation, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry, WavePhase
from bootcfleet.domain.rollout_replay import apply, host_entry, wave_entry
from bootcfleet.domain.rollout_step import next_actions
from bootcfleet.domain.rollout_wave import halt
from bootcfleet.drivers.rolloutstore import RolloutTakenError
from bootcfleet.errors import FleetError, HostFault
from bootcfleet.ops.hosttask import HostTask
from bootcfleet.ops.rollout_book import Book, HostEnd
from bootcfleet.ops.rollout_events import RolloutVoice
from bootcfleet.ops.wavework import WaveReply, ask, run_wave_hook
from bootcfleet.ops.workers import Workers

#: Seconds between two looks at what people ask for.
_REQUESTS = 1.0
#: Replies that come within this many seconds are written down together.
_BATCH = 0.02


@dataclass
class Controller:
    """One rollout under way.

    `workers` do the actions with hosts, `book` is the journal, `seen` what is known of the hosts
    from the plan.  `stop()` (from a signal handler or another thread) starts nothing more.
    """

    rollout: Rollout
    book: Book
    workers: Workers
    emit: Emit = ignore
    owner: str = ""
    directory: str = ""
    checks: Mapping[str, tuple[Check, ...]] = field(default_factory=dict)
    seen: dict[str, Observation] = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    idle: Callable[[float], None] = time.sleep
    _gates: dict[str, GateAnswer] = field(default_factory=dict)
    _looked: dict[str, datetime] = field(default_factory=dict)
    _baked: set[str] = field(default_factory=set)
    _released: set[str] = field(default_factory=set)
    _running: dict[Future[HostReply], Action] = field(default_factory=dict)
    _wavework: dict[Future[WaveReply], Action] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._voice = RolloutVoice(self.emit, self.rollout)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="wave")
        self._asked = 0.0

    def stop(self) -> None:
        """Start nothing more; `run` returns once this has been noticed."""
        self._stopped.set()

    def run(self, news: Sequence[JournalEntry] = ()) -> Rollout:
        """Carry the rollout out to its end, or to `stop`; returns how far it came.

        `news` are entries that the rollout has in it already and that nobody was told of.
        Raises `KeyboardInterrupt` on ^C, with the journal saying so; whatever the book raises
        when it cannot be written: nothing is done that was not written down.
        """
        try:
            self._voice.entries(news)
            while not self._stopped.is_set() and self.rollout.outcome is None:
                self._requests()
                self._collect()
                self._step()
        except BaseException as error:
            self.workers.stop()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._let_go(error)
            raise
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.workers.stop()
        if self.rollout.outcome is None:
            self._let_go(None)
        return self.rollout

    def _step(self) -> None:
        now = self.clock()
        step = next_actions(self.rollout, self._world(), now)
        if step.entries:
            self._write(step.entries)
            return
        self._voice.waiting(step.waiting)
        self._begin(step.actions)
        self._wait(step.wake, now)

    def _world(self) -> World:
        busy = {action.key for action in self._running.values()}
        busy |= {action.key for action in self._wavework.values()}
        return World(
            seen=self.seen,
            busy=busy,
            room=self.workers.room(len(self._running)),
            gates=self._gates,
            looked=self._looked,
            baked=self._baked,
            released=self._released,
        )

    def _begin(self, actions: Sequence[Action]) -> None:
        """Write all intents down in one piece, then begin."""
        intents = [
            host_entry(action.host, action.state)
            for action in actions
            if action.host and action.state != self.rollout.state(action.host)
        ]
        if actions and not intents:
            # The intent is older: whether the rollout is still ours only a look can tell.
            self._take(self.book.read(self.rollout.number))
        self._write(intents)
        for action in actions:
            if action.kind is ActionKind.GATE:
                gate = next(g for g in self.rollout.policy.gates if g.name == action.when)
                self._wavework[self._pool.submit(ask, gate, self.clock)] = action
            elif action.kind is ActionKind.HOOK:
                work = self._pool.submit(run_wave_hook, self.rollout, action, self.directory)
                self._wavework[work] = action
            else:
                self._voice.action(action)
                self._running[self.workers.submit(self._task(action))] = action

    def _task(self, action: Action) -> HostTask:
        rollout, host = self.rollout, action.host
        late = action.kind is ActionKind.PLAN
        return HostTask(
            action=action,
            host=rollout.hosts[host],
            target=rollout.targets.get(host),
            operation=rollout.operation,
            policy=rollout.policy,
            rollout=rollout.id,
            owner=self.owner,
            wave=self._voice.wave_of(host),
            wave_number=self._voice.number_of(host),
            directory=self.directory,
            checks=self.checks.get(host, ()) if action.kind is ActionKind.CHECK else (),
            resolved=rollout.resolved if late else {},
            reference=rollout.reference,
        )

    def _collect(self) -> None:
        """What has ended since: judge it, write it down, all in one piece."""
        entries: list[NewEntry] = []
        now = self.clock()
        for future in [future for future in self._running if future.done()]:
            action = self._running.pop(future)
            reply = _reply_of(future)
            self._remember(action, reply, now)
            entries += judge(self.rollout, action, reply, now)
            if reply.problem is not None:
                self._voice.problem(action, reply.problem)
        for done in [future for future in self._wavework if future.done()]:
            entries += self._wave_reply(self._wavework.pop(done), done.result())
        self._write(entries)

    def _remember(self, action: Action, reply: HostReply, now: datetime) -> None:
        host = action.host
        if reply.seen is not None:
            self.seen[host] = reply.seen
        elif reply.problem is not None:
            # What was known of it before may no longer hold.
            self.seen.pop(host, None)
            self._looked[host] = now
        if action.kind is ActionKind.BAKE:
            self._baked.add(host)
        elif action.kind is ActionKind.RELEASE:
            self._released.add(host)

    def _wave_reply(self, action: Action, reply: WaveReply) -> list[NewEntry]:
        if isinstance(reply, GateAnswer):
            self._gates[action.when] = reply
            self._voice.gate(action, reply)
            return []
        if reply is not None:
            return [halt(self.rollout, f"the hook {action.reason} failed: {reply}")]
        phase = WavePhase.RUNNING if action.when == "before" else WavePhase.DONE
        return [wave_entry(action.wave, phase)]

    def _write(self, entries: Sequence[NewEntry]) -> None:
        """Write entries down, then believe them."""
        if not entries:
            return
        self._take(self.book.write(entries, self.rollout, tuple(self._ends(entries))))

    def _take(self, made: Sequence[JournalEntry]) -> None:
        # Requests of others may have been written in between; then all of it is read.
        if made and made[0].number != self.rollout.number + 1:
            made = self.book.read(self.rollout.number)
        if taken := next((entry for entry in made if entry.kind is EntryKind.STARTED), None):
            # It believed us dead. Not everything that is done is preceded by a write.
            raise RolloutTakenError(
                f"the rollout {self.rollout.id} was taken up by "
                f"{taken.body.get('controller', taken.actor)}",
                hint=f"follow it: bootcfleet rollout watch {self.rollout.id}",
            )
        self.rollout = apply(self.rollout, made)
        self._voice.entries(made)
        for entry in made:
            if entry.kind is EntryKind.RETRY:
                # They are looked at anew, and given up anew.
                self._released.clear()
                self._baked.clear()
                self._gates.clear()
            elif entry.kind is EntryKind.HOST and HostPhase(entry.body["phase"]) not in ENDS:
                # Retried, or come back late: it will be locked again.
                self._released.discard(entry.host)

    def _ends(self, entries: Iterable[NewEntry]) -> Iterable[HostEnd]:
        for entry in entries:
            if entry.kind is not EntryKind.HOST:
                continue
            phase = HostPhase(entry.body["phase"])
            if phase in ENDS and phase is not self.rollout.state(entry.host).phase:
                target = self.rollout.targets.get(entry.host)
                seen = self.seen.get(entry.host)
                yield HostEnd(
                    entry.host,
                    phase,
                    str(entry.body.get("message", "")),
                    (target.before if target else None) or "",
                    (seen.booted if seen else None) or "",
                )

    def _requests(self) -> None:
        """What people have asked for since, from this machine or another."""
        if time.monotonic() - self._asked < _REQUESTS:
            return
        self._asked = time.monotonic()
        self._take(self.book.read(self.rollout.number))

    def _wait(self, wake: datetime | None, now: datetime) -> None:
        """Until something has happened, but never longer than until the next look at requests."""
        if self.rollout.outcome is not None:
            return
        limit = _REQUESTS if wake is None else min(_REQUESTS, (wake - now).total_seconds())
        running: list[Future[Any]] = [*self._running, *self._wavework]
        if not running:
            self.idle(max(0.0, limit))
            return
        wait(running, timeout=max(0.0, limit), return_when=FIRST_COMPLETED)
        if len(running) > 1:
            time.sleep(_BATCH)

    def _let_go(self, error: BaseException | None) -> None:
        """Say in the journal that this controller is gone, where that is still possible."""
        plain = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
        reason = str(error or "") or plain
        try:
            self._write([NewEntry(EntryKind.STOPPED, "", {"reason": reason})])
        except (FleetError, KeyboardInterrupt):
            # The rollout is as the journal has it; `resume` needs no farewell.
            return


def _reply_of(future: Future[HostReply]) -> HostReply:
    """What a task brought; a worker that died with it is a connection that was lost."""
    try:
        return future.result()
    except (Exception, CancelledError) as error:  # noqa: BLE001 - executors raise their own kinds
        what = f"its worker was lost ({type(error).__name__}: {error})"
        return HostReply(problem=Problem(HostFault.CONNECTION_LOST, what))
