"""Does one action with one host of a rollout.

`perform` gets all that it needs in one plain `HostTask` and answers with one plain reply, so
that it can run in a thread here or in a worker on another machine.  It decides nothing: what
the answer means is `domain/judgement.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from bootcfleet.domain.abilities import Abilities
from bootcfleet.domain.action import Action, ActionKind
from bootcfleet.domain.check import Check, Mode, Outcome
from bootcfleet.domain.event import Emit, Event, ignore
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.judgement import OFFLINE, HostReply, Problem, backoff
from bootcfleet.domain.outcome import explain
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import HostPhase, Observation, Operation, Target
from bootcfleet.domain.rollout_policy import Hook, RolloutPolicy, SoftReboot
from bootcfleet.drivers import hostlock, updatetimer
from bootcfleet.drivers.bootc import BootcHost, HostFacts
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.hostevidence import gather_evidence
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.health import check_health
from bootcfleet.ops.hooks import HookContext, run_hook
from bootcfleet.ops.systemcheck import check_system

#: How long a host's lock lives without being renewed (seconds); the controller renews it before
#: each thing that it does.
LOCK_SECONDS = 86_400.0

#: Phases in which a host that does not answer may simply be rebooting.
_COMING_BACK = frozenset({HostPhase.REBOOTING, HostPhase.REVERTING, HostPhase.CHECKING})


@dataclass(frozen=True)
class HostTask:
    """An action, and all that is needed to do it."""

    action: Action
    host: Host
    target: Target | None
    operation: Operation
    policy: RolloutPolicy
    rollout: str
    owner: str
    wave: str = ""
    directory: str = ""
    checks: tuple[Check, ...] = ()
    seen: Observation | None = None
    resolved: Mapping[str, Resolved] = field(default_factory=dict)
    reference: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a worker has where it runs: how it waits, what it tells, whom it asks for images."""

    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    emit: Emit = ignore
    resolve: Callable[[ImageRef], Resolved] | None = None


def perform(task: HostTask, executor: Executor, around: Surroundings) -> HostReply:
    """Do the action; a host's failure, of whatever kind, is in the reply and never raised."""
    try:
        return _Work(task, executor, around).do()
    except HostError as error:
        return HostReply(problem=Problem(error.fault, error.message, error.details))
    except FleetError as error:
        return HostReply(problem=Problem(HostFault.COMMAND_FAILED, error.message, error.details))
    except Exception as error:  # noqa: BLE001 - one host's surprise must not end the others
        what = f"unexpected {type(error).__name__}: {error}"
        return HostReply(problem=Problem(HostFault.COMMAND_FAILED, what))


class _Work:
    """One action under way."""

    def __init__(self, task: HostTask, executor: Executor, around: Surroundings) -> None:
        self.task, self.executor, self.around = task, executor, around
        self.name = task.host.name
        self.bootc = BootcHost(executor, self.name)
        self.limits = task.policy.timeouts

    def do(self) -> HostReply:
        kind = self.task.action.kind
        match kind:
            case ActionKind.OBSERVE:
                return HostReply(seen=self._look())
            case ActionKind.PLAN:
                return self._plan()
            case ActionKind.STAGE:
                return self._stage()
            case ActionKind.QUEUE_ROLLBACK:
                return self._queue_rollback()
            case ActionKind.DRAIN:
                self._lock()
                return self._hooks("drain", self.task.policy.drain)
            case ActionKind.UNDRAIN:
                return self._hooks("undrain", self.task.policy.undrain)
            case ActionKind.REBOOT:
                return self._reboot()
            case ActionKind.CHECK:
                return self._check()
            case ActionKind.BAKE:
                return self._bake()
            case ActionKind.EVIDENCE:
                evidence = gather_evidence(self.executor, self.name, previous_boot=True)
                return HostReply(evidence=evidence.to_json())
            case ActionKind.DISCARD:
                return self._discard()
            case ActionKind.RELEASE:
                return self._release()
            case ActionKind.CONCLUDE | ActionKind.GATE | ActionKind.HOOK:
                raise ValueError(f"{kind} is not done with a host")
            case _ as never:
                assert_never(never)

    @property
    def _target(self) -> Target:
        if self.task.target is None:
            raise FleetError(f"{self.name} has no plan")
        return self.task.target

    @property
    def _abilities(self) -> Abilities:
        return Abilities.of(self._target.version)

    def _look(self) -> Observation:
        """The host as it is; one that may be rebooting gets the time for it."""
        patient = self.task.action.state.phase in _COMING_BACK
        deadline = self.around.monotonic() + (self.limits.boot if patient else 0.0)
        while True:
            try:
                return observation(self.bootc.facts())
            except HostError as error:
                if not error.transient or self.around.monotonic() >= deadline:
                    if patient and error.fault in OFFLINE:
                        raise HostError(
                            self.name,
                            HostFault.DID_NOT_RETURN,
                            f"did not answer within {self.limits.boot:g} s ({error.message})",
                            hint="look at its console",
                        ) from error
                    raise
                self.executor.close()
            self.around.sleep(2.0)

    def _lock(self) -> None:
        """Take the host for this rollout, and keep its own timer from moving it meanwhile."""
        hostlock.take(
            self.executor,
            self.name,
            rollout=self.task.rollout,
            owner=self.task.owner,
            seconds=LOCK_SECONDS,
        )
        if self.task.target is not None and self.task.target.timer:
            updatetimer.inhibit(self.executor, self.name)

    def _plan(self) -> HostReply:
        # Brings the registry's driver with it, which most actions do not need.
        from bootcfleet.ops.rollout_plan import plan_one

        target, seen = plan_one(
            self.task.host,
            self.executor,
            self.task.operation,
            self.task.policy,
            self.task.rollout,
            self.task.resolved,
            self.task.reference,
            self.around.resolve,
        )
        if isinstance(target, Target):
            return HostReply(seen=seen, target=target)
        return HostReply(seen=seen, state=target)

    def _stage(self) -> HostReply:
        self._lock()
        abilities = self._abilities
        on_progress = self._progress if abilities.progress_fd else None
        if self.task.operation is Operation.SWITCH and self._target.reference:
            self.bootc.stage_switch(
                self._target.reference,
                timeout=self.limits.stage,
                abilities=abilities,
                soft_reboot=self._soft_wanted(),
                on_progress=on_progress,
            )
        else:
            # Not booted by a power cut before it is its turn, where this bootc can hold it back.
            hold = abilities.download_only
            self.bootc.stage_upgrade(
                timeout=self.limits.stage,
                abilities=abilities,
                download_only=hold,
                soft_reboot=self._soft_wanted() and not hold,
                on_progress=on_progress,
            )
        seen = observation(self.bootc.facts())
        self._moved(seen.staged)
        return HostReply(seen=seen)

    def _moved(self, staged: str | None) -> None:
        """Tell a tag that moved since the plan from somebody who staged something else."""
        target = self._target
        if staged is None or staged in target.accepted or self.around.resolve is None:
            return
        now = self.around.resolve(ImageRef.parse(target.reference or ""))
        if now.accepts(staged):
            seen = Observation(target.boot_id, target.before, staged)
            platforms = (str(digest) for digest in now.platforms.values())
            moved = frozenset({str(now.digest), *platforms})
            fault, message = explain(target, None, seen, resolved_now=moved)
            raise HostError(self.name, fault or HostFault.TAG_MOVED, message)

    def _queue_rollback(self) -> HostReply:
        self._lock()
        self.bootc.queue_rollback()
        return HostReply(seen=observation(self.bootc.facts()))

    def _soft_wanted(self) -> bool:
        return self.task.policy.soft_reboot is SoftReboot.AUTO and self._abilities.soft_reboot

    def _reboot(self) -> HostReply:
        """Reboot, unless the host is no longer what the decision was made for."""
        expected = self._target.boot_id
        if self.task.action.state.phase is HostPhase.REVERTING:
            expected = self.task.action.state.bad_boot_id or expected
        self._lock()
        seen = observation(self.bootc.facts())
        if seen.boot_id != expected or not self._ready(seen):
            return HostReply(seen=seen)
        if seen.download_only:
            self.bootc.finish_download(soft_reboot=self._soft_wanted())
            seen = observation(self.bootc.facts())
            if not self._ready(seen):
                return HostReply(seen=seen)
        soft = self._soft_wanted() and seen.soft_reboot_capable
        self.bootc.reboot(soft=soft, expected=expected)
        facts = self.bootc.wait_for_boot(
            expected,
            self.limits.boot,
            sleep=self.around.sleep,
            monotonic=self.around.monotonic,
            soft=soft,
        )
        return HostReply(seen=observation(facts))

    def _ready(self, seen: Observation) -> bool:
        """Whether the next boot is still the one that is wanted (law 3)."""
        target = self._target
        if self.task.action.state.phase is HostPhase.REVERTING:
            return seen.rollback_queued and seen.rollback == target.before
        if self.task.operation is Operation.ROLLBACK:
            return seen.rollback_queued and seen.rollback in target.accepted
        if self.task.operation is Operation.REBOOT:
            after = seen.staged or seen.booted
            return not seen.rollback_queued and after in target.accepted
        return not seen.rollback_queued and seen.staged in target.accepted

    def _check(self) -> HostReply:
        # A mask of this boot alone is gone by now, and the new image may bring a timer of its own.
        updatetimer.inhibit(self.executor, self.name)
        reverting = self.task.action.state.phase is HostPhase.REVERTING
        rules = () if reverting else self.task.policy.health
        failures = check_health(
            rules,
            self.task.host,
            self.executor,
            settle=self.limits.settle,
            before_state=self._target.system_state,
            before_units=self._target.failed_units,
            sleep=self.around.sleep,
            monotonic=self.around.monotonic,
        )
        if not reverting:
            failures = (*failures, *self._own_checks(), *self._image_checks())
        return HostReply(seen=observation(self.bootc.facts()), failures=failures)

    def _own_checks(self) -> list[str]:
        failures = []
        for check in self.task.host.checks:
            result = self.bootc.run_check(check, sleep=self.around.sleep)
            if not result.ok:
                failures.append(f"check {check.name!r} failed: {result.message}")
        return failures

    def _image_checks(self) -> list[str]:
        if not self.task.checks:
            return []
        results = check_system(
            self.task.checks,
            self.executor,
            Mode.HOST,
            sleep=self.around.sleep,
            monotonic=self.around.monotonic,
        )
        failures = []
        for result in results:
            message = f"check {result.check.name!r} failed: {result.message}"
            if result.counts:
                failures.append(message)
            elif result.outcome is Outcome.FAILED:
                self._say("host.check.optional", f"optional {message}")
        return failures

    def _bake(self) -> HostReply:
        """The host once more, after its wave has baked."""
        seen = observation(self.bootc.facts())
        failures = check_health(
            self.task.policy.health,
            self.task.host,
            self.executor,
            settle=self.limits.settle,
            before_state=self._target.system_state,
            before_units=self._target.failed_units,
            sleep=self.around.sleep,
            monotonic=self.around.monotonic,
        )
        if seen.booted not in self._target.accepted:
            failures = ("after the bake time it no longer runs what it was updated to", *failures)
        return HostReply(seen=seen, failures=failures)

    def _discard(self) -> HostReply:
        """``bootc rollback`` toggles: once undoes a queued rollback, twice drops what is staged."""
        seen = observation(self.bootc.facts())
        if not seen.rollback_queued and seen.staged and seen.rollback:
            self.bootc.queue_rollback()
            seen = observation(self.bootc.facts())
        if seen.rollback_queued:
            self.bootc.queue_rollback()
            seen = observation(self.bootc.facts())
        return HostReply(seen=seen)

    def _release(self) -> HostReply:
        """Leave nothing of the rollout on the host; what must stay is said in the journal."""
        state = self.task.action.state
        if state.down and state.fault is HostFault.DID_NOT_RETURN:
            return HostReply(notes=("its lock is left: it does not answer",))
        retries, tries = self.task.policy.retries, 1
        while True:
            try:
                updatetimer.restore(self.executor, self.name)
                hostlock.release(self.executor, self.name, rollout=self.task.rollout)
                return HostReply()
            except HostError as error:
                if state.down or not error.transient or tries > retries.attempts:
                    return HostReply(notes=(f"its lock may be left: {error.message}",))
            self.around.sleep(backoff(self.name, tries, retries))
            tries += 1

    def _hooks(self, event: str, hooks: tuple[Hook, ...]) -> HostReply:
        host = self.task.host
        context = HookContext(
            host=host.name,
            address=host.connection.address or host.name,
            rollout=self.task.rollout,
            wave=self.task.wave,
            operation=str(self.task.operation),
            labels=dict(host.labels),
            event=event,
            directory=self.task.directory,
        )
        for hook in hooks:
            run_hook(hook, context, self.executor)
        return HostReply()

    def _progress(self, progress: object) -> None:
        self._say("host.download", "", **vars(progress))

    def _say(self, kind: str, message: str, **data: object) -> None:
        body = {"rollout": self.task.rollout, "wave": self.task.wave, **data}
        self.around.emit(Event(kind, self.name, message, body))


def observation(facts: HostFacts) -> Observation:
    """What a host's facts say about its deployments."""
    status = facts.status
    staged = status.staged
    return Observation(
        boot_id=facts.boot_id,
        booted=status.booted.digest if status.booted else None,
        staged=staged.digest if staged else None,
        rollback=status.rollback.digest if status.rollback else None,
        rollback_queued=status.rollback_queued,
        download_only=bool(staged and staged.download_only),
        soft_reboot_capable=bool(staged and staged.soft_reboot_capable),
    )
