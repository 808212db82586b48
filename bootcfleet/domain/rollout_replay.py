"""A rollout from its record and its journal, and back: the fold, and the JSON of both.

A resumed rollout is what these functions make of what was written down; the controller
that wrote it goes through the same ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, assert_never

from pydantic import TypeAdapter, ValidationError

from bootcfleet.domain.image import Resolved
from bootcfleet.domain.install_host import HostInstall
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Operation,
    Rollout,
    Target,
    WaveState,
)
from bootcfleet.domain.rollout_journal import (
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
    WavePhase,
    wave_with,
)
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.waves import Wave
from bootcfleet.errors import FleetError

_STATE = TypeAdapter(HostState)
_TARGET = TypeAdapter(Target)
_TARGETS = TypeAdapter(dict[str, Target])
_STATES = TypeAdapter(dict[str, HostState])
_HOSTS = TypeAdapter(dict[str, Host])
_WAVES = TypeAdapter(tuple[Wave, ...])
_POLICY = TypeAdapter(RolloutPolicy)

#: The version of a record's body.
FORMAT = 1

#: Ends that ``rollout retry`` takes up again.
RETRIED = frozenset({HostPhase.FAILED, HostPhase.ROLLED_BACK, HostPhase.REFUSED, HostPhase.SKIPPED})


class DamagedRolloutError(FleetError):
    """A record or an entry that is none of ours."""


def record_of(rollout: Rollout, **more: Any) -> RolloutRecord:
    """What is written down of a plan; `more` is kept beside it.

    What hosts have for templates and kickstarts stays out of it: it may be secret.
    """
    hosts = {
        name: replace(host, vars={}, install=HostInstall()) for name, host in rollout.hosts.items()
    }
    body = {
        "format": FORMAT,
        "policy": _POLICY.dump_python(rollout.policy, mode="json"),
        "waves": [
            {**wave, "title": own.title}
            for own, wave in zip(
                rollout.waves, _WAVES.dump_python(rollout.waves, mode="json"), strict=True
            )
        ],
        "targets": _TARGETS.dump_python(dict(rollout.targets), mode="json"),
        "states": _STATES.dump_python(dict(rollout.states), mode="json", exclude_defaults=True),
        "hosts": _HOSTS.dump_python(hosts, mode="json", exclude_defaults=True),
        "resolved": {text: _resolved_json(one) for text, one in rollout.resolved.items()},
        "reference": rollout.reference,
        **more,
    }
    if rollout.began is None:
        raise ValueError("a rollout that is written down has a beginning")
    about = {
        "hosts": len(rollout.names),
        "waves": len(rollout.waves),
        "image": rollout.reference or ", ".join(sorted(rollout.resolved)) or None,
        "policy": rollout.policy.name,
    }
    return RolloutRecord(
        rollout.id, str(rollout.operation), rollout.began, rollout.actor, body, about
    )


def begin(record: RolloutRecord) -> Rollout:
    """The rollout of a record, before its first entry.  Raises `DamagedRolloutError`."""
    body = record.body
    try:
        if body["format"] != FORMAT:
            raise FleetError(
                f"rollout {record.id} was written by another bootcfleet (format {body['format']})",
                hint="use that version for it",
            )
        waves = [{k: v for k, v in wave.items() if k != "title"} for wave in body["waves"]]
        return Rollout(
            id=record.id,
            operation=Operation(record.operation),
            policy=_POLICY.validate_python(body["policy"]),
            waves=_WAVES.validate_python(waves),
            targets=_TARGETS.validate_python(body["targets"]),
            states=_STATES.validate_python(body["states"]),
            hosts=_HOSTS.validate_python(body["hosts"]),
            resolved={text: _resolved(text, one) for text, one in body["resolved"].items()},
            reference=body["reference"],
            began=record.at,
            actor=record.actor,
        )
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise _damaged(f"the plan of rollout {record.id}", error) from error


def replay(record: RolloutRecord, entries: Iterable[JournalEntry]) -> Rollout:
    """The rollout as its journal leaves it.  Raises `DamagedRolloutError`."""
    return apply(begin(record), entries)


def apply(rollout: Rollout, entries: Iterable[JournalEntry]) -> Rollout:
    """The rollout after more entries, in one step whatever their number.

    Raises `DamagedRolloutError`.
    """
    fold = _Fold(rollout)
    for entry in entries:
        try:
            fold.take(entry)
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise _damaged(f"entry {entry.number} of rollout {rollout.id}", error) from error
    return fold.result()


def host_entry(host: str, state: HostState) -> NewEntry:
    """A host comes to a state."""
    return NewEntry(EntryKind.HOST, host, state_json(state))


def state_json(state: HostState) -> dict[str, Any]:
    """A state as JSON; what is as in a fresh one is left out, but never the phase."""
    body: dict[str, Any] = _STATE.dump_python(state, mode="json", exclude_defaults=True)
    return {"phase": str(state.phase), **body}


def target_entry(target: Target) -> NewEntry:
    """What a host is to become that could not be asked before."""
    return NewEntry(EntryKind.TARGET, target.host, _TARGET.dump_python(target, mode="json"))


def wave_entry(number: int, phase: WavePhase, message: str = "") -> NewEntry:
    """A wave comes to a phase."""
    return NewEntry(EntryKind.WAVE, "", {"wave": number, "phase": str(phase), "message": message})


def went_back(phase: HostPhase, fault: str | None) -> bool:
    """Whether a host was well, and went back because the rollout halted."""
    return phase is HostPhase.ROLLED_BACK and not fault


def taken_up(phase: HostPhase, fault: str | None, *, asked: bool) -> bool:
    """Whether a retry plans a host anew; `asked`: it was named, or all are.

    Those that had to stop or go back for others go on with whom was named.
    """
    stopped = phase is HostPhase.SKIPPED or went_back(phase, fault)
    return stopped or (asked and phase in RETRIED)


def first_of(waves: Iterable[tuple[int, Collection[str]]], back: Collection[str]) -> int | None:
    """The first wave (number, hosts) with hosts that went back; None when nobody did."""
    numbers = (number for number, hosts in waves if not set(back).isdisjoint(hosts))
    return min(numbers, default=None) if back else None


def wave_again(number: int, phase: WavePhase, first: int | None) -> WavePhase:
    """Where a wave stands after a retry; `first` is as in `first_of`.

    What went back comes forward in the order of the waves again, not all of it at once.
    """
    if first is not None and number >= first:
        return WavePhase.WAITING
    return wave_with(EntryKind.RETRY, phase)


class _Fold:
    """Entries laid over a rollout; its mappings are copied once."""

    def __init__(self, rollout: Rollout) -> None:
        self._rollout = rollout
        self._states = dict(rollout.states)
        self._targets = dict(rollout.targets)
        self._waves = dict(rollout.wave_states)
        self._evidence = dict(rollout.evidence)

    def result(self) -> Rollout:
        return replace(
            self._rollout,
            states=self._states,
            targets=self._targets,
            wave_states=self._waves,
            evidence=self._evidence,
        )

    def take(self, entry: JournalEntry) -> None:
        body, host = entry.body, entry.host
        self._change(number=entry.number)
        match entry.kind:
            case EntryKind.HOST:
                self._states[host] = _STATE.validate_python(body)
            case EntryKind.TARGET:
                self._targets[host] = _TARGET.validate_python(body)
            case EntryKind.WAVE:
                phase = WavePhase(body["phase"])
                self._waves[int(body["wave"])] = WaveState(phase, entry.at, body["message"])
            case EntryKind.EVIDENCE:
                self._evidence[host] = body
            case EntryKind.HALTED | EntryKind.ABORTED:
                unwind = self._rollout.unwind or bool(body.get("unwind"))
                reason = self._rollout.halted or str(body["reason"])
                self._change(halted=reason, unwind=unwind, paused=None)
            case EntryKind.PAUSED:
                self._change(paused=str(body.get("reason") or "paused"))
            case EntryKind.UNPAUSED:
                self._change(paused=None)
            case EntryKind.APPROVED:
                self._change(approved=self._rollout.approved | {int(body["wave"])})
            case EntryKind.RETRY:
                self._retry(entry)
            case EntryKind.FINISHED:
                self._change(outcome=str(body["outcome"]))
                for number, wave in self._waves.items():
                    self._move_wave(number, wave_with(entry.kind, wave.phase), entry)
            case EntryKind.STARTED | EntryKind.STOPPED | EntryKind.NOTE:
                pass
            case _ as never:
                assert_never(never)

    def _retry(self, entry: JournalEntry) -> None:
        """A host, or all that did not end well, are planned anew; what the halt stopped goes on."""
        back = set()
        for name, state in self._states.items():
            if went_back(state.phase, state.fault):
                back.add(name)
            if taken_up(state.phase, state.fault, asked=entry.host in ("", name)):
                self._states[name] = HostState(
                    HostPhase.DEFERRED, "to be tried again", down=state.down, drained=state.drained
                )
                self._evidence.pop(name, None)
            elif state.phase is HostPhase.UPDATED and state.fault is not None:
                # It could not go back; should the rollout halt once more, it is its turn again.
                self._states[name] = replace(state, fault=None)
        first = first_of(((wave.number, wave.hosts) for wave in self._rollout.waves), back)
        for number, wave in self._waves.items():
            self._move_wave(number, wave_again(number, wave.phase, first), entry)
        self._change(halted=None, unwind=False, outcome=None, opened=entry.at)

    def _move_wave(self, number: int, phase: WavePhase, entry: JournalEntry) -> None:
        if phase is not self._waves[number].phase:
            self._waves[number] = WaveState(phase, entry.at)

    def _change(self, **values: Any) -> None:
        self._rollout = replace(self._rollout, **values)


def _resolved_json(one: Resolved) -> dict[str, Any]:
    return {
        "digest": str(one.digest),
        "platforms": {str(platform): str(digest) for platform, digest in one.platforms.items()},
        "version": one.version,
    }


def _resolved(text: str, body: Mapping[str, Any]) -> Resolved:
    platforms = {Platform.parse(p): Digest(d) for p, d in body["platforms"].items()}
    return Resolved(ImageRef.parse(text), Digest(body["digest"]), platforms, body["version"])


def _damaged(what: str, error: Exception) -> DamagedRolloutError:
    return DamagedRolloutError(
        f"{what} cannot be read",
        hint="`bootcfleet audit --verify` says whether the ledger was changed",
        details=str(error).splitlines()[:3],
    )
