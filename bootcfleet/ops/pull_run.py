"""The controller of a rollout in pull mode: look, decide, write down, act, wait.

Every decision is `domain/pull.py`'s.  The intent of a promotion (and who is asked about it) is
in the journal before the tag moves; after a crash the channel's history says whether it did.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from bootcfleet import __version__
from bootcfleet.domain.event import Event
from bootcfleet.domain.pull import PullState, PullStep, StepKind, next_pull_step, replay
from bootcfleet.domain.pull_policy import PullPlan, needed
from bootcfleet.domain.pull_rollout import passed_over_entry, sample_entry
from bootcfleet.domain.pull_sample import Look, VerdictKind
from bootcfleet.domain.rollout_journal import (
    REQUESTS,
    EntryKind,
    JournalEntry,
    NewEntry,
    WavePhase,
)
from bootcfleet.drivers.ledgerhold import Hold
from bootcfleet.drivers.rolloutstore import RolloutTakenError
from bootcfleet.errors import ChecksFailedError, FleetError, UsageError
from bootcfleet.ops.channelback import plan_return
from bootcfleet.ops.channelmirror import mirror_history
from bootcfleet.ops.promote import promote
from bootcfleet.ops.pull_look import PullTools, look
from bootcfleet.ops.pull_plan import promotion
from bootcfleet.ops.pull_sample import Sample, choose_sample, remember_good
from bootcfleet.ops.train import recover

#: Seconds between two looks for what people ask of the controller.
_ATTENTION = 2.0
#: How often in a row a look or a promotion may fail before the controller lets go.
_TRIES = 10


@dataclass
class PullRun:
    """One controller at a rollout."""

    tools: PullTools
    id: str
    plan: PullPlan
    held: Hold
    looks: dict[str, Look] = field(default_factory=dict)
    #: Channels that could not be put back in this round, and why.
    stuck: dict[int, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    said: str = ""
    started: int | None = None
    entries: list[JournalEntry] = field(default_factory=list)

    def run(self) -> PullState:
        """Look, decide, act, until it is finished."""
        self._read()
        self.told = {
            entry.host: str(entry.body["verdict"])
            for entry in self.entries
            if entry.kind is EntryKind.HOST and "verdict" in entry.body
        }
        # Who was good before a crash still has the time of a reboot.
        self.looks = {
            entry.host: Look(was_good=True)
            for entry in self.entries
            if entry.body.get("verdict") == VerdictKind.GOOD
        }
        body = {
            "controller": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
        }
        (entry,) = self._append(NewEntry(EntryKind.STARTED, body=body))
        self.started = entry.number
        self._say("rollout.started", f"pull {self.plan.image} {self.plan.digest}")
        self._mirror()
        failed = 0
        try:
            while True:
                try:
                    if self._step():
                        self._read()
                        return self._state()
                    failed = 0
                except RolloutTakenError:
                    raise
                except FleetError as error:
                    failed += 1
                    if failed >= _TRIES:
                        raise
                    self._say("rollout.retry", error.message)
                    self._pause(self.plan.policy.poll)
        except KeyboardInterrupt as error:
            reason = str(error) or "stopped by the user"
            self._append(NewEntry(EntryKind.STOPPED, body={"reason": reason}))
            raise
        except RolloutTakenError:
            raise
        except FleetError as error:
            with contextlib.suppress(FleetError):
                self._append(NewEntry(EntryKind.STOPPED, body={"reason": error.message}))
            raise

    def _mirror(self) -> None:
        """A controller that was killed just after a move had not written the registry's copy."""
        channels, image = self.tools.channels, self.plan.image
        begun = zip(self._state().channels, self.plan.channels, strict=True)
        pairs = [(image, rule.name) for one, rule in begun if one.began is not None]
        mirror_history(channels, [pair for pair in pairs if channels.store.current(*pair)])

    def _step(self) -> bool:
        """One look, one decision, one act; whether the rollout is finished."""
        channels = self.tools.channels
        # A database that was restarted ends the lock with its connection, and not the rollout.
        if self.held.lost() and not self.held.retake():
            raise RolloutTakenError(
                "the connection to the ledger was lost, and another controller has taken the "
                f"rollout {self.id} up",
                hint=f"follow it: bootcfleet rollout watch {self.id}",
            )
        recover(channels)
        self._read()
        state = self._state()
        seen = look(self.tools, state, self.looks)
        self.looks = dict(seen.looks)
        if self._asked():
            return False
        now = channels.clock()
        seen = replace(seen, trouble={**seen.trouble, **self.stuck})
        step = next_pull_step(state, seen, now)
        self._note(step)
        match step.kind:
            case StepKind.WAIT:
                self._wait(state, step, now)
            case StepKind.PROMOTE:
                self._promote(state, step)
            case StepKind.BAKE:
                self._wave(step, WavePhase.BAKING)
            case StepKind.DONE:
                self._wave(step, WavePhase.DONE)
            case StepKind.HALT:
                self._append(NewEntry(EntryKind.HALTED, body={"reason": step.reason}))
                self._say("rollout.halted", f"halted: {step.reason}")
            case StepKind.PUT_BACK:
                self._put_back(state, step)
            case StepKind.LEAVE:
                self._leave(step, step.reason)
            case StepKind.FINISH:
                return self._finish(state, step.reason)
        return False

    def _asked(self) -> bool:
        """Take in what was written meanwhile; whether somebody asks for something.

        Hosts that do not answer take minutes, and a pause or an abort must not be overtaken by
        what was decided before it.
        """
        known = len(self.entries)
        self._read()
        return any(entry.kind in REQUESTS for entry in self.entries[known:])

    def _promote(self, state: PullState, step: PullStep) -> None:
        """Write down what is to be promoted and who is asked, then promote."""
        index = _index(step)
        channel, rule = state.channels[index], self.plan.channels[index]
        planned = promotion(self.tools.channels, self.plan, index)
        move = planned.moves[0] if planned.moves else None
        if channel.began is None:
            chosen = choose_sample(
                self.plan,
                index,
                self.tools.hosts,
                self.tools.connect,
                parallel=self.tools.parallel,
            )
        else:
            # Chosen before a crash, and asked before anything moved.
            chosen = Sample(channel.sample, {})
        if self._asked():
            return
        self._require_enough(index, chosen)
        sample = {host: asdict(one) for host, one in chosen.hosts.items()}
        message = (
            f"{step.reason}: {len(sample)} of {self.plan.followers[rule.name]} hosts are asked"
        )
        passed = [
            passed_over_entry(host, why, index + 1) for host, why in chosen.passed_over.items()
        ]
        self._append(
            *passed,
            self._wave_entry(
                index,
                WavePhase.RUNNING,
                message,
                number=move.number if move else None,
                before=move.before if move else self.plan.digest,
                sample=sample,
            ),
        )
        for entry in passed:
            self._say_host(entry)
        self._say("wave.started", message, "", index, {"sample": list(sample)})
        for host in sample:
            self._say("host.pending", "pending: is asked how it goes", host, index)
        self.looks = {}
        if move is not None:
            promote(self.tools.channels, planned)

    def _require_enough(self, index: int, chosen: Sample) -> None:
        """Nobody is promoted to who cannot be asked how it goes: it is tried again later."""
        rule = self.plan.channels[index]
        enough = needed(rule, self.plan.wanted(rule))
        if len(chosen.hosts) < enough:
            raise FleetError(
                f"{rule.name}: only {len(chosen.hosts)} of its hosts can be asked, and {enough} "
                "must be good",
                details=[f"{host}: {why}" for host, why in chosen.passed_over.items()],
                hint="see them: bootcfleet fleet status",
            )

    def _put_back(self, state: PullState, step: PullStep) -> None:
        index = _index(step)
        name, before = self.plan.channels[index].name, state.channels[index].before
        if before is None or before == self.plan.digest:
            self._leave(step, f"{name} was at this digest before")
            return
        why = f"rollout {self.id}: {step.reason}"
        try:
            planned = plan_return(self.tools.channels, self.plan.image, name, before, why=why)
            promote(self.tools.channels, planned)
        except (ChecksFailedError, UsageError) as error:
            # Nothing that another try would change: a revoked digest, or one that is gone.
            said = "; ".join([error.message, *error.details])
            self._leave(step, f"{name} could not be put back: {said}")
            return
        except FleetError as error:
            # The others go back before this one is tried again.
            self.stuck[index] = error.message
            return
        message = f"{name} is back at {before}"
        body = {"kind": "put-back", "wave": index + 1, "message": message, "digest": before}
        self._append(NewEntry(EntryKind.NOTE, body=body))
        self._say("wave.put-back", message, "", index)

    def _leave(self, step: PullStep, message: str) -> None:
        index = _index(step)
        body = {"kind": "left", "wave": index + 1, "message": message}
        self._append(NewEntry(EntryKind.NOTE, body=body))
        self._say("wave.left", message, "", index)

    def _finish(self, state: PullState, outcome: str) -> bool:
        """Write the end down, unless somebody asked for something just before; whether it is."""
        left = [one.left for one in state.channels if one.left]
        if state.outcome is not None:
            return True
        with self.tools.store.db.write():
            if self._asked():
                return False
            body = {"outcome": outcome, "left": left}
            self._append(NewEntry(EntryKind.FINISHED, body=body))
            self.tools.channels.record(
                "fleet.pull",
                self.id,
                outcome,
                digests={"image": self.plan.digest},
                details={"halted": state.halted, "left": left},
            )
        self._say(
            "rollout.finished", f"the rollout is {outcome}", data={"outcome": outcome, "left": left}
        )
        return True

    def _wait(self, state: PullState, step: PullStep, now: datetime) -> None:
        index = _index(step)
        self.stuck.clear()
        if step.reason != self.said:
            self.said = step.reason
            if step.waiting and state.channels[index].began is None:
                self._append(self._wave_entry(index, WavePhase.WAITING, step.reason))
            kind = "wave.waiting" if step.waiting else "wave.sample"
            if step.reason == state.paused:
                kind = "rollout.paused"
            if state.halted is not None:
                kind = "rollout.retry"
            self._say(kind, step.reason, "", index)
        seconds = self.plan.policy.poll
        if step.due is not None:
            seconds = min(seconds, max(0.0, (step.due - now).total_seconds()))
        self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        """Sleep, unless somebody asks for something meanwhile."""
        last = self.entries[-1].number if self.entries else 0
        while seconds > 0:
            self.tools.sleep(min(seconds, _ATTENTION))
            seconds -= _ATTENTION
            try:
                news = self.tools.store.entries(self.id, after=last)
            except FleetError:
                continue  # the next look says what is the matter with the ledger
            if any(entry.kind in REQUESTS for entry in news):
                return

    def _note(self, step: PullStep) -> None:
        """Write down which sampled hosts are thought of in another way than before."""
        kinds = {host: verdict.kind for host, verdict in step.verdicts.items()}
        self.looks = remember_good(self.looks, kinds)
        changed = {
            host: verdict
            for host, verdict in step.verdicts.items()
            if self.told.get(host, VerdictKind.WAITING) != str(verdict.kind)
        }
        if not changed:
            return
        wave = _index(step) + 1
        entries = [sample_entry(host, verdict, wave) for host, verdict in changed.items()]
        self._append(*entries)
        for entry in entries:
            self.told[entry.host] = str(entry.body["verdict"])
            self._say_host(entry)

    def _say_host(self, entry: NewEntry) -> None:
        body = entry.body
        data = {key: body[key] for key in ("fault", "verdict") if key in body}
        message = f"{body['phase']}: {body['message']}"
        self._say(f"host.{body['phase']}", message, entry.host, body["wave"] - 1, data)

    def _wave(self, step: PullStep, phase: WavePhase) -> None:
        index = _index(step)
        self._append(self._wave_entry(index, phase, step.reason))
        if phase is WavePhase.BAKING:
            bake = self.plan.channels[index].bake
            self._say("wave.baking", step.reason, "", index, {"seconds": bake})
        else:
            self._say("wave.finished", step.reason, "", index)

    def _wave_entry(self, index: int, phase: WavePhase, message: str, **more: Any) -> NewEntry:
        name = self.plan.channels[index].name
        body = {"wave": index + 1, "phase": str(phase), "channel": name, "message": message}
        return NewEntry(EntryKind.WAVE, body={**body, **more})

    def _state(self) -> PullState:
        return replay(self.plan, self.entries)

    def _read(self) -> None:
        last = self.entries[-1].number if self.entries else 0
        self.entries += self.tools.store.entries(self.id, after=last)

    def _append(self, *entries: NewEntry) -> list[JournalEntry]:
        channels = self.tools.channels
        # Not kept here: a transaction around this may still be undone, and others write, too.
        return self.tools.store.append(
            self.id,
            entries,
            at=channels.clock().astimezone(UTC),
            actor=channels.actor,
            started=self.started,
        )

    def _say(
        self,
        kind: str,
        message: str,
        host: str = "",
        index: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        body: dict[str, Any] = {"rollout": self.id, **(data or {})}
        if index is not None:
            body |= {"wave": index + 1, "channel": self.plan.channels[index].name}
        self.tools.channels.emit(Event(kind, host, message, body))


def _index(step: PullStep) -> int:
    if step.index is None:
        raise FleetError(f"a step without a channel: {step.kind}")
    return step.index
