"""What a rollout's events add up to."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.event import Event
from bootcfleet.domain.measure import about, clock, size
from bootcfleet.domain.rollout import ENDS, HostPhase
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase
from bootcfleet.domain.rollout_replay import replay, wave_entry
from bootcfleet.domain.rollout_tally import IDLE, Tally
from bootcfleet.domain.rollout_timeline import timeline
from bootcfleet.domain.waves import Wave
from bootcfleet.errors import HostFault
from tests.rolloutjournal import Story, plan, played

WAVES = (Wave(1, ("a",), canary=True), Wave(2, ("b", "c")), Wave(3, ("d", "e", "f", "g")))


def tally() -> Tally:
    return Tally.of("r1", "upgrade", WAVES)


def wave(kind: str, number: int, message: str = "", **data: object) -> Event:
    return Event(f"wave.{kind}", "", message, {"wave": number, **data})


def host(kind: str, name: str, message: str = "", **data: object) -> Event:
    return Event(f"host.{kind}", name, message, data)


def test_a_host_is_counted_in_one_phase_of_the_rollout_and_of_its_wave() -> None:
    one = tally()
    one.take(host("staging", "b"), 10)
    one.take(host("failed", "c", "no space", fault="no-space"), 11)
    assert one.counts == {HostPhase.PENDING: 5, HostPhase.STAGING: 1, HostPhase.FAILED: 1}
    assert one.waves[2].counts == {HostPhase.STAGING: 1, HostPhase.FAILED: 1}
    assert (list(one.working), list(one.failed)) == (["b"], ["c"])
    assert (one.hosts["c"].message, one.hosts["c"].fault) == ("no space", "no-space")
    assert (one.ended, one.waves[2].ended, one.updated) == (1, 1, 11)


def test_a_host_that_is_in_no_wave_is_counted() -> None:
    one = tally()
    one.take(host("refused", "z", "is pinned"), 1)
    assert one.counts[HostPhase.REFUSED] == 1
    assert len(one.hosts) == 8


def test_the_time_in_a_phase_begins_when_it_is_entered() -> None:
    one = tally()
    one.take(host("staging", "b", "first"), 10)
    one.take(host("staging", "b", "again"), 15)
    assert (one.hosts["b"].since, one.hosts["b"].message) == (10, "again")
    one.take(host("staged", "b"), 20)
    assert one.hosts["b"].since == 20


def test_a_download_has_a_size_a_rate_and_a_sum_that_starts_over_with_a_new_try() -> None:
    one = tally()
    one.take(host("staging", "b"), 100)
    one.take(host("download", "b", bytes=1000, bytes_total=4000), 101)
    assert (one.hosts["b"].rate, one.hosts["b"].bytes_total) == (1000, 4000)
    one.take(host("download", "b", bytes=3000, bytes_total=4000), 102)
    assert one.hosts["b"].rate == pytest.approx(1300)
    assert one.downloaded == 3000
    one.take(host("download", "b", bytes=500, bytes_total=4000), 103)
    assert one.downloaded == 3500
    one.take(host("staged", "b"), 104)
    assert (one.hosts["b"].bytes, one.hosts["b"].rate, one.downloaded) == (0, 0, 3500)


def test_after_the_bytes_come_steps() -> None:
    one = tally()
    one.take(host("staging", "b"), 100)
    one.take(host("download", "b", task="pulling", bytes=4000, bytes_total=4000, steps=1), 101)
    one.take(host("download", "b", task="importing", steps=3, steps_total=9), 102)
    b = one.hosts["b"]
    assert (b.task, b.steps, b.steps_total, b.rate) == ("importing", 3, 9, 0)
    assert one.downloaded == 4000
    one.take(host("rebooting", "b"), 103)
    assert (b.task, b.steps_total, b.bytes) == ("", 0, 0)


def test_what_is_waited_for_is_said_until_it_is_over() -> None:
    one = tally()
    one.take(waits("reboots", "the window opens at 22:00"), 1)
    one.take(waits("canary", "waits for approval"), 2)
    assert one.state == "waiting"
    assert one.waits == {"reboots": "the window opens at 22:00", "canary": "waits for approval"}
    assert (one.waves[1].phase, one.waves[1].since) == (WavePhase.WAITING, 2)
    one.take(host("staging", "b"), 3)
    assert one.state == "running"
    one.take(wave("started", 1), 4)
    assert one.waits == {"reboots": "the window opens at 22:00"}
    one.take(Event("rollout.waiting", "", "", {"what": "", "why": ""}), 5)
    assert one.waits == {}
    one.take(Event("rollout.waiting", "", "x", {"waits": {"downloads": "50 at once"}}), 6)
    assert one.waits == {"downloads": "50 at once"}
    one.take(wave("baking", 1, seconds=9), 7)
    one.take(waits("canary", "bakes until 22:00"), 8)
    assert (one.waits, one.waves[1].phase) == ({"downloads": "50 at once"}, WavePhase.BAKING)


def waits(what: str, why: str) -> Event:
    return Event("rollout.waiting", "", f"{what}: {why}", {"what": what, "why": why})


def test_an_approval_is_needed_until_it_is_given() -> None:
    one = Tally.of("r", "upgrade", [Wave(1, ("a",)), Wave(2, ("b",), approve=True)])
    assert [one_wave.approve for one_wave in one.waves.values()] == [False, True]
    one.take(Event("rollout.approved", "", "approved", {"wave": 2}), 1)
    assert not one.waves[2].approve


def test_waves_say_where_they_stand_and_why_they_wait() -> None:
    one = tally()
    assert one.wave is one.waves[1]
    assert one.wave.phase is None
    one.take(Event("rollout.started"), 0)
    one.take(wave("waiting", 1, "waits for `rollout approve`"), 5)
    assert (one.state, one.waits) == ("waiting", {"canary": "waits for `rollout approve`"})
    one.take(wave("waiting", 1, "the window opens at 22:00"), 6)
    assert (one.waves[1].since, one.waves[1].why) == (5, "the window opens at 22:00")
    one.take(wave("started", 1), 10)
    assert one.state == "running"
    one.take(wave("baking", 1, seconds=60), 20)
    assert one.waves[1].until == 80
    one.take(wave("finished", 1), 80)
    assert (one.waves[1].started, one.waves[1].finished) == (10, 80)
    assert one.wave is one.waves[2]


def test_the_time_left_is_what_finished_waves_took_and_a_bake_is_known() -> None:
    one = tally()
    assert one.seconds_left(0) is None
    one.take(wave("started", 1), 0)
    assert one.seconds_left(50) is None
    one.take(wave("finished", 1), 100)
    # One size was seen: each wave takes as long.
    assert one.seconds_left(100) == 200
    one.take(wave("started", 2), 100)
    assert one.seconds_left(130) == 170
    one.take(wave("finished", 2), 220)
    # 100 s for one host, 120 for two: 80 and 20 for each, so 160 for four.
    assert one.seconds_left(220) == pytest.approx(160)
    one.take(wave("started", 3), 220)
    one.take(wave("baking", 3, seconds=30), 250)
    assert one.seconds_left(260) == 20
    one.take(Event("rollout.halted", "", "too many"), 261)
    assert one.seconds_left(262) is None


def test_the_rate_is_that_of_the_last_minutes() -> None:
    one = tally()
    one.take(host("unchanged", "g"), 0)  # before the start: the plan's, not this rollout's speed
    one.take(Event("rollout.started"), 0)
    assert one.hosts_a_minute(10) is None
    one.take(host("updated", "a"), 30)
    one.take(host("updated", "b"), 60)
    assert one.hosts_a_minute(60) == pytest.approx(2)
    assert one.hosts_a_minute(340) == pytest.approx(60 / 300)
    assert one.hosts_a_minute(1000) is None


def test_a_halt_stays_in_sight_until_the_end() -> None:
    one = tally()
    one.take(Event("rollout.halted", "", "the canary a failed"), 1)
    one.take(wave("waiting", 2, "for hosts that finish"), 2)
    assert (one.state, one.halted) == ("halted", "the canary a failed")
    one.take(Event("rollout.finished", "", "halted", {"outcome": "halted"}), 3)
    assert one.outcome == "halted"
    one.take(Event("rollout.retried", "", "retried"), 4)
    assert (one.state, one.halted, one.outcome) == ("running", "", "")


@pytest.mark.parametrize("seed", range(8))
def test_the_events_of_a_journal_add_up_to_what_replaying_it_gives(seed: int) -> None:
    record, entries = played(40, bad=0.3, seed=seed)
    for cut in (len(entries) // 3, len(entries)):
        one = Tally()
        for at, event in JournalEvents(record).all(entries[:cut]):
            one.take(event, at.timestamp())
        rollout = replay(record, entries[:cut])
        assert one.counts == Counter(rollout.state(name).phase for name in rollout.names)
        assert (one.rollout, one.operation) == (rollout.id, str(rollout.operation))
        for number, standing in rollout.wave_states.items():
            assert one.waves[number].phase is standing.phase
        assert one.outcome == (rollout.outcome or "")
        assert bool(one.halted) == bool(rollout.halted)


def test_a_retry_after_a_way_back_starts_the_same_waves_anew_as_replaying_it_does() -> None:
    story = Story(plan([["a"], ["b", "c"], ["d"]]))
    for number in (1, 2):
        story.write(wave_entry(number, WavePhase.RUNNING))
        story.write(wave_entry(number, WavePhase.DONE))
    story.write(wave_entry(3, WavePhase.RUNNING))
    story.host("a", HostPhase.UPDATED)
    story.host("b", HostPhase.ROLLED_BACK, "the rollout halted and goes back")
    story.host("c", HostPhase.ROLLED_BACK, "sick", fault=HostFault.HEALTH_FAILED)
    story.host("d", HostPhase.FAILED, "no space", fault=HostFault.NO_SPACE)
    story.say(EntryKind.HALTED, reason="2 hosts failed", unwind=True)
    story.say(EntryKind.FINISHED, outcome="halted")
    story.say(EntryKind.RETRY, 1, "d")
    rollout = replay(story.record, story.entries)
    phases = [rollout.state(name).phase for name in "abcd"]
    again = HostPhase.DEFERRED
    assert phases == [HostPhase.UPDATED, again, HostPhase.ROLLED_BACK, again]
    waves = [rollout.wave_state(number).phase for number in (1, 2, 3)]
    assert waves == [WavePhase.DONE, WavePhase.WAITING, WavePhase.WAITING]
    one = Tally()
    for at, event in JournalEvents(story.record).all(story.entries):
        one.take(event, at.timestamp())
    assert [one.hosts[name].phase for name in "abcd"] == phases
    assert [wave.phase for wave in one.waves.values()] == waves
    line = timeline(story.record, story.entries, story.now + timedelta(seconds=9))
    assert [wave.phase for wave in line.waves] == waves
    assert [(wave.segments[-1].phase, wave.segments[-1].seconds) for wave in line.waves[1:]] == [
        ("waiting", 9)
    ] * 2
    assert [line.host(name).segments[-1].phase for name in "bd"] == [again] * 2
    assert line.host("c").ended is not None


def test_a_retry_defers_the_same_hosts_as_replaying_it_does() -> None:
    story = Story(plan([["a"], ["b", "c", "d"]]))
    story.say(EntryKind.STARTED)
    story.host("a", HostPhase.UPDATED)
    story.host("b", HostPhase.FAILED, "no space")
    story.host("c", HostPhase.ROLLED_BACK, "sick")
    story.host("d", HostPhase.SKIPPED)
    story.say(EntryKind.HALTED, reason="2 hosts failed and the failure budget is 0")
    story.write(wave_entry(1, WavePhase.DONE))
    story.write(wave_entry(2, WavePhase.RUNNING))
    story.say(EntryKind.FINISHED, outcome="halted")
    one = Tally()
    for at, event in JournalEvents(story.record).all(story.entries):
        one.take(event, at.timestamp())
    assert [wave.phase for wave in one.waves.values()] == [WavePhase.DONE, WavePhase.HALTED]
    for host_name in ("b", ""):
        story.say(EntryKind.RETRY, 1, host_name)
        one = Tally()
        for at, event in JournalEvents(story.record).all(story.entries):
            one.take(event, at.timestamp())
        rollout = replay(story.record, story.entries)
        for name in rollout.names:
            assert one.hosts[name].phase is rollout.state(name).phase
        for number, standing in rollout.wave_states.items():
            assert one.waves[number].phase is standing.phase
        assert (one.halted, one.state) == ("", "running")


def test_what_is_tried_again_is_counted_as_the_controller_writes_it_down() -> None:
    story = Story(plan([["a", "b"]]))
    for tries in (0, 1, 2, 0, 1):
        story.host("a", HostPhase.STAGING, "asked for", tries=tries)
    story.host("a", HostPhase.STAGED, "ready")
    story.host("b", HostPhase.DEFERRED, "cannot be reached", tries=1)
    # What was staged is dropped in some tries, too: that is after its end.
    story.host("a", HostPhase.FAILED, "no space", tries=1)
    one = Tally()
    for at, event in JournalEvents(story.record).all(story.entries):
        one.take(event, at.timestamp())
    assert one.retries == 4
    # A controller in pull mode has no tries of hosts.
    one.take(Event("rollout.retry", "", "the registry does not answer"), 1)
    assert one.retries == 5


EVENTS = st.one_of(
    st.builds(
        host,
        st.sampled_from([*HostPhase, "download", "problem", "evidence", "unheard-of"]),
        st.sampled_from("abcdefgxyz"),
        st.text(max_size=5),
        wave=st.integers(-1, 5),
        bytes=st.one_of(st.none(), st.integers(-5, 10**12)),
        bytes_total=st.integers(0, 10**12),
        tries=st.integers(0, 3),
    ),
    st.builds(wave, st.sampled_from(["waiting", "started", "baking", "finished", "gate"]),
              st.integers(0, 5)),
    st.builds(Event, st.sampled_from([f"rollout.{word}" for word in (
        "planned", "started", "halted", "paused", "resumed", "retried", "waiting", "finished")])),
)  # fmt: skip


@given(st.lists(EVENTS, max_size=60))
def test_the_sums_are_right_whatever_happens(events: list[Event]) -> None:
    one = tally()
    for second, event in enumerate(events):
        one.take(event, 1000.0 + second)
        now = 1000.5 + second
        assert one.counts == Counter(host.phase for host in one.hosts.values())
        assert set(one.working) == {n for n, h in one.hosts.items() if h.phase not in IDLE}
        assert one.ended == sum(1 for h in one.hosts.values() if h.phase in ENDS)
        assert (one.seconds_left(now) or 0) >= 0
        assert (one.hosts_a_minute(now) or 0) >= 0
        assert one.downloaded >= 0
    for number, one_wave in one.waves.items():
        mine = [h for h in one.hosts.values() if h.wave == number]
        if number in (1, 2, 3):
            assert one_wave.counts == Counter(h.phase for h in mine)
            assert one_wave.hosts == len(mine)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (size(0), "0 B"),
        (size(1023), "1023 B"),
        (size(1536), "1.5 KiB"),
        (size(3 * 2**30), "3.0 GiB"),
        (clock(-1), "0:00"),
        (clock(7.9), "0:07"),
        (clock(725), "12:05"),
        (clock(11049), "3:04:09"),
        (about(1), "10 s"),
        (about(30), "30 s"),
        (about(89), "90 s"),
        (about(90), "2 min"),
        (about(480), "8 min"),
        (about(9000), "2.5 h"),
    ],
)
def test_sizes_and_times_are_short(said: str, meant: str) -> None:
    assert said == meant


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (100, 100, 100),  # the same for one host and for two
        (200, 100, 150),  # a larger wave was faster: nothing is gained by being large
        (10, 200, 280),  # 190 s a host would leave less than nothing fixed: 210 s for 3 hosts it is
    ],
)
def test_the_time_left_is_never_less_than_nothing_for_a_wave_or_a_host(
    first: float, second: float, left: float
) -> None:
    one = tally()
    one.take(wave("started", 1), 0)
    one.take(wave("finished", 1), first)
    one.take(wave("started", 2), first)
    one.take(wave("finished", 2), first + second)
    assert one.seconds_left(first + second) == pytest.approx(left)
