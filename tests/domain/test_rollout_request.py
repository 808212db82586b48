"""What people may ask of a rollout, as it stands; and where it stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootcfleet.domain.rollout import HostPhase, HostState, Rollout, WaveState
from bootcfleet.domain.rollout_journal import (
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutSummary,
    WavePhase,
)
from bootcfleet.domain.rollout_replay import apply
from bootcfleet.domain.rollout_request import (
    RequestRefusedError,
    abort,
    approve,
    awaits_approval,
    pause,
    retry,
    unpause,
)
from bootcfleet.domain.rollout_standing import Standing, controller_of, standing_of
from bootcfleet.errors import FleetError, UsageError
from tests.rolloutmaker import BEGAN, a_rollout

ID = "20261121-030100-a1b2"


def after(rollout: Rollout, entry: NewEntry) -> Rollout:
    """The rollout with what was asked."""
    whole = JournalEntry(rollout.number + 1, BEGAN, entry.kind, entry.host, "ann", entry.body)
    return apply(rollout, [whole])


def waves(rollout: Rollout, *phases: WavePhase) -> Rollout:
    states = {number: WaveState(phase) for number, phase in enumerate(phases, 1)}
    return replace(rollout, wave_states=states)


def refused(error: pytest.ExceptionInfo[FleetError]) -> tuple[str, str | None]:
    assert type(error.value) is RequestRefusedError
    return error.value.message, error.value.hint


def test_pause_and_unpause() -> None:
    rollout = a_rollout()
    entry = pause(rollout, "lunch")
    assert entry == NewEntry(EntryKind.PAUSED, body={"reason": "lunch"})
    paused = after(rollout, entry)
    with pytest.raises(FleetError) as caught:
        pause(paused, "again")
    assert refused(caught) == (
        f"the rollout {ID} is paused already: lunch",
        f"let it go on: bootcfleet rollout resume {ID}",
    )
    going = after(paused, unpause(paused, ""))
    assert going.paused is None
    with pytest.raises(FleetError) as caught:
        unpause(going, "")
    assert refused(caught) == (
        f"the rollout {ID} is not paused",
        f"follow it: bootcfleet rollout watch {ID}",
    )


def test_an_ended_rollout_takes_nothing_but_retries() -> None:
    rollout = replace(a_rollout(), outcome="done")
    for verb, ask in (
        ("pause", lambda: pause(rollout, "")),
        ("resume", lambda: unpause(rollout, "")),
        ("approve", lambda: approve(rollout, None, "")),
        ("approve", lambda: approve(rollout, 2, "")),
        ("abort", lambda: abort(rollout, "", unwind=True)),
    ):
        with pytest.raises(FleetError) as caught:
            ask()
        assert refused(caught) == (
            f"the rollout {ID} has ended (done): there is nothing to {verb}",
            f"what came of it: bootcfleet rollout show {ID}",
        )


def test_a_halted_rollout() -> None:
    rollout = replace(a_rollout(), halted="2 hosts failed")
    hint = f"take its hosts up again: bootcfleet rollout retry --rollout {ID}"
    with pytest.raises(FleetError) as caught:
        pause(rollout, "")
    assert refused(caught) == (
        f"the rollout {ID} has halted, nothing of it is begun any more: 2 hosts failed",
        hint,
    )
    with pytest.raises(FleetError) as caught:
        approve(rollout, None, "")
    assert refused(caught) == (
        f"the rollout {ID} has halted, no wave of it starts any more: 2 hosts failed",
        hint,
    )
    with pytest.raises(FleetError) as caught:
        abort(rollout, "", unwind=False)
    assert refused(caught) == (
        f"the rollout {ID} has halted already: 2 hosts failed",
        "--rollback takes the hosts back that were updated",
    )
    back = after(rollout, abort(rollout, "all of it", unwind=True))
    assert (back.halted, back.unwind) == ("2 hosts failed", True)
    for unwind in (True, False):
        with pytest.raises(FleetError) as caught:
            abort(back, "", unwind=unwind)
        assert refused(caught) == (
            f"the rollout {ID} has halted already, and its updated hosts go back: 2 hosts failed",
            None,
        )


@pytest.mark.parametrize(("reason", "halted"), [("", "aborted"), ("fire", "aborted: fire")])
def test_abort(reason: str, halted: str) -> None:
    rollout = after(a_rollout(), abort(a_rollout(), reason, unwind=False))
    assert (rollout.halted, rollout.unwind) == (halted, False)


@pytest.mark.parametrize(
    ("phases", "waits"),
    [
        ((), None),
        ((WavePhase.RUNNING,), None),
        ((WavePhase.BAKING,), None),
        ((WavePhase.DONE,), 2),
        ((WavePhase.DONE, WavePhase.WAITING), 2),
        ((WavePhase.DONE, WavePhase.RUNNING), None),
        ((WavePhase.DONE, WavePhase.DONE), None),
    ],
)
def test_which_wave_waits_for_approval(phases: tuple[WavePhase, ...], waits: int | None) -> None:
    rollout = waves(a_rollout(), *phases)
    wave = awaits_approval(rollout)
    assert (wave.number if wave else None) == waits
    assert awaits_approval(replace(rollout, halted="x")) is None
    if waits is None:
        with pytest.raises(FleetError) as caught:
            approve(rollout, None, "")
        later = "wave 2 (rest) will: --wave 2 approves it beforehand"
        never = "the waves of its policy that are to be approved say `approve: manual`"
        assert refused(caught) == (
            f"no wave of the rollout {ID} waits for approval",
            never if len(phases) == 2 else later,
        )
        return
    entry = approve(rollout, None, "fine")
    assert entry == NewEntry(EntryKind.APPROVED, body={"wave": 2, "reason": "fine"})
    approved = after(rollout, entry)
    assert awaits_approval(approved) is None
    with pytest.raises(FleetError) as caught:
        approve(approved, 2, "")
    assert refused(caught) == (f"wave 2 (rest) of the rollout {ID} is approved already", None)


def test_approving_by_number() -> None:
    rollout = a_rollout()
    assert approve(rollout, 2, "").body["wave"] == 2
    with pytest.raises(FleetError) as caught:
        approve(rollout, 1, "")
    assert refused(caught) == (f"wave 1 (first) of the rollout {ID} needs no approval", None)
    with pytest.raises(UsageError) as usage:
        approve(rollout, 3, "")
    assert usage.value.message == f"the rollout {ID} has no wave 3"
    assert usage.value.hint == "its waves are 1 to 2"
    with pytest.raises(UsageError) as usage:
        approve(replace(rollout, waves=()), 1, "")
    assert usage.value.hint == "it has no waves: nothing is to be done"


@pytest.mark.parametrize("phase", list(HostPhase))
def test_retry(phase: HostPhase) -> None:
    rollout = replace(a_rollout(), states={"web1": HostState(phase)}, halted="x", outcome="halted")
    again = {HostPhase.FAILED, HostPhase.ROLLED_BACK, HostPhase.REFUSED, HostPhase.SKIPPED}
    if phase in again:
        assert retry(rollout, "web1", "r") == NewEntry(EntryKind.RETRY, "web1", {"reason": "r"})
        taken = after(rollout, retry(rollout, None, ""))
        assert (taken.halted, taken.outcome) == (None, None)
        assert taken.state("web1").phase is HostPhase.DEFERRED
        return
    with pytest.raises(FleetError) as caught:
        retry(rollout, "web1", "")
    assert refused(caught) == (
        f"web1 did not fail: it is {phase}",
        "what can be tried again: hosts that are rolled-back, failed, refused, skipped",
    )
    with pytest.raises(FleetError) as caught:
        retry(rollout, None, "")
    assert refused(caught) == (
        f"no host of the rollout {ID} failed: there is nothing to try again",
        None,
    )


@pytest.mark.parametrize("host", ["web1", None])
def test_no_retry_while_hosts_go_back(host: str | None) -> None:
    failed = {"web1": HostState(HostPhase.FAILED)}
    rollout = replace(a_rollout(), states=failed, halted="too many failed", unwind=True)
    with pytest.raises(FleetError) as caught:
        retry(rollout, host, "")
    assert refused(caught) == (
        f"hosts of the rollout {ID} are still going back: too many failed",
        f"try again when it has ended: bootcfleet rollout watch {ID}",
    )
    # Where it halts without a way back, or has come to its end, there is nothing to wait for.
    for other in (replace(rollout, unwind=False), replace(rollout, outcome="halted")):
        assert retry(other, host, "").kind is EntryKind.RETRY


def test_retrying_a_host_that_is_not_in_it() -> None:
    with pytest.raises(UsageError) as caught:
        retry(a_rollout(), "wbe1", "")
    assert caught.value.message == f"wbe1 is not in the rollout {ID}"
    assert caught.value.hint == "did you mean 'web1'?"


K = EntryKind


@pytest.mark.parametrize(
    ("kinds", "alive", "dead"),
    [
        ([], Standing.RUNNING, Standing.NOT_BEGUN),
        ([K.STARTED], Standing.RUNNING, Standing.LEFT_BEHIND),
        ([K.STARTED, K.HOST], Standing.RUNNING, Standing.LEFT_BEHIND),
        ([K.STARTED, K.STOPPED], Standing.RUNNING, Standing.STOPPED),
        ([K.STARTED, K.STOPPED, K.STARTED], Standing.RUNNING, Standing.LEFT_BEHIND),
        ([K.STARTED, K.PAUSED], Standing.PAUSED, Standing.LEFT_BEHIND),
        ([K.STARTED, K.PAUSED, K.UNPAUSED], Standing.RUNNING, Standing.LEFT_BEHIND),
        ([K.STARTED, K.PAUSED, K.STOPPED], Standing.PAUSED, Standing.STOPPED),
        ([K.STARTED, K.HALTED], Standing.HALTING, Standing.LEFT_BEHIND),
        ([K.STARTED, K.PAUSED, K.ABORTED], Standing.HALTING, Standing.LEFT_BEHIND),
        ([K.STARTED, K.HALTED, K.RETRY], Standing.RUNNING, Standing.LEFT_BEHIND),
        ([K.STARTED, K.FINISHED], Standing.FAILED, Standing.FAILED),
        ([K.STARTED, K.FINISHED, K.NOTE], Standing.FAILED, Standing.FAILED),
        ([K.STARTED, K.FINISHED, K.RETRY], Standing.RUNNING, Standing.STOPPED),
        ([K.STARTED, K.FINISHED, K.RETRY, K.STARTED], Standing.RUNNING, Standing.LEFT_BEHIND),
    ],
)
def test_standing(kinds: list[EntryKind], alive: Standing, dead: Standing) -> None:
    summary = RolloutSummary.of(
        JournalEntry(number, BEGAN, kind) for number, kind in enumerate(kinds, 1)
    )
    assert summary.entries == len(kinds)
    assert standing_of(summary, held=True) is alive
    assert standing_of(summary, held=False) is dead


@pytest.mark.parametrize(
    ("outcome", "standing"),
    [
        ("done", Standing.DONE),
        ("failed", Standing.FAILED),
        ("halted", Standing.HALTED),
        ("aborted", Standing.ABORTED),
        ("running", Standing.FAILED),
        (None, Standing.FAILED),
    ],
)
def test_the_standing_at_the_end(outcome: str | None, standing: Standing) -> None:
    entry = JournalEntry(1, BEGAN, EntryKind.FINISHED, body={"outcome": outcome})
    assert standing_of(RolloutSummary.of([entry]), held=False) is standing


def test_the_controller() -> None:
    assert controller_of(RolloutSummary()) is None
    body = {"controller": "ann@ctl1", "pid": 7, "version": "0.5"}
    first = JournalEntry(1, BEGAN, EntryKind.STARTED, actor="bob@x", body=body)
    found = controller_of(RolloutSummary.of([first]))
    assert found is not None
    assert (found.name, found.machine, found.pid, found.version, found.since) == (
        "ann@ctl1", "ctl1", 7, "0.5", BEGAN
    )  # fmt: skip
    found = controller_of(RolloutSummary.of([replace(first, body={})]))
    assert found is not None
    assert (found.name, found.pid, found.version) == ("bob@x", 0, "")
