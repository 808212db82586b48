"""Carries a rollout out: acts on hosts in parallel, one wave after another.

Every decision is `domain/decision.py`'s.  This loop observes, performs the
actions that it is told, writes each intent before the act (`journal`), and
reports events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

from bootcfleet.domain.check import Check, Mode, Outcome
from bootcfleet.domain.decision import Action, ActionKind, judge_checks, next_actions
from bootcfleet.domain.event import Emit, Event, ignore
from bootcfleet.domain.policy import HealthCheck
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
    Transition,
    apply,
    halt,
)
from bootcfleet.drivers.bootc import BootcHost, HostFacts
from bootcfleet.drivers.command import Executor
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.systemcheck import check_system

#: Writes a transition down before the act that follows from it.
Journal = Callable[[Transition], None]


class Machines(Protocol):
    """Where the loop gets a host's driver, kept for the whole rollout."""

    def bootc(self, host: str) -> BootcHost:
        """The bootc driver of a host."""
        ...

    def checks(self, host: str) -> tuple[HealthCheck, ...]:
        """The health checks of a host."""
        ...

    def image_checks(self, host: str) -> tuple[Check, ...]:
        """The checks of the image that a host is to run."""
        ...

    def executor(self, host: str) -> Executor:
        """Where a host's commands run."""
        ...


@dataclass(frozen=True)
class Result:
    """What an action brought: the host as it is now, and the state it came to."""

    state: HostState
    seen: Observation | None = None


@dataclass
class RolloutRun:
    """One rollout under way.

    `parallel` bounds how many hosts are worked on at once.  `stop()` (from a
    signal handler or another thread) lets what runs come to the end of its
    action and starts nothing more.
    """

    rollout: Rollout
    machines: Machines
    parallel: int = 50
    emit: Emit = ignore
    journal: Journal = field(default=lambda _: None)
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    observed: dict[str, Observation] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped.set()

    def run(self) -> Rollout:
        """Carry the rollout out to its end, its halt, or `stop`; returns how far it came.

        Raises `KeyboardInterrupt` on ^C, after the actions under way were let go.
        """
        pool = ThreadPoolExecutor(max_workers=self.parallel, thread_name_prefix="rollout")
        running: dict[Future[Result], str] = {}
        wave: int | None = None
        try:
            while not self._stopped.is_set():
                current = self.rollout.wave
                if current and current.number != wave and self.rollout.halted is None:
                    wave = current.number
                    self._say("wave.started", "", f"{current.title}: {', '.join(current.hosts)}")
                busy = set(running.values())
                for action in next_actions(self.rollout, self.observed):
                    if action.host not in busy:
                        self._start(action, pool, running)
                if not running:
                    if self.rollout.finished:
                        break
                    continue
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    self._finish(running.pop(future), future)
        except BaseException:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown(wait=True)
        for future, host in running.items():
            self._finish(host, future)
        return self.rollout

    def _start(
        self, action: Action, pool: ThreadPoolExecutor, running: dict[Future[Result], str]
    ) -> None:
        if action.state != self.rollout.state(action.host):
            self._enter(action.host, action.state)
        if action.kind is not ActionKind.CONCLUDE:
            self._say(f"host.{action.kind}", action.host, f"{action.kind}: {action.reason}")
            running[pool.submit(self._perform, action)] = action.host

    def _finish(self, host: str, future: Future[Result]) -> None:
        result = future.result()
        if result.seen is not None:
            self.observed[host] = result.seen
        if result.state != self.rollout.state(host):
            self._enter(host, result.state)

    def _enter(self, host: str, state: HostState) -> None:
        """Write a transition down, then believe it."""
        transition = Transition(host, state)
        self.journal(transition)
        before = self.rollout
        self.rollout = apply(self.rollout, transition)
        changed = before.state(host).phase is not state.phase
        if changed and (state.ended or state.phase is HostPhase.REVERTING):
            self._say(f"host.{state.phase}", host, f"{state.phase}: {state.message}", state)
        if self.rollout.halted and not before.halted:
            self._say("rollout.halted", "", f"halted: {self.rollout.halted}")

    def _say(self, kind: str, host: str, message: str, state: HostState | None = None) -> None:
        data = {}
        if state and state.fault:
            data = {"fault": str(state.fault), "evidence": list(state.evidence)}
        self.emit(Event(kind, host, message, data))

    def _perform(self, action: Action) -> Result:
        """Do one action; runs in a thread of the pool and never raises a host's failure."""
        target = self.rollout.targets[action.host]
        try:
            return self._act(action, target, self.machines.bootc(action.host))
        except HostError as error:
            return Result(self._failed(action, error, error.fault))
        except FleetError as error:
            return Result(self._failed(action, error, HostFault.COMMAND_FAILED))
        except Exception as error:  # noqa: BLE001 - one host's surprise must not end the others
            surprise = FleetError(f"unexpected {type(error).__name__}: {error}")
            return Result(self._failed(action, surprise, HostFault.COMMAND_FAILED))

    def _act(self, action: Action, target: Target, bootc: BootcHost) -> Result:
        limits = self.rollout.policy.timeouts
        state = action.state
        match action.kind:
            case ActionKind.OBSERVE:
                return Result(state, observation(bootc.facts()))
            case ActionKind.STAGE:
                if self.rollout.operation is Operation.SWITCH and target.reference:
                    bootc.stage_switch(target.reference, timeout=limits.stage)
                else:
                    bootc.stage_upgrade(timeout=limits.stage)
                return Result(replace(state, attempted=True), observation(bootc.facts()))
            case ActionKind.QUEUE_ROLLBACK:
                bootc.queue_rollback()
                return Result(replace(state, attempted=True), observation(bootc.facts()))
            case ActionKind.REBOOT:
                previous = bootc.boot_id()
                bootc.reboot()
                facts = bootc.wait_for_boot(
                    previous, limits.boot, sleep=self._pause, monotonic=self.monotonic
                )
                return Result(state, observation(facts))
            case ActionKind.CHECK:
                failures = self._check(target, bootc)
                seen = observation(bootc.facts())
                return Result(judge_checks(self.rollout, target.host, seen, failures), seen)
            case ActionKind.CONCLUDE:
                return Result(state)
            case _ as never:
                assert_never(never)

    def _check(self, target: Target, bootc: BootcHost) -> tuple[str, ...]:
        """Run the health checks of a host; the sentences of those that failed."""
        failures = []
        state = bootc.wait_until_started(
            self.rollout.policy.timeouts.settle, sleep=self._pause, monotonic=self.monotonic
        )
        if state.state != "running" and state.state != target.system_state:
            units = (
                f" (failed units: {', '.join(state.failed_units)})" if state.failed_units else ""
            )
            failures.append(f"systemd says {state.state}{units}")
        for check in self.machines.checks(target.host):
            result = bootc.run_check(check, sleep=self._pause)
            if not result.ok:
                failures.append(f"check {check.name!r} failed: {result.message}")
        return (*failures, *self._check_image(target.host))

    def _check_image(self, host: str) -> list[str]:
        """Run the checks of the host's image; the sentences of those that failed."""
        checks = self.machines.image_checks(host)
        if not checks:
            return []
        results = check_system(
            checks,
            self.machines.executor(host),
            Mode.HOST,
            sleep=self._pause,
            monotonic=self.monotonic,
        )
        failures = []
        for result in results:
            message = f"check {result.check.name!r} failed: {result.message}"
            if result.counts:
                failures.append(message)
            elif result.outcome is Outcome.FAILED:
                self._say("host.check.optional", host, f"optional {message}")
        return failures

    def _pause(self, seconds: float) -> None:
        """Sleep, but not through a stop."""
        if self._stopped.is_set():
            raise FleetError("stopped by the user")
        self.sleep(seconds)

    def _failed(self, action: Action, error: FleetError, fault: HostFault) -> HostState:
        state = action.state
        message = error.message
        if state.phase is HostPhase.REVERTING:
            message = f"{state.message}; and going back failed: {error.message}"
        return HostState(
            HostPhase.FAILED, message, fault=fault, evidence=(*state.evidence, *error.details)
        )


def observation(facts: HostFacts) -> Observation:
    """What a host's facts say about its deployments."""
    status = facts.status
    return Observation(
        boot_id=facts.boot_id,
        booted=status.booted.digest if status.booted else None,
        staged=status.staged.digest if status.staged else None,
        rollback=status.rollback.digest if status.rollback else None,
        rollback_queued=status.rollback_queued,
    )


def stopped(rollout: Rollout) -> Rollout:
    """The rollout as it stands after ^C."""
    return halt(rollout, "stopped by the user")
