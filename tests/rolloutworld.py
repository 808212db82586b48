"""A fleet in memory that does what a rollout's actions say, in time of its own.

No threads and no clock: actions take a while, may fail, and the controller may be killed at
any moment.  Hosts keep their own record of when they were away, so that budgets are judged by
what happened to them, and not by what the controller believes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bootcfleet.domain.action import Action, ActionKind, GateAnswer, World
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.judgement import HostReply, Problem, judge
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
)
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry, WavePhase
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.rollout_replay import apply, begin, host_entry, record_of, wave_entry
from bootcfleet.domain.rollout_step import next_actions
from bootcfleet.domain.waves import plan_waves
from bootcfleet.errors import HostFault

OLD, NEW, OTHER = ("sha256:" + c * 64 for c in "abc")
START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@dataclass
class FakeHost:
    """A host: its slots, what is wrong with it, and its own record of being away."""

    name: str
    booted: str = OLD
    staged: str | None = None
    rollback: str | None = None
    queued: bool = False
    held: bool = False
    boots: int = 0
    sick_on: frozenset[str] = frozenset()
    #: Kind of action → faults that the next ones of that kind end with.
    faults: dict[ActionKind, list[HostFault]] = field(default_factory=dict)
    returns_old: bool = False
    lost: bool = False
    away: list[tuple[datetime, str]] = field(default_factory=list)
    drained: bool = False
    drains: int = 0
    zone: str | None = None

    def seen(self) -> Observation:
        return Observation(
            f"{self.name}-{self.boots}",
            self.booted,
            self.staged,
            self.rollback,
            self.queued,
            download_only=self.held,
        )

    def reboot(self) -> None:
        self.boots += 1
        if self.queued:
            self.booted, self.rollback = self.rollback or self.booted, self.booted
        elif self.staged and not self.held and not self.returns_old:
            self.booted, self.rollback = self.staged, self.booted
        self.staged, self.queued, self.held = None, False, False


@dataclass
class Play:
    """A rollout played against fake hosts."""

    rollout: Rollout
    hosts: dict[str, FakeHost]
    random: random.Random
    now: datetime = START
    room: int = 10
    kill_rate: float = 0.0
    gate: Callable[[datetime], bool | None] = lambda _now: True
    #: Kinds of action, also of one host ("check h1") → seconds; others take up to a minute.
    takes: dict[str, float] = field(default_factory=dict)
    journal: list[JournalEntry] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    log: list[tuple[datetime, str, str]] = field(default_factory=list)
    on_tick: Callable[[Play], None] = lambda _play: None
    kills: int = 0

    def __post_init__(self) -> None:
        self.first = begin(record_of(self.rollout))
        self.rollout = self.first
        self._forget(keep_seen=True)

    def _forget(self, *, keep_seen: bool = False) -> None:
        self.seen = {n: h.seen() for n, h in self.hosts.items()} if keep_seen else {}
        self.gates: dict[str, GateAnswer] = {}
        self.looked: dict[str, datetime] = {}
        self.baked: set[str] = set()
        self.released: set[str] = set()
        self.queue: list[tuple[datetime, int, Action, Callable[[], HostReply]]] = []
        self.count = 0

    def kill(self) -> None:
        """The controller is gone; what it had begun on hosts goes on there."""
        self.kills += 1
        for _, _, action, act in self.queue:
            # A command that was sent has its effect; nobody hears of it.  Or it was not sent.
            if action.host and self.random.random() < 0.5:
                act()
            elif action.kind in (ActionKind.REBOOT, ActionKind.DRAIN):
                host = self.hosts[action.host]
                if not host.drained and host.booted not in host.sick_on:
                    host.away.append((self.now, "back"))
        self._forget()
        self.rollout = apply(self.first, self.journal)

    def request(self, kind: EntryKind, host: str = "", **body: Any) -> None:
        self.write([NewEntry(kind, host, body)])

    def write(self, entries: list[NewEntry]) -> None:
        made = []
        for entry in entries:
            number = len(self.journal) + 1
            made.append(JournalEntry(number, self.now, entry.kind, entry.host, "me", entry.body))
            self.journal.append(made[-1])
        self.rollout = apply(self.rollout, made)

    def run(self, limit: int = 3_000) -> Rollout:
        for _ in range(limit):
            if self.rollout.outcome is not None:
                return self.rollout
            self.on_tick(self)
            if self.kills < 40 and self.random.random() < self.kill_rate:
                self.kill()
                continue
            self.step()
        raise AssertionError(f"it does not end: {self.waiting} {self.rollout.states}")

    def step(self) -> None:
        busy = {action.key for _, _, action, _ in self.queue}
        world = World(
            seen=self.seen,
            busy=busy,
            room=self.room - len(self.queue),
            gates=self.gates,
            looked=self.looked,
            baked=self.baked,
            released=self.released,
        )
        step = next_actions(self.rollout, world, self.now)
        if step.entries:
            self.write(list(step.entries))
            return
        self.waiting = [f"{w.what}: {w.why}" for w in step.waiting]
        intents = [
            host_entry(a.host, a.state)
            for a in step.actions
            if a.host and a.state != self.rollout.state(a.host)
        ]
        if intents:
            self.write(intents)
            if self.kills < 40 and self.random.random() < self.kill_rate:
                self.kill()
                return
        for action in step.actions:
            assert action.key not in busy, f"{action} is begun twice"
            busy.add(action.key)
            self.count += 1
            seconds = self.takes.get(action.kind) or self.random.uniform(0.5, 60)
            took = timedelta(seconds=self.takes.get(f"{action.kind} {action.key}", seconds))
            self.log.append((self.now, str(action.kind), action.key))
            act = self.prepare(action)
            heapq.heappush(self.queue, (self.now + took, self.count, action, act))
        if self.queue and (step.wake is None or self.queue[0][0] <= step.wake):
            self.now = max(self.now, self.queue[0][0])
            self.finish(heapq.heappop(self.queue))
        elif step.wake is not None:
            self.now = max(self.now + timedelta(milliseconds=1), step.wake)
        else:
            self.now += timedelta(seconds=30)

    def finish(self, item: tuple[datetime, int, Action, Callable[[], HostReply]]) -> None:
        _, _, action, act = item
        if action.kind is ActionKind.GATE:
            ok = self.gate(self.now)
            answer = GateAnswer(bool(ok), "the rate", self.now, answered=ok is not None)
            self.gates[action.when] = answer
            return
        if action.kind is ActionKind.HOOK:
            phase = WavePhase.RUNNING if action.when == "before" else WavePhase.DONE
            self.write([wave_entry(action.wave, phase)])
            return
        reply = act()
        if reply.seen is not None:
            self.seen[action.host] = reply.seen
        elif reply.problem is not None:
            self.seen.pop(action.host, None)
            self.looked[action.host] = self.now
        if action.kind is ActionKind.BAKE:
            self.baked.add(action.host)
        if action.kind is ActionKind.RELEASE:
            self.released.add(action.host)
        self.write(judge(self.rollout, action, reply, self.now))

    def prepare(self, action: Action) -> Callable[[], HostReply]:
        """What the action will have done once it has ended; a reboot takes the host away now."""
        host = self.hosts.get(action.host)
        if host is None:
            return lambda: HostReply()
        if action.kind in (ActionKind.REBOOT, ActionKind.DRAIN):
            host.away.append((self.now, "away"))
        done: list[HostReply] = []

        def act() -> HostReply:
            if not done:
                done.append(self.act(host, action))
            return done[0]

        return act

    def act(self, host: FakeHost, action: Action) -> HostReply:
        kind = action.kind
        if host.lost and kind is not ActionKind.CONCLUDE:
            fault = HostFault.UNREACHABLE
            if action.state.phase in (HostPhase.REBOOTING, HostPhase.REVERTING):
                fault = HostFault.DID_NOT_RETURN
            return HostReply(problem=Problem(fault, "gone"))
        if host.faults.get(kind):
            return HostReply(problem=Problem(host.faults[kind].pop(0), "a fault"))
        target = self.rollout.targets.get(host.name)
        match kind:
            case ActionKind.STAGE:
                host.staged, host.held = NEW, False
            case ActionKind.QUEUE_ROLLBACK:
                host.queued = not host.queued
                host.staged = None
            case ActionKind.DISCARD:
                if host.queued:
                    host.queued = False
                if host.rollback:
                    host.staged = None
            case ActionKind.REBOOT:
                assert target is not None
                expected = action.state.bad_boot_id or target.boot_id
                if action.state.phase is not HostPhase.REVERTING:
                    expected = target.boot_id
                if host.seen().boot_id == expected:
                    host.reboot()
                    if host.booted not in host.sick_on and not host.drained:
                        host.away.append((self.now, "back"))
                    if HostFault.DID_NOT_RETURN in host.faults.get(ActionKind.CONCLUDE, []):
                        host.lost = True
                        host.away.append((self.now, "away"))
                        return HostReply(problem=Problem(HostFault.DID_NOT_RETURN, "gone"))
            case ActionKind.CHECK | ActionKind.BAKE:
                bad = ("sick",) if host.booted in host.sick_on else ()
                return HostReply(seen=host.seen(), failures=bad)
            case ActionKind.DRAIN:
                host.drained = True
                host.drains += 1
                return HostReply()
            case ActionKind.UNDRAIN:
                host.drained = False
                if host.booted not in host.sick_on:
                    host.away.append((self.now, "back"))
                return HostReply()
            case ActionKind.EVIDENCE:
                return HostReply(evidence={})
            case ActionKind.RELEASE:
                return HostReply()
            case ActionKind.PLAN:
                if host.booted == NEW and not host.staged:
                    state = HostState(HostPhase.UNCHANGED, "already runs it")
                    return HostReply(seen=host.seen(), state=state)
                return HostReply(seen=host.seen(), target=plan_for(host))
            case _:
                pass
        return HostReply(seen=host.seen())

    def most_away(self, names: set[str] | None = None) -> int:
        """The most hosts of `names` that were away at one moment, by their own records."""
        marks = []
        for name, host in self.hosts.items():
            if names is not None and name not in names:
                continue
            out = False
            for at, what in host.away:
                if what == "away" and not out:
                    marks.append((at, 1))
                    out = True
                elif what == "back" and out:
                    marks.append((at, -1))
                    out = False
        most = level = 0
        for _, change in sorted(marks, key=lambda mark: (mark[0], mark[1])):
            level += change
            most = max(most, level)
        return most


def plan_for(host: FakeHost) -> Target:
    return Target(
        host.name, "r.example/x:1", frozenset({NEW}), host.booted, host.seen().boot_id, "planned",
        zone=host.zone,
    )  # fmt: skip


def play(
    hosts: Mapping[str, Mapping[str, str]] | int,
    policy: RolloutPolicy,
    *,
    seed: int = 0,
    operation: Operation = Operation.UPGRADE,
    room: int = 10,
    fakes: Mapping[str, FakeHost] | None = None,
    zones: Mapping[str, str] | None = None,
    offline: Collection[str] = (),
) -> Play:
    """A rollout that has been planned; hosts of `offline` could not be asked then."""
    labels = {f"h{n}": {} for n in range(hosts)} if isinstance(hosts, int) else hosts
    known = {name: Host(name, labels=dict(own)) for name, own in labels.items()}
    fleet = {name: (fakes or {}).get(name) or FakeHost(name) for name in labels}
    targets = {}
    for name, fake in fleet.items():
        fake.zone = (zones or {}).get(name)
        target = plan_for(fake)
        if operation is Operation.ROLLBACK:
            target = replace(target, accepted=frozenset({fake.rollback or NEW}))
        elif operation is Operation.REBOOT:
            target = replace(target, accepted=frozenset({fake.booted}))
        targets[name] = target
    states = {}
    for name in offline:
        del targets[name]
        fleet[name].lost = True
        fault = HostFault.UNREACHABLE
        states[name] = HostState(HostPhase.DEFERRED, "no answer", fault=fault, down=True)
    first = [host for name, host in known.items() if name in targets]
    waves = plan_waves([*first, *(known[name] for name in states)], policy)
    rollout = Rollout(
        "r1", operation, policy, waves, targets, states, hosts=known, began=START, actor="me"
    )
    return Play(rollout, fleet, random.Random(seed), room=room)
