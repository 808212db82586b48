"""What a rollout in pull mode does next, from its journal and from what is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.pull import (
    ChannelState,
    PullState,
    Seen,
    Stand,
    StepKind,
    channel_stand,
    next_pull_step,
    replay,
)
from bootcfleet.domain.pull_policy import (
    PullChannel,
    PullPlan,
    PullPolicy,
    candidates,
    needed,
    too_short,
)
from bootcfleet.domain.pull_sample import Baseline, Look, VerdictKind, judge
from bootcfleet.domain.rollout import Observation
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, WavePhase
from bootcfleet.domain.window import Window, Windows

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
OLD, NEW, OTHER, FORMER = ("sha256:" + letter * 64 for letter in "abcd")
BEFORE = Baseline(OLD, "boot-1")


def entry(kind: EntryKind, minutes: float = 0, **body: object) -> JournalEntry:
    return JournalEntry(1, NOW + timedelta(minutes=minutes), kind, actor="ann@ops", body=body)


def wave(which: int, phase: str, minutes: float = 0, **more: object) -> JournalEntry:
    body: dict[str, object] = {"wave": which, "phase": phase, **more}
    if phase == "running":
        sample = {
            host: {"booted": OLD, "boot_id": "boot-1", "system_state": "running"}
            for host in ("h1", "h2", "h3", "h4")
        }
        body = {"number": 7, "before": OLD, "sample": sample, **body}
    return entry(EntryKind.WAVE, minutes, **body)


def plan(**rule: object) -> PullPlan:
    given: dict[str, object] = {"sample": Limit(4), "success": 75, "deadline": 600.0, **rule}
    names = ("prod-canary", "prod")
    channels = tuple(PullChannel(name, **given) for name in names)  # type: ignore[arg-type]
    return PullPlan(
        "r1", "web", NEW, frozenset({NEW}), "test", PullPolicy(channels),
        dict.fromkeys(names, "r/web:x"), dict.fromkeys(names, 100),
    )  # fmt: skip


def good(boot: str = "boot-2") -> Look:
    return Look(Observation(boot, NEW, rollback=OLD), "running")


def waiting() -> Look:
    return Look(Observation("boot-1", OLD), "running")


def sick() -> Look:
    return Look(Observation("boot-2", NEW, rollback=OLD), "degraded", ("web.service",))


def looks(*each: Look) -> dict[str, Look]:
    return {f"h{number}": look for number, look in enumerate(each, 1)}


def step(state: PullState, minutes: float = 1, **seen: object) -> tuple[StepKind, int | None, str]:
    made = next_pull_step(state, Seen(**seen), NOW + timedelta(minutes=minutes))  # type: ignore[arg-type]
    return made.kind, made.index, made.reason


OURS = {0: Stand.OURS}
RUNNING = wave(1, "running")


def test_a_way_without_trouble() -> None:
    pull = plan(bake=300.0)
    entries: list[JournalEntry] = []
    assert step(replay(pull, entries)) == (StepKind.PROMOTE, 0, "promote web to prod-canary")
    entries.append(RUNNING)
    all_wait = looks(*[waiting()] * 4)
    assert step(replay(pull, entries), stands=OURS, looks=all_wait)[0] is StepKind.WAIT
    three = looks(good(), good(), good(), waiting())
    kind, _, said = step(replay(pull, entries), stands=OURS, looks=three)
    assert kind is StepKind.BAKE
    assert said == ("prod-canary: 3 of 4 sampled hosts are good, 3 must be; it bakes for 5 min")
    entries.append(wave(1, "baking", 2))
    kind, _, said = step(replay(pull, entries), 6, stands=OURS, looks=three)
    assert kind is StepKind.WAIT
    assert said.endswith("it bakes until 2026-11-21 04:07:00Z")
    assert step(replay(pull, entries), 7, stands=OURS, looks=three)[0] is StepKind.DONE
    entries.append(wave(1, "done", 7))
    assert step(replay(pull, entries), stands=OURS) == (StepKind.PROMOTE, 1, "promote web to prod")
    both = {0: Stand.OURS, 1: Stand.OURS}
    entries += [wave(2, "running"), wave(2, "done")]
    assert step(replay(pull, entries), stands=both) == (StepKind.FINISH, None, "done")


def test_too_many_failures_halt_at_once_and_the_deadline_does_the_rest() -> None:
    state = replay(plan(), [RUNNING])
    one = looks(sick(), waiting(), waiting(), waiting())
    assert step(state, stands=OURS, looks=one)[0] is StepKind.WAIT
    two = looks(sick(), sick(), good(), good())
    kind, index, said = step(state, stands=OURS, looks=two)
    assert (kind, index) == (StepKind.HALT, 0)
    assert said == (
        "prod-canary: 2 of 4 sampled hosts failed, and 1 may: h1 runs bbbbbbbbbbbb and systemd "
        "says degraded (failed units: web.service); h2 runs bbbbbbbbbbbb and systemd says degraded "
        "(failed units: web.service)"
    )
    late = looks(good(), good(), waiting(), waiting())
    assert step(state, 9.9, stands=OURS, looks=late)[0] is StepKind.WAIT
    kind, _, said = step(state, 10, stands=OURS, looks=late)
    assert kind is StepKind.HALT
    assert "h3 still runs aaaaaaaaaaaa, and did not move within 10 min" in said


def test_who_could_not_be_asked_counts_against_it() -> None:
    few = wave(
        1, "running", sample={"h1": {"booted": OLD, "boot_id": "boot-1", "system_state": "x"}}
    )
    kind, _, said = step(replay(plan(), [few]), stands=OURS, looks=looks(good()))
    assert kind is StepKind.HALT
    assert said.endswith("; 3 could not be asked beforehand")


def test_a_bake_ends_only_while_enough_are_good() -> None:
    state = replay(plan(bake=60.0), [RUNNING, wave(1, "baking", 1)])
    gone = Look(error="connection refused", silent=NOW, was_good=True)
    lost = looks(good(), good(), gone, gone)
    assert step(state, 5, stands=OURS, looks=lost)[0] is StepKind.WAIT
    # Past the deadline a host that was good has the time of a reboot.
    just = looks(good(), good(), *[replace(gone, silent=NOW + timedelta(minutes=11))] * 2)
    assert step(state, 12, stands=OURS, looks=just)[0] is StepKind.WAIT
    assert step(state, 40, stands=OURS, looks=just)[0] is StepKind.HALT


ALL_GOOD = {"stands": OURS, "looks": looks(*[good()] * 4)}
ALL_SICK = {"stands": OURS, "looks": looks(*[sick()] * 4)}
GATE = GateResult("errors", False, "7 is not < 1")


@pytest.mark.parametrize(
    ("entries", "seen", "kind"),
    [
        ([], {"gates": (GATE,)}, StepKind.HALT),
        ([], {"gates": (replace(GATE, name="soak"),)}, StepKind.WAIT),
        ([], {"gates": (replace(GATE, name="soak"), GATE)}, StepKind.HALT),
        ([entry(EntryKind.PAUSED)], {}, StepKind.WAIT),
        ([entry(EntryKind.PAUSED), entry(EntryKind.UNPAUSED)], {}, StepKind.PROMOTE),
        ([entry(EntryKind.ABORTED)], {}, StepKind.HALT),
        ([entry(EntryKind.HALTED, reason="x")], {}, StepKind.FINISH),
        # Begun, and no more came of it; begun and done; begun and moved on by somebody.
        ([RUNNING], {"stands": {0: Stand.BEFORE}}, StepKind.PROMOTE),
        ([RUNNING, entry(EntryKind.PAUSED)], {"stands": {0: Stand.BEFORE}}, StepKind.WAIT),
        ([RUNNING], {"stands": {0: Stand.BEFORE}, "gates": (GATE,)}, StepKind.HALT),
        ([RUNNING], {"stands": {0: Stand.ELSEWHERE}}, StepKind.HALT),
        ([RUNNING], {"stands": {0: Stand.BACK}}, StepKind.HALT),
        ([RUNNING], ALL_GOOD, StepKind.DONE),
        # A pause holds promotions, and no judgement.
        ([RUNNING, entry(EntryKind.PAUSED)], ALL_SICK, StepKind.HALT),
        ([RUNNING, wave(1, "baking")], {**ALL_GOOD, "gates": (GATE,)}, StepKind.HALT),
        ([entry(EntryKind.FINISHED, outcome="done")], {}, StepKind.FINISH),
    ],
)  # fmt: skip
def test_what_decides(entries: list[JournalEntry], seen: dict[str, object], kind: StepKind) -> None:
    assert step(replay(plan(), entries), **seen)[0] is kind


def test_an_approval_is_for_one_channel() -> None:
    pull = plan(approve=True)
    assert step(replay(pull, []))[2] == "prod-canary waits for an approval"
    assert not replay(pull, []).asks_gates
    for body in ({"wave": 1}, {}):
        approved = replay(pull, [entry(EntryKind.APPROVED, **body)])
        assert approved.asks_gates
        assert step(approved)[0] is StepKind.PROMOTE
    assert step(replay(pull, [entry(EntryKind.APPROVED, wave=2)]))[0] is StepKind.WAIT
    done = [entry(EntryKind.APPROVED), RUNNING, wave(1, "done")]
    assert step(replay(pull, done), stands=OURS)[2] == "prod waits for an approval"
    assert step(replay(pull, [*done, entry(EntryKind.APPROVED)]), stands=OURS)[1] == 1


def test_back_newest_first_and_not_what_others_moved() -> None:
    entries = [RUNNING, wave(1, "done"), wave(2, "running"), entry(EntryKind.HALTED, reason="bad")]
    state = replay(plan(), entries)
    both = {0: Stand.OURS, 1: Stand.OURS}
    assert step(state, stands=both) == (StepKind.PUT_BACK, 1, "halted: bad")
    assert step(state, stands={**both, 1: Stand.BACK})[:2] == (StepKind.PUT_BACK, 0)
    assert step(state, stands={**both, 1: Stand.BEFORE})[:2] == (StepKind.PUT_BACK, 0)
    assert step(state, stands={**both, 1: Stand.ELSEWHERE})[:2] == (StepKind.LEAVE, 1)
    left = replay(plan(), [*entries, JournalEntry(9, NOW, EntryKind.NOTE, body=LEFT)])
    assert step(left, stands={**both, 1: Stand.ELSEWHERE})[:2] == (StepKind.PUT_BACK, 0)
    backs = {0: Stand.BACK, 1: Stand.BACK}
    assert step(state, stands=backs) == (StepKind.FINISH, None, "halted")
    aborted = replay(plan(), [entry(EntryKind.ABORTED, reason="no"), *entries])
    assert step(aborted, stands=backs)[2] == "aborted"
    new = replay(plan(), [wave(1, "running", before=None), entry(EntryKind.HALTED, reason="bad")])
    assert step(new, stands=OURS)[0] is StepKind.LEAVE
    theirs = replay(plan(), [wave(1, "running", number=None), entry(EntryKind.HALTED, reason="x")])
    assert step(theirs, stands=OURS)[0] is StepKind.FINISH


def test_a_channel_that_cannot_go_back_now_keeps_none_of_the_others() -> None:
    entries = [RUNNING, wave(1, "done"), wave(2, "running"), entry(EntryKind.HALTED, reason="bad")]
    state = replay(plan(), entries)
    away = {1: "r.example.com does not answer"}
    assert step(state, stands=OURS, trouble=away)[:2] == (StepKind.PUT_BACK, 0)
    # It may be one that was looked at well, and then could not be moved.
    both = {0: Stand.BACK, 1: Stand.OURS}
    assert step(state, stands=both, trouble=away) == (
        StepKind.WAIT,
        1,
        "prod is not back yet, and tried again: r.example.com does not answer",
    )
    # One that is not ours to put back is not waited for.
    theirs = replay(plan(), [RUNNING, wave(2, "running", number=None), entries[-1]])
    assert step(theirs, stands={0: Stand.BACK}, trouble=away)[0] is StepKind.FINISH


LEFT = {"kind": "left", "wave": 2, "message": "theirs"}
BEGAN = ChannelState(WavePhase.RUNNING, NOW, 7, OLD)


@pytest.mark.parametrize(
    ("found", "number", "last", "stand"),
    [
        (OLD, 6, OLD, Stand.BEFORE),
        (NEW, 7, NEW, Stand.OURS),
        (OLD, 8, OLD, Stand.BACK),
        # Behind the history's back, to the digest before; somebody's move to and fro; a new one.
        (OLD, 7, NEW, Stand.ELSEWHERE),
        (NEW, 9, NEW, Stand.ELSEWHERE),
        (OTHER, 7, OTHER, Stand.ELSEWHERE),
        (OTHER, 6, OLD, Stand.ELSEWHERE),
        (None, 7, NEW, Stand.ELSEWHERE),
    ],
)
def test_where_a_channel_stands(found: str | None, number: int, last: str, stand: Stand) -> None:
    assert channel_stand(BEGAN, NEW, found=found, number=number, last=last) is stand


def test_a_channel_that_was_there_already() -> None:
    state = replace(BEGAN, number=None)
    assert channel_stand(state, NEW, found=NEW, number=3, last=NEW) is Stand.OURS
    assert channel_stand(state, NEW, found=OLD, number=4, last=OLD) is Stand.ELSEWHERE
    assert not state.moved


@pytest.mark.parametrize(
    ("look", "late", "kind"),
    [
        (waiting(), None, VerdictKind.WAITING),
        (waiting(), "in time", VerdictKind.LATE),
        (Look(Observation("boot-1", OLD, staged=NEW), "running"), None, VerdictKind.WAITING),
        (good(), None, VerdictKind.GOOD),
        (good(), "in time", VerdictKind.GOOD),
        (sick(), None, VerdictKind.UNHEALTHY),
        (replace(good(), system="starting"), None, VerdictKind.WAITING),
        (replace(good(), system="starting"), "in time", VerdictKind.UNHEALTHY),
        # In a new boot with the old digest: for another reason, or fallen back.
        (Look(Observation("boot-2", OLD), "running"), None, VerdictKind.WAITING),
        (Look(Observation("boot-2", OLD, rollback=NEW)), None, VerdictKind.CAME_BACK_OLD),
        (Look(Observation("boot-2", OTHER), "running"), None, VerdictKind.ELSEWHERE),
        (good("boot-1"), None, VerdictKind.ELSEWHERE),
        (Look(error="no route", silent=NOW), None, VerdictKind.WAITING),
        (Look(error="no route", silent=NOW), "in time", VerdictKind.SILENT),
        (Look(error="no route", silent=NOW, was_good=True), "in time", VerdictKind.WAITING),
        (Look(), None, VerdictKind.WAITING),
        # A reboot of its own is one before the deadline and after it, in every part of it.
        (replace(good(), system="stopping"), None, VerdictKind.WAITING),
        (replace(good(), system="stopping"), "in time", VerdictKind.UNHEALTHY),
        (
            replace(good(), system="starting", silent=NOW, was_good=True),
            "in time",
            VerdictKind.WAITING,
        ),
        (
            replace(good(), system="starting", silent=NOW - timedelta(hours=1), was_good=True),
            "in time",
            VerdictKind.UNHEALTHY,
        ),
        # On its way to what the channel had before.
        (Look(Observation("boot-2", FORMER, rollback=OLD), "running"), None, VerdictKind.WAITING),
        (Look(Observation("boot-2", FORMER, rollback=OLD)), "in time", VerdictKind.LATE),
        (Look(Observation("boot-3", FORMER, rollback=NEW)), None, VerdictKind.CAME_BACK_OLD),
    ],
)  # fmt: skip
def test_a_sampled_host(look: Look, late: str | None, kind: VerdictKind) -> None:
    verdict = judge(
        BEFORE,
        look,
        accepted=frozenset({NEW}),
        late=late,
        now=NOW,
        silence=timedelta(minutes=15),
        former=FORMER,
    )
    assert verdict.kind is kind


def test_slots_that_said_so_before_say_nothing() -> None:
    """The digest was rolled out and taken back before: it is in the rollback slot since then."""

    def kind(before: Baseline, look: Look, late: str | None = None) -> VerdictKind:
        return judge(
            before, look, accepted=frozenset({NEW}), late=late, now=NOW, silence=timedelta()
        ).kind

    again = Look(Observation("boot-2", OLD, rollback=NEW), "running")
    assert kind(BEFORE, again) is VerdictKind.CAME_BACK_OLD
    back = Baseline(OLD, "boot-1", rollback=NEW)
    assert kind(back, again) is VerdictKind.WAITING
    assert kind(back, again, "in time") is VerdictKind.LATE
    assert kind(back, good()) is VerdictKind.GOOD
    # What it had staged is what it boots next, and nobody else's doing.
    queued = Baseline(OLD, "boot-1", staged=FORMER)
    there = Look(Observation("boot-2", FORMER, rollback=OLD), "running")
    assert kind(queued, there) is VerdictKind.WAITING
    assert kind(BEFORE, there) is VerdictKind.ELSEWHERE


def test_a_host_that_was_degraded_before_may_be_so_after() -> None:
    def kind(before: Baseline, look: Look) -> VerdictKind:
        return judge(
            before, look, accepted=frozenset({NEW}), late=None, now=NOW, silence=timedelta()
        ).kind

    assert kind(Baseline(OLD, "boot-1", "degraded"), sick()) is VerdictKind.GOOD
    assert kind(Baseline(NEW, "boot-1"), good("boot-1")) is VerdictKind.GOOD
    # But by the same units.
    same = Baseline(OLD, "boot-1", "degraded", units=("web.service", "x.service"))
    assert kind(same, sick()) is VerdictKind.GOOD
    other = Baseline(OLD, "boot-1", "degraded", units=("x.service",))
    assert kind(other, sick()) is VerdictKind.UNHEALTHY
    both = replace(sick(), units=("web.service", "x.service"))
    verdict = judge(other, both, accepted=frozenset({NEW}), late=None, now=NOW, silence=timedelta())
    assert verdict.message.endswith("systemd says degraded (failed units: web.service)")


@pytest.mark.parametrize(
    ("starts", "deadline", "said"),
    [
        ((), 60.0, 0),
        (("0 2 * * sat",), 12 * 3600.0, 1),
        (("0 2 * * sat",), 7 * 86400.0, 0),
        (("0 2 * * *",), 86400.0, 0),
        (("0 2 * * *",), 86399.0, 1),
        # The weekend is the longest.
        (("0 2 * * 1-5",), 2 * 86400.0, 1),
        (("0 2 * * 1-5",), 3 * 86400.0, 0),
        (("0 2 * * sat", "0 2 * * tue"), 4 * 86400.0, 0),
        (("0 2 * * sat", "0 2 * * tue"), 3 * 86400.0, 1),
    ],
)
def test_a_deadline_before_the_hosts_look(
    starts: tuple[str, ...], deadline: float, said: int
) -> None:
    windows = Windows(
        tuple(Window(start, 4 * 3600.0) for start in starts),
        "UTC",
        # A timer knows none.
        ((NOW.date(), NOW.date() + timedelta(days=30)),),
    )
    policy = PullPolicy((PullChannel("prod", deadline=deadline), PullChannel("x", Limit(0))))
    for hour in range(0, 200, 7):
        told = too_short(policy, windows, NOW + timedelta(hours=hour))
        assert [text.partition(":")[0] for text in told] == ["prod"] * said


@given(st.sets(st.text("abcdef0123456789-", min_size=1), max_size=60), st.integers(0, 20))
def test_who_is_sampled(names: set[str], count: int) -> None:
    chosen = candidates(names, rollout="r1", channel="prod", count=count)
    assert chosen == candidates(
        sorted(names, reverse=True), rollout="r1", channel="prod", count=count
    )
    assert len(chosen) == min(count, len(names))
    assert set(chosen) <= names
    # One more does not change who came before.
    assert candidates(names, rollout="r1", channel="prod", count=count + 1)[:count] == chosen


def test_every_host_has_the_same_chance() -> None:
    names = [f"h{number}" for number in range(10)]
    seen = dict.fromkeys(names, 0)
    for number in range(2000):
        for name in candidates(names, rollout=f"r{number}", channel="prod", count=3):
            seen[name] += 1
    assert all(500 < count < 700 for count in seen.values()), seen


@pytest.mark.parametrize(
    ("wanted", "success", "least"), [(20, 90, 18), (3, 90, 3), (1, 1, 1), (10, 0, 0), (0, 90, 0)]
)
def test_how_many_must_be_good(wanted: int, success: int, least: int) -> None:
    assert needed(PullChannel("prod", success=success), wanted) == least
