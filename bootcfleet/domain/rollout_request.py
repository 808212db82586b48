"""What people ask of a rollout (pause, approve, abort, retry): whether it can be done now.

Each function gives the entry for the journal.  The controller takes it in when it next looks.
"""

from __future__ import annotations

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.rollout import HostPhase, Operation, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry, WavePhase
from bootcfleet.domain.rollout_replay import RETRIED
from bootcfleet.domain.waves import Wave
from bootcfleet.errors import FleetError, UsageError


class RequestRefusedError(FleetError):
    """A rollout cannot do what was asked, as it stands."""


def pause(rollout: Rollout, reason: str) -> NewEntry:
    """Begin nothing more.  Raises `RequestRefusedError`."""
    require_left(rollout, "pause")
    _require_going(rollout, "nothing of it is begun any more")
    if rollout.paused is not None:
        raise RequestRefusedError(
            f"the rollout {rollout.id} is paused already: {rollout.paused}",
            hint=f"let it go on: bootcfleet rollout resume {rollout.id}",
        )
    return NewEntry(EntryKind.PAUSED, body={"reason": reason})


def unpause(rollout: Rollout, reason: str) -> NewEntry:
    """Go on after a pause.  Raises `RequestRefusedError`."""
    require_left(rollout, "resume")
    if rollout.paused is None:
        raise RequestRefusedError(
            f"the rollout {rollout.id} is not paused",
            hint=f"follow it: bootcfleet rollout watch {rollout.id}",
        )
    return NewEntry(EntryKind.UNPAUSED, body={"reason": reason})


def approve(rollout: Rollout, number: int | None, reason: str) -> NewEntry:
    """Let a wave start: the one that waits for it, or the wave `number`, also beforehand.

    Raises `RequestRefusedError`, and `UsageError` for a wave that there is not.
    """
    require_left(rollout, "approve")
    _require_going(rollout, "no wave of it starts any more")
    wave = awaits_approval(rollout) if number is None else _wave(rollout, number)
    if wave is None:
        later = [one for one in rollout.waves if _unapproved(rollout, one)]
        raise RequestRefusedError(
            f"no wave of the rollout {rollout.id} waits for approval",
            hint=f"{later[0].title} will: --wave {later[0].number} approves it beforehand"
            if later
            else "the waves of its policy that are to be approved say `approve: manual`",
        )
    if not wave.approve:
        raise RequestRefusedError(f"{wave.title} of the rollout {rollout.id} needs no approval")
    if wave.number in rollout.approved:
        raise RequestRefusedError(f"{wave.title} of the rollout {rollout.id} is approved already")
    return NewEntry(EntryKind.APPROVED, body={"wave": wave.number, "reason": reason})


def abort(rollout: Rollout, reason: str, *, unwind: bool) -> NewEntry:
    """Begin nothing more for good; with `unwind` the hosts that were updated go back.

    Raises `RequestRefusedError`.
    """
    require_left(rollout, "abort")
    if rollout.halted is not None and (rollout.unwind or not unwind):
        also = ", and its updated hosts go back" if rollout.unwind else ""
        raise RequestRefusedError(
            f"the rollout {rollout.id} has halted already{also}: {rollout.halted}",
            hint=None if rollout.unwind else "--rollback takes the hosts back that were updated",
        )
    said = f"aborted: {reason}" if reason else "aborted"
    return NewEntry(EntryKind.ABORTED, body={"reason": said, "unwind": unwind})


def retry(rollout: Rollout, host: str | None, reason: str) -> NewEntry:
    """Take up a host again that did not end well, or all of them; waves go on with it.

    Raises `RequestRefusedError`, and `UsageError` for a host that is not in the rollout.
    """
    if rollout.unwind and rollout.halted is not None and rollout.outcome is None:
        # It would count those that have gone back as failed, and halt on them.
        raise RequestRefusedError(
            f"hosts of the rollout {rollout.id} are still going back: {rollout.halted}",
            hint=f"try again when it has ended: bootcfleet rollout watch {rollout.id}",
        )
    if host is None:
        if not any(rollout.state(name).phase in RETRIED for name in rollout.names):
            raise RequestRefusedError(
                f"no host of the rollout {rollout.id} failed: there is nothing to try again"
            )
        return NewEntry(EntryKind.RETRY, body={"reason": reason})
    if host not in rollout.names:
        raise UsageError(
            f"{host} is not in the rollout {rollout.id}",
            hint=did_you_mean(host, rollout.names)
            or f"its hosts: bootcfleet rollout show {rollout.id}",
        )
    phase = rollout.state(host).phase
    if phase not in RETRIED:
        words = ", ".join(str(one) for one in HostPhase if one in RETRIED)
        raise RequestRefusedError(
            f"{host} did not fail: it is {phase}",
            hint=f"what can be tried again: hosts that are {words}",
        )
    return NewEntry(EntryKind.RETRY, host, {"reason": reason})


def awaits_approval(rollout: Rollout) -> Wave | None:
    """The wave that would start now and waits for approval, or None."""
    if rollout.halted is not None or rollout.outcome is not None:
        return None
    for wave in rollout.waves:
        phase = rollout.wave_state(wave.number).phase
        if phase is not WavePhase.DONE:
            return wave if _unapproved(rollout, wave) else None
    return None


def _unapproved(rollout: Rollout, wave: Wave) -> bool:
    waiting = rollout.wave_state(wave.number).phase is WavePhase.WAITING
    return waiting and wave.approve and wave.number not in rollout.approved


def _wave(rollout: Rollout, number: int) -> Wave:
    for wave in rollout.waves:
        if wave.number == number:
            return wave
    last = rollout.waves[-1].number if rollout.waves else 0
    raise UsageError(
        f"the rollout {rollout.id} has no wave {number}",
        hint=f"its waves are 1 to {last}" if last else "it has no waves: nothing is to be done",
    )


def require_left(rollout: Rollout, verb: str) -> None:
    """Raise `RequestRefusedError` for a rollout that has ended."""
    if rollout.outcome is not None:
        raise RequestRefusedError(
            f"the rollout {rollout.id} has ended ({rollout.outcome}): there is nothing to {verb}",
            hint=f"what came of it: bootcfleet rollout show {rollout.id}",
        )


def _require_going(rollout: Rollout, otherwise: str) -> None:
    if rollout.halted is not None:
        raise RequestRefusedError(
            f"the rollout {rollout.id} has halted, {otherwise}: {rollout.halted}",
            hint="its channels go back; begin another: bootcfleet rollout pull"
            if rollout.operation is Operation.PULL
            else f"take its hosts up again: bootcfleet rollout retry --rollout {rollout.id}",
        )
