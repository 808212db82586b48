"""Does one action with one host of a rollout.

`perform` gets all that it needs in one plain `HostTask` and answers with one plain reply, so
that it can run in a thread here or in a worker on another machine.  It decides nothing: what
the answer means is `domain/judgement.py`'s.
"""

from __future__ import annotations

from typing import assert_never

from bootcfleet.domain.abilities import Abilities
from bootcfleet.domain.action import ActionKind
from bootcfleet.domain.judgement import OFFLINE, HostReply, Problem, backoff
from bootcfleet.domain.outcome import explain, short
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import HostPhase, Observation, Operation, Target
from bootcfleet.domain.rollout_policy import Hook, SoftReboot
from bootcfleet.drivers import hostlock, updatetimer
from bootcfleet.drivers.bootc import BootcHost
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.hostevidence import gather_evidence
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.hooks import HookContext, run_hook
from bootcfleet.ops.hosttask import HostTask, Surroundings, observation
from bootcfleet.ops.hostwell import check_after_bake, check_after_reboot

#: How long a host's lock lives without being renewed (seconds); the controller renews it before
#: each thing that it does.
LOCK_SECONDS = 86_400.0

#: Phases in which a host that does not answer may simply be rebooting.
_COMING_BACK = frozenset({HostPhase.REBOOTING, HostPhase.REVERTING, HostPhase.CHECKING})


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
                return check_after_reboot(self.task, self._target, self.executor, self.around)
            case ActionKind.BAKE:
                return check_after_bake(self.task, self._target, self.executor, self.around)
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
    def _expected(self) -> str:
        """The boot that the host is to be taken out of."""
        state = self.task.action.state
        leaves = state.bad_boot_id if state.phase is HostPhase.REVERTING else None
        return leaves or self._target.boot_id

    @property
    def _abilities(self) -> Abilities:
        return Abilities.of(self._target.version)

    def _look(self) -> Observation:
        """The host as it is; one that may be rebooting gets the time for it."""
        state = self.task.action.state
        # One that is to go back, and was not looked at yet, was not rebooted for it either.
        unseen = state.phase is HostPhase.REVERTING and state.bad_boot_id is None
        patient = state.phase in _COMING_BACK and not unseen
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
        abilities, reference = self._abilities, self._target.reference
        on_progress = self._progress if abilities.progress_fd else None
        if self._target.before in self._target.accepted and not self._target.renames:
            return self._only_discard()
        switch, follows = None, None
        if self.task.operation is Operation.SWITCH:
            follows = self.bootc.facts().status.followed
            if follows is None or follows.ref is None or follows.reference != reference:
                switch = reference
        if switch:
            self.bootc.stage_switch(
                switch,
                enforce=follows is not None and follows.enforced,
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
        """Queue it, unless the host is in another boot: then the slot is another one too."""
        self._lock()
        seen = observation(self.bootc.facts())
        if seen.boot_id != self._expected:
            return HostReply(seen=seen)
        self.bootc.queue_rollback()
        seen = observation(self.bootc.facts())
        undone = not seen.rollback_queued and seen.rollback is not None
        if undone and seen.boot_id == self._expected:
            # One was queued beneath what was staged: bootc took both away (it toggles).
            self.bootc.queue_rollback()
            seen = observation(self.bootc.facts())
        return HostReply(seen=seen)

    def _soft_wanted(self) -> bool:
        return self.task.policy.soft_reboot is SoftReboot.AUTO and self._abilities.soft_reboot

    def _reboot(self) -> HostReply:
        """Reboot, unless the host is no longer what the decision was made for."""
        expected = self._expected
        self._lock()
        seen = observation(self.bootc.facts())
        if seen.boot_id != expected or not self._ready(seen):
            return HostReply(seen=seen)
        if seen.download_only:
            self.bootc.finish_download(soft_reboot=self._soft_wanted())
            seen = observation(self.bootc.facts())
            if seen.download_only or not self._ready(seen):
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
        # What is held back boots before a queued rollback as soon as it is let go.
        free = seen.download_only or not seen.rollback_queued
        return free and seen.staged in target.accepted

    def _discard(self) -> HostReply:
        """``bootc rollback`` toggles: once undoes a queued rollback, twice drops what is staged.

        Without a rollback slot it cannot, and the composefs backend keeps what is staged; that is
        for who looks next to judge.
        """
        seen, kept = observation(self.bootc.facts()), False
        if not seen.rollback_queued and seen.staged and seen.rollback:
            self.bootc.queue_rollback()
            seen = observation(self.bootc.facts())
            # Beneath what stays staged the rollback is queued all the same.
            kept = seen.staged is not None
        if seen.rollback_queued or kept:
            self.bootc.queue_rollback()
            seen = observation(self.bootc.facts())
        return HostReply(seen=seen)

    def _only_discard(self) -> HostReply:
        """What runs is planned: bootc finds no update for it, and leaves what else is staged."""
        reply = self._discard()
        if reply.seen is not None and reply.seen.staged not in {None, *self._target.accepted}:
            raise HostError(
                self.name,
                HostFault.WRONG_DIGEST,
                f"runs what is planned and has {short(reply.seen.staged)} staged, which bootc "
                "does not drop",
                hint="drop it there: ostree admin undeploy 0",
            )
        return reply

    def _release(self) -> HostReply:
        """Leave nothing of the rollout on the host; what must stay is said in the journal."""
        state = self.task.action.state
        if state.down and state.fault is HostFault.DID_NOT_RETURN:
            unlock = f"bootcfleet fleet unlock --force {self.name}"
            return HostReply(
                notes=(f"its lock is left: it does not answer; once it does: {unlock}",)
            )
        retries, tries = self.task.policy.retries, 1
        while True:
            try:
                timers = updatetimer.restore(self.executor, self.name)
                hostlock.release(self.executor, self.name, rollout=self.task.rollout)
                back = state.phase is HostPhase.ROLLED_BACK
                return HostReply(notes=_tempted(timers) if back else ())
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
        self.around.say(self.task, "host.download", "", **vars(progress))


def _tempted(timers: tuple[str, ...]) -> tuple[str, ...]:
    """What to say of a host that went back, and updates itself to what its tag is from now on."""
    return tuple(
        f"{timer} is active again, and brings it to what its tag is: to keep it as it is, "
        f"`systemctl mask --now {timer}` there, or take the tag back"
        for timer in timers
    )
