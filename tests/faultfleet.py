"""Simulated hosts that break at a chosen moment of a rollout, and the laws that hold whatever
happens to them.

What the laws say of hosts is read from the hosts: their own histories tell when each was away.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from bootcfleet.domain.event import Event
from bootcfleet.domain.faults import NUMBERED, Fault, FaultSpec
from bootcfleet.domain.rollout import ENDS, FAILURES, HostPhase, Rollout
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.simhost import LOCK
from bootcfleet.drivers.simrecord import HistoryEntry, What, away
from bootcfleet.drivers.simtimer import SimTimers
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.fleet import Fleet
from tests.simfleet import NEW, OLD, SimExecutor, SimFleet


class When(StrEnum):
    """When a host breaks."""

    PLAN = "before the plan"
    BEGIN = "after the plan"
    STAGED = "staged"
    DRAINING = "draining"
    REBOOT = "rebooting"
    CHECK = "checking"
    REVERT = "reverting"


#: Numbers that a test has the time for; of those that are counted, how often.
NUMBERS = {
    Fault.RETURNS_AFTER: 0.2,
    Fault.CLOCK_SKEW: 7200.0,
    Fault.REGISTRY_5XX: 2.0,
    Fault.RATE_LIMITED: 2.0,
    Fault.SLOW_PULL: 0.2,
    Fault.LOCK_HELD_FOR: 0.2,
}
assert set(NUMBERS) == set(NUMBERED)

#: The host does something by itself that no controller could have kept within a budget.
OF_ITS_OWN = frozenset({Fault.TIMER_ACTIVE, Fault.TIMER_MOVES})


def spec(fault: Fault) -> FaultSpec:
    """A fault with its number."""
    return FaultSpec(fault, NUMBERS.get(fault, 0.0))


class FaultExecutor(SimExecutor):
    """A connection with the faults that are one's own, and no patience with a silent host."""

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
        host = self._host
        if host.up and host.has(Fault.HOST_KEY_CHANGED):
            raise HostError(host.name, HostFault.HOST_KEY_CHANGED, "another host key")
        if as_root and host.has(Fault.SUDO_REFUSED):
            raise HostError(host.name, HostFault.SUDO_REFUSED, "sudo: a password is required")
        if host.lock_holder:
            timeout = min(timeout or 1.0, 0.5)
        return super().run(argv, timeout=timeout, stdin=stdin, as_root=as_root, on_line=on_line)


class FaultFleet(SimFleet):
    """Hosts of which some break, each once, at its moment."""

    def __init__(
        self,
        ledger: Ledger,
        names: Sequence[str],
        faults: Mapping[str, tuple[Fault, When]],
        *,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        boot_seconds: float = 0.02,
    ) -> None:
        self.faults = dict(faults)
        self._breaking = threading.Lock()
        super().__init__(ledger, names, labels=labels, boot_seconds=boot_seconds)
        self.timers = SimTimers(self.sims.values(), 0.05)

    def connect(self) -> Fleet:
        """See `SimFleet.connect`."""
        return Fleet(self.hosts, lambda host: FaultExecutor(self.sims[host.name]))

    def emit(self, event: Event) -> None:
        """Break the host whose moment has come: its controller is about to act."""
        super().emit(event)
        if event.kind.startswith("host.") and event.subject in self.faults:
            moment = event.kind.removeprefix("host.")
            if self.faults[event.subject][1] == moment:
                self.break_(event.subject)

    def reach(self, when: When) -> None:
        """A moment that is no phase of a host."""
        for name, (_, moment) in list(self.faults.items()):
            if moment is when:
                self.break_(name)

    def break_(self, name: str) -> None:
        """Break a host, once."""
        with self._breaking:
            if name not in self.broken:
                self.broken.add(name)
                self.sims[name].break_with(spec(self.faults[name][0]))

    @property
    def broken(self) -> set[str]:
        """Hosts whose fault has struck."""
        return self.__dict__.setdefault("_broken", set())

    def play(self, policy: RolloutPolicy, *, timers: bool = True) -> Rollout:
        """Plan and carry out a rollout in which the hosts break; `timers` of hosts may fire."""
        if timers:
            self.timers.start()
        try:
            self.reach(When.PLAN)
            plan = self.plan(policy)
            self.reach(When.BEGIN)
            return self.run(plan)
        finally:
            self.timers.stop()
            for sim in self.sims.values():
                for timer in sim._later:
                    timer.cancel()


def most_at_once(histories: Iterable[Sequence[HistoryEntry]]) -> int:
    """The most hosts that were down or drained at one moment, by their own records."""
    marks: list[tuple[float, int]] = []
    for history in histories:
        spans = list(away(history))
        drained: float | None = None
        for entry in history:
            if entry.what is What.DRAINED and drained is None:
                drained = entry.monotonic
            elif entry.what is What.UNDRAINED and drained is not None:
                spans.append((drained, entry.monotonic))
                drained = None
        if drained is not None:
            spans.append((drained, float("inf")))
        marks += _merged(spans)
    most = level = 0
    for _, change in sorted(marks):
        level += change
        most = max(most, level)
    return most


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, int]]:
    """The edges of the union of spans."""
    edges: list[tuple[float, int]] = []
    until = float("-inf")
    for start, end in sorted(spans):
        if start > until:
            if edges:
                edges.append((until, -1))
            edges.append((start, 1))
        until = max(until, end)
    return [*edges, (until, -1)] if edges else []


def laws(fleet: FaultFleet, end: Rollout, policy: RolloutPolicy) -> None:
    """Assert what holds after every rollout, whatever its hosts suffered."""
    assert end.outcome in {"done", "failed", "halted"}
    assert fleet.ledger.verify() is None
    audit = [e.subject for e in fleet.ledger.entries() if e.action.endswith(".host")]
    for name, sim in fleet.sims.items():
        state = end.state(name)
        shown = f"{name}: {fleet.faults.get(name)} {state}"
        assert state.phase in ENDS, shown
        if state.phase not in (HostPhase.UPDATED, HostPhase.UNCHANGED):
            assert state.message, shown
        if state.phase in (HostPhase.FAILED, HostPhase.REFUSED):
            assert state.fault is not None, shown
        if state.phase in FAILURES and state.fault is HostFault.HEALTH_FAILED:
            assert name in end.evidence, shown
        own = name in fleet.faults and fleet.faults[name][0] in OF_ITS_OWN
        if state.phase is HostPhase.UPDATED and not own:
            assert str(sim.booted.image.digest) == NEW, shown
            assert sim.reboots == 1, shown
        if state.phase is HostPhase.ROLLED_BACK:
            assert str(sim.booted.image.digest) == OLD, shown
        if state.phase is HostPhase.SKIPPED and not own:
            assert sim.reboots == 0, shown
            told = "could not be taken back" in state.message
            first = sim.rollback is None
            assert told or first or not sim.staged or sim.staged.download_only, shown
            assert told or not sim.rollback_queued, shown
        # Forward once and back once, and a host that goes back by itself does so once.
        assert sim.reboots - sim.timer.moved <= 2, shown
        if name in end.targets and state.phase is not HostPhase.REFUSED:
            assert name in audit, shown
        if name not in fleet.broken:
            assert LOCK not in sim.files, shown
            assert state.phase is not HostPhase.FAILED, shown
    _budgets(fleet, policy)


def _budgets(fleet: FaultFleet, policy: RolloutPolicy) -> None:
    budgets = policy.budgets
    ours = {
        name: sim
        for name, sim in fleet.sims.items()
        if name not in fleet.faults or fleet.faults[name][0] not in OF_ITS_OWN
    }
    if budgets.max_unavailable is not None:
        most = budgets.max_unavailable.at_most(len(fleet.hosts))
        assert most_at_once([sim.history for sim in ours.values()]) <= most
    if budgets.per_group is None:
        return
    for label in budgets.group_by:
        for value in {host.labels[label] for host in fleet.hosts}:
            members = [host.name for host in fleet.hosts if host.labels[label] == value]
            most = budgets.per_group.at_most(len(members))
            assert most_at_once([ours[n].history for n in members if n in ours]) <= most, value
