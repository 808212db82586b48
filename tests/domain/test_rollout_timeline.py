"""What each host and wave did when, from record and journal."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.rollout import ENDS, HostPhase, HostState
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry, WavePhase
from bootcfleet.domain.rollout_replay import host_entry, replay, wave_entry
from bootcfleet.domain.rollout_timeline import HostLine, Timeline, timeline
from tests.rolloutjournal import BEGAN, EVIDENCE, Story, plan, played

NAMES = ("a", "b", "c")


def check(line: Timeline) -> None:
    """What holds of every timeline."""
    for host in (*line.hosts, *line.outside):
        covers(host, line)
    for wave in line.waves:
        for before, after in zip(wave.segments, wave.segments[1:], strict=False):
            assert before.end <= after.start
        assert sum(wave.counts.values()) == len(wave.hosts)


def covers(host: HostLine, line: Timeline) -> None:
    """No gap, no overlap, nothing empty, from the start to the host's end."""
    end = host.ended if host.ended is not None else line.end
    at = line.start
    for one in host.segments:
        assert one.start == at
        assert one.end > one.start
        at = one.end
    assert at == end or (not host.segments and end >= line.start)
    assert line.start <= end <= line.end
    for before, after in zip(host.segments, host.segments[1:], strict=False):
        assert before.phase != after.phase


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["host", "host", "host", "wave", "retry", "halted", "finished"]),
        st.sampled_from(NAMES),
        st.sampled_from([*HostPhase]),
        st.floats(-30, 500),
    ),
    max_size=40,
)


@given(MOVES, st.floats(0, 1000))
def test_segments_cover_a_host_from_the_start_to_its_end(
    moves: list[tuple[str, str, HostPhase, float]], later: float
) -> None:
    story = Story(plan([["a"], ["b", "c"]]))
    for kind, host, phase, after in moves:
        match kind:
            case "host":
                story.write(host_entry(host, HostState(phase, f"{phase} of {host}")), after)
            case "wave":
                story.write(wave_entry(1, list(WavePhase)[int(abs(after)) % 4], "why"), after)
            case "retry":
                story.say(EntryKind.RETRY, after, host if after > 100 else "")
            case "halted":
                story.say(EntryKind.HALTED, after, reason="too many")
            case "finished":
                story.say(EntryKind.FINISHED, after, outcome="failed")
    now = story.now + timedelta(seconds=later)
    line = timeline(story.record, story.entries, now)
    check(line)
    rollout = replay(story.record, story.entries)
    for host in line.hosts:
        assert host.state == rollout.state(host.host)
        assert (host.ended is not None) == (host.state.phase in ENDS)


@pytest.mark.parametrize("seed", range(6))
def test_a_whole_rollout(seed: int) -> None:
    record, entries = played(30, bad=0.4, seed=seed)
    line = timeline(record, entries)
    check(line)
    assert line.finished
    assert line.end == entries[-1].at
    assert [host.host for host in line.outside] == ["db1", "same1"]
    assert len(line.hosts) == 30
    assert sum(bool(host.evidence) for host in line.hosts) == sum(
        entry.kind is EntryKind.EVIDENCE for entry in entries
    )
    assert all(wave.phase is WavePhase.DONE for wave in line.waves)
    assert line.waves[1].seconds(WavePhase.WAITING) >= 300
    assert line.waves[1].seconds(WavePhase.BAKING) == 60
    kinds = Counter(one.kind for one in line.moments)
    assert kinds[EntryKind.STARTED] == 2
    assert EntryKind.HOST not in kinds


def test_what_is_under_way_lasts_until_now() -> None:
    story = Story(plan([["a"], ["b"]]))
    story.say(EntryKind.STARTED, 10)
    story.write(wave_entry(1, WavePhase.RUNNING), 5)
    story.host("a", HostPhase.STAGING, "staging: because")
    line = timeline(story.record, story.entries, BEGAN + timedelta(seconds=100))
    assert (line.end - line.start).total_seconds() == 100
    [pending, staging] = line.host("a").segments
    assert (pending.phase, pending.seconds) == ("pending", 15)
    assert (staging.phase, staging.seconds, staging.message) == ("staging", 85, "staging: because")
    assert line.host("a").ended is None
    assert line.host("a").working == 85
    assert line.waves[0].seconds(WavePhase.RUNNING) == 85
    check(line)


def test_a_retry_is_seen_as_a_second_go_and_the_first_end_stays() -> None:
    story = Story(plan([["a"]]))
    story.host("a", HostPhase.STAGING)
    story.now += timedelta(seconds=40)
    story.host("a", HostPhase.FAILED, "no space")
    story.say(EntryKind.FINISHED, 1, outcome="failed")
    story.say(EntryKind.RETRY, 100, "a", reason="the disk is larger now")
    story.say(EntryKind.STARTED, 5, controller="ctl2", pid=1, version="0.1.0")
    story.host("a", HostPhase.STAGING)
    story.now += timedelta(seconds=30)
    story.host("a", HostPhase.UPDATED)
    line = timeline(story.record, story.entries)
    assert [(one.phase, one.seconds) for one in line.host("a").segments] == [
        ("staging", 40),
        ("failed", 101),
        ("deferred", 5),
        ("staging", 30),
    ]
    assert line.host("a").state.phase is HostPhase.UPDATED
    assert [one.message for one in line.moments] == [
        "failed",
        "a to be tried again: the disk is larger now",
        "ctl2 took it up (bootcfleet 0.1.0, process 1)",
    ]


def test_a_wave_ends_with_its_rollout_and_runs_again_after_a_retry() -> None:
    story = Story(plan([["a"]]))
    story.write(wave_entry(1, WavePhase.RUNNING))
    story.write(wave_entry(1, WavePhase.BAKING), 60)
    story.say(EntryKind.HALTED, 30, reason="errors while wave 1 baked")
    story.say(EntryKind.FINISHED, 10, outcome="halted")
    (halted,) = timeline(story.record, story.entries, story.now + timedelta(days=1)).waves
    assert halted.phase is WavePhase.HALTED
    assert [(one.phase, one.seconds) for one in halted.segments] == [
        ("running", 60),
        ("baking", 40),
    ]
    story.say(EntryKind.RETRY, 1000, reason="")
    (again,) = timeline(story.record, story.entries, story.now + timedelta(seconds=5)).waves
    assert again.phase is WavePhase.RUNNING
    assert [(one.phase, one.seconds) for one in again.segments[2:]] == [
        ("halted", 1000),
        ("running", 5),
    ]


def test_a_clock_that_goes_back_makes_no_time() -> None:
    story = Story(plan([["a"]]))
    story.host("a", HostPhase.STAGING)
    story.now += timedelta(seconds=60)
    story.host("a", HostPhase.REBOOTING)
    story.now -= timedelta(seconds=45)  # another controller's clock
    story.host("a", HostPhase.CHECKING)
    story.now += timedelta(seconds=75)
    story.host("a", HostPhase.UPDATED)
    line = timeline(story.record, story.entries)
    check(line)
    assert [one.phase for one in line.host("a").segments] == ["staging", "checking"]


def test_evidence_and_notes_are_kept() -> None:
    story = Story(plan([["a"]]))
    story.say(EntryKind.EVIDENCE, 0, "a", **EVIDENCE)
    story.write(NewEntry(EntryKind.NOTE, "", {"message": "a webhook failed", "kind": "notify"}))
    story.write(NewEntry(EntryKind.NOTE, "a", {"message": "its lock is left", "kind": "lock"}))
    line = timeline(story.record, story.entries)
    assert line.host("a").evidence["failed_units"] == ["nginx.service"]
    assert [(one.kind, one.message) for one in line.moments] == [
        (EntryKind.NOTE, "a webhook failed"),
        (EntryKind.NOTE, "a: its lock is left"),
    ]
