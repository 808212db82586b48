"""Every rule of docs/rollout-policy.md, played against hosts in memory: waves, times, halts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.action import ActionKind
from bootcfleet.domain.judgement import HostReply
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import ENDS, HostPhase, Operation
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Download,
    Hook,
    HookKind,
    MetricGate,
    OnFailure,
    OnHalt,
    RolloutPolicy,
    Timeouts,
    WaveRule,
)
from bootcfleet.domain.rollout_replay import host_entry
from bootcfleet.domain.window import Window, Windows
from bootcfleet.errors import HostFault
from tests.rolloutworld import NEW, OLD, OTHER, START, FakeHost, Play, play

HOOK = Hook(HookKind.LOCAL, ("true",))
GATE = MetricGate("errors", "http://p.example", "errors", "<", 1.0, interval=30)
SICK = frozenset({NEW})
#: Any number of hosts may fail; waves have thresholds of their own.
ANY = Budgets(max_failures=Limit(1000))


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def waves(*rules: WaveRule, **more: object) -> RolloutPolicy:
    return replace(RolloutPolicy(waves=rules), **more)  # type: ignore[arg-type]


def one_by_one(**more: object) -> RolloutPolicy:
    """No canary, one host after the other."""
    return replace(RolloutPolicy(canary=None, batch=Limit(1)), **more)  # type: ignore[arg-type]


def phase(done: Play, host: str) -> HostPhase:
    return done.rollout.state(host).phase


def phases(done: Play) -> dict[str, HostPhase]:
    return {name: phase(done, name) for name in done.hosts}


def begun(done: Play, kind: ActionKind) -> dict[str, list[datetime]]:
    """When an action was begun with each host (or for each wave)."""
    found: dict[str, list[datetime]] = {}
    for at, what, key in done.log:
        if what == kind:
            found.setdefault(key, []).append(at)
    return found


def first(done: Play, kind: ActionKind) -> dict[str, datetime]:
    return {host: times[0] for host, times in begun(done, kind).items()}


def came(done: Play, number: int, to: WavePhase) -> datetime:
    """When a wave came to a phase."""
    return next(
        entry.at
        for entry in done.journal
        if entry.kind is EntryKind.WAVE
        and (entry.body["wave"], entry.body["phase"]) == (number, str(to))
    )


def ended_at(done: Play, host: str) -> datetime:
    ends = {str(end) for end in ENDS}
    own = [e for e in done.journal if e.host == host and e.kind is EntryKind.HOST]
    return next(entry.at for entry in own if entry.body["phase"] in ends)


def once(condition: Callable[[Play], bool], act: Callable[[Play], None]) -> Callable[[Play], None]:
    """Do something the first time that a condition holds."""
    done: list[bool] = []

    def tick(play: Play) -> None:
        if not done and condition(play):
            done.append(True)
            act(play)

    return tick


def waits(word: str) -> Callable[[Play], bool]:
    return lambda play: any(word in line for line in play.waiting)


def ill(*names: str) -> dict[str, FakeHost]:
    return {name: FakeHost(name, sick_on=SICK) for name in names}


# Waves and thresholds


def test_the_next_wave_begins_when_all_of_the_last_have_ended() -> None:
    labels = {f"h{n}": {"role": "db" if n < 2 else "web"} for n in range(10)}
    policy = waves(WaveRule("web", "role=web", limit=Limit(50, percent=True)))
    done = play(labels, replace(policy, batch=Limit(4)))
    assert done.run().outcome == "done"
    assert [len(wave.hosts) for wave in done.rollout.waves] == [4, 4, 2]
    staged = first(done, ActionKind.STAGE)
    for wave, after in pairwise(done.rollout.waves):
        assert min(staged[host] for host in after.hosts) >= max(
            ended_at(done, host) for host in wave.hosts
        )


@pytest.mark.parametrize(("bad", "halts"), [(0, False), (1, False), (2, False), (3, True)])
def test_a_threshold_halts_as_soon_as_it_cannot_be_met(bad: int, halts: bool) -> None:
    policy = waves(WaveRule("all", success=80, limit=Limit(10)), batch=Limit(100))
    done = play(12, policy, fakes=ill(*(f"h{n}" for n in range(bad))), room=1)
    end = done.run()
    assert (end.outcome == "halted") is halts
    assert phase(done, "h11") is (HostPhase.SKIPPED if halts else HostPhase.UPDATED)
    # One after the other: whoever comes after the third failure was not begun.
    updated = [name for name, host in done.hosts.items() if host.booted == NEW]
    if halts:
        assert "no more than 70 % can end well, and 80 % must" in (end.halted or "")
        assert len(updated) < 9
    else:
        assert len(updated) == 12 - bad


def test_failures_within_a_threshold_are_not_the_failure_budgets() -> None:
    policy = waves(WaveRule("some", success=50, limit=Limit(2)), batch=Limit(100))
    done = play(6, policy, fakes=ill("h0"))
    assert done.run().outcome == "failed"
    # One in a wave without a threshold is.
    done = play(6, policy, fakes=ill("h0", "h5"))
    assert done.run().outcome == "halted"


def test_a_failure_budget_that_is_set_holds_beside_thresholds() -> None:
    policy = waves(
        WaveRule("all", success=10), budgets=Budgets(max_failures=Limit(20, percent=True))
    )
    done = play(10, policy, fakes=ill("h0", "h1"), room=1)
    assert done.run().outcome == "failed"
    done = play(10, policy, fakes=ill("h0", "h1", "h2"), room=1)
    assert done.run().halted == "3 hosts failed and the failure budget is 2"


def test_who_could_not_take_part_is_neither_well_nor_a_failure() -> None:
    policy = waves(WaveRule("all", success=80))
    done = play(6, policy, fakes=ill("h0"), offline=["h4", "h5"])
    # 3 of 4 that could be reached: 75 %.
    assert "1 of 4 hosts" in (done.run().halted or "") or phase(done, "h4") is HostPhase.SKIPPED
    done = play(7, policy, fakes=ill("h0"), offline=["h5", "h6"])
    assert done.run().outcome == "failed"
    assert phase(done, "h5") is HostPhase.REFUSED


# Bake times


def test_the_next_wave_never_begins_before_the_bake_time_is_over() -> None:
    policy = waves(WaveRule("first", limit=Limit(2), bake=1800), WaveRule("rest"))
    done = play(5, policy)
    assert done.run().outcome == "done"
    baking, after = came(done, 1, WavePhase.BAKING), came(done, 1, WavePhase.DONE)
    assert baking >= max(ended_at(done, host) for host in ("h0", "h1"))
    assert after - baking >= minutes(30)
    # Nor much later: nothing else was waited for.
    assert after - baking < minutes(34)
    assert min(first(done, ActionKind.STAGE)[f"h{n}"] for n in (2, 3, 4)) >= after
    looks = first(done, ActionKind.BAKE)
    assert set(looks) == {"h0", "h1"}
    assert min(looks.values()) >= baking + minutes(30)


def test_a_host_that_falls_ill_while_baking_counts() -> None:
    policy = waves(WaveRule("first", limit=Limit(2), bake=600), WaveRule("rest"))
    done = play(4, policy)
    done.on_tick = once(
        lambda play: play.rollout.wave_state(1).phase is WavePhase.BAKING,
        lambda play: setattr(play.hosts["h1"], "sick_on", SICK),
    )
    assert done.run().outcome == "halted"
    assert phase(done, "h1") is HostPhase.ROLLED_BACK
    assert done.hosts["h1"].booted == OLD
    assert phase(done, "h0") is HostPhase.UPDATED
    assert {phase(done, name) for name in ("h2", "h3")} == {HostPhase.SKIPPED}


def test_a_host_that_is_off_does_not_keep_a_wave_baking() -> None:
    policy = waves(
        WaveRule("first", limit=Limit(2), bake=60),
        WaveRule("rest"),
        timeouts=Timeouts(offline=3 * 3600),
    )
    done = play(4, policy)
    done.hosts["h1"].lost = True
    done.on_tick = once(
        lambda play: play.rollout.wave_state(2).phase is WavePhase.DONE,
        lambda play: setattr(play.hosts["h1"], "lost", False),
    )
    assert done.run().outcome == "done"
    assert ended_at(done, "h1") > came(done, 2, WavePhase.DONE)


# Approvals, gates and hooks between waves


def test_an_approval_is_waited_for() -> None:
    done = play(4, waves(WaveRule("a", limit=Limit(1)), WaveRule("b", approve=True)))
    seen: list[datetime] = []

    def approve(play: Play) -> None:
        if waits("waits for approval")(play) and play.now > START + minutes(600) and not seen:
            seen.append(play.now)
            play.request(EntryKind.APPROVED, wave=2)

    done.on_tick = approve
    assert done.run().outcome == "done"
    assert min(first(done, ActionKind.STAGE)[f"h{n}"] for n in (1, 2, 3)) >= seen[0]


def test_an_approval_beforehand_is_enough() -> None:
    done = play(4, waves(WaveRule("a", limit=Limit(1)), WaveRule("b", approve=True)))
    done.request(EntryKind.APPROVED, wave=2)
    assert done.run().outcome == "done"


def test_a_wave_that_was_off_needs_its_approval_as_well() -> None:
    """A database that returns goes with the databases, and not as soon as anybody is proven."""
    labels = {"w": {"role": "web"}, "d": {"role": "db"}}
    policy = waves(
        WaveRule("web", "role=web"), WaveRule("db", "role=db", approve=True),
        timeouts=Timeouts(offline=3600),
    )  # fmt: skip
    done = play(labels, policy, offline=["d"])
    done.on_tick = once(
        lambda play: play.now > START + minutes(5),
        lambda play: setattr(play.hosts["d"], "lost", False),
    )
    with pytest.raises(AssertionError, match="waits for approval"):
        done.run(300)
    assert done.hosts["d"].boots == 0
    done.request(EntryKind.APPROVED, wave=2)
    assert done.run().outcome == "done"


@pytest.mark.parametrize("answer", [False, None])
def test_a_gate_before_a_wave_is_asked_again_until_it_holds(answer: bool | None) -> None:
    good = START + minutes(45)
    done = play(2, RolloutPolicy(gates=(GATE,)))
    done.gate = lambda now: True if now >= good else answer
    done.takes[ActionKind.GATE] = 1.0
    assert done.run().outcome == "done"
    asked = begun(done, ActionKind.GATE)["gate 1 errors"]
    assert asked[0] < START + minutes(1)
    before = [at for at in asked if at < good]
    gaps = [b - a for a, b in pairwise(before)]
    assert max(gaps) <= timedelta(seconds=33)
    assert min(gaps) >= timedelta(seconds=30)
    assert min(first(done, ActionKind.STAGE).values()) >= good


def test_a_gate_that_says_no_while_a_wave_bakes_halts() -> None:
    policy = waves(WaveRule("a", limit=Limit(1), bake=3600), WaveRule("b"), gates=(GATE,))
    done = play(3, policy)

    def gate(now: datetime) -> bool:
        state = done.rollout.wave_state(1)
        return state.phase is not WavePhase.BAKING or now < (state.since or now) + minutes(20)

    done.gate = gate
    end = done.run()
    assert end.halted == "errors while wave 1 (a) baked: the rate"
    halted = next(e for e in done.journal if e.kind is EntryKind.HALTED)
    baking = came(done, 1, WavePhase.BAKING)
    assert minutes(20) <= halted.at - baking < minutes(23)
    assert phase(done, "h1") is HostPhase.SKIPPED


def test_no_answer_while_a_wave_bakes_neither_halts_nor_passes() -> None:
    policy = waves(WaveRule("a", limit=Limit(1), bake=600), WaveRule("b"), gates=(GATE,))
    done = play(3, policy)
    back = START + minutes(180)

    def gate(now: datetime) -> bool | None:
        return None if came_baking(done) and now < back else True

    def came_baking(play: Play) -> bool:
        return play.rollout.wave_state(1).phase is WavePhase.BAKING

    done.gate = gate
    assert done.run().outcome == "done"
    assert came(done, 1, WavePhase.DONE) >= back


def test_each_of_several_gates_must_hold() -> None:
    done = play(2, RolloutPolicy(gates=(GATE, replace(GATE, name="latency"))))
    done.gate = lambda _now: True
    assert done.run().outcome == "done"
    asked = {key.split()[-1] for key in begun(done, ActionKind.GATE)}
    assert asked == {"errors", "latency"}


def test_hooks_run_before_and_after_a_wave() -> None:
    policy = waves(
        WaveRule("a", limit=Limit(2), before=HOOK, after=HOOK, bake=60), WaveRule("b", before=HOOK)
    )
    done = play(4, policy)
    assert done.run().outcome == "done"
    hooks = begun(done, ActionKind.HOOK)
    assert {key: len(times) for key, times in hooks.items()} == {
        "hook 1 before": 1, "hook 1 after": 1, "hook 2 before": 1,
    }  # fmt: skip
    staged = first(done, ActionKind.STAGE)
    assert hooks["hook 1 before"][0] < min(staged["h0"], staged["h1"])
    assert hooks["hook 1 after"][0] >= came(done, 1, WavePhase.BAKING) + minutes(1)
    assert hooks["hook 1 after"][0] < hooks["hook 2 before"][0] < min(staged["h2"], staged["h3"])


def test_the_order_of_a_blue_green_cutover() -> None:
    """Green as a whole; baked; approved; gates; the hook; blue."""
    labels = {f"h{n}": {"slot": "green" if n % 2 else "blue"} for n in range(6)}
    policy = waves(
        WaveRule("green", "slot=green", success=100, bake=600),
        WaveRule("blue", "slot=blue", approve=True, before=HOOK),
        gates=(GATE,),
        exclusive=True,
    )
    done = play(labels, policy)
    done.on_tick = once(
        waits("waits for approval"), lambda play: play.request(EntryKind.APPROVED, wave=2)
    )
    assert done.run().outcome == "done"
    approved = next(e.at for e in done.journal if e.kind is EntryKind.APPROVED)
    hook = begun(done, ActionKind.HOOK)["hook 2 before"][0]
    gate = begun(done, ActionKind.GATE)["gate 2 errors"][0]
    staged = first(done, ActionKind.STAGE)
    assert max(ended_at(done, f"h{n}") for n in (1, 3, 5)) + minutes(10) <= approved
    assert approved <= gate <= hook < min(staged[f"h{n}"] for n in (0, 2, 4))


# Windows and downloads

#: 20:00 to 20:30 UTC, every day; the plays begin at 08:00.
NIGHT = Windows((Window("0 20 * * *", 1800),))


def all_in_window(done: Play, windows: Windows, zones: Mapping[str, str] | None = None) -> None:
    for kind in (ActionKind.REBOOT, ActionKind.DRAIN):
        for host, times in begun(done, kind).items():
            for at in times:
                assert windows.open_at(at, (zones or {}).get(host)), f"{kind} {host} at {at}"


def test_reboots_begin_in_windows_alone_and_running_ones_finish() -> None:
    policy = one_by_one(windows=NIGHT, drain=(HOOK,), undrain=(HOOK,))
    done = play(20, policy)
    done.takes = {ActionKind.DRAIN: 100.0, ActionKind.REBOOT: 400.0, ActionKind.CHECK: 10.0}
    assert done.run(20_000).outcome == "done"
    for host, times in begun(done, ActionKind.DRAIN).items():
        assert all(NIGHT.open_at(at) for at in times), host
    for host, times in begun(done, ActionKind.REBOOT).items():
        assert all(NIGHT.open_at(at) for at in times), host
    nights = {times[0].date() for times in begun(done, ActionKind.REBOOT).values()}
    assert len(nights) > 1
    # The last of a night came to its end although the window had closed meanwhile.
    ends = [ended_at(done, name) for name in done.hosts]
    assert any(not NIGHT.open_at(at) for at in ends)
    assert {host.boots for host in done.hosts.values()} == {1}
    # Downloads do not wait for a window.
    assert first(done, ActionKind.STAGE)["h0"] < START + minutes(2)
    assert not any(host.drained for host in done.hosts.values())


def test_each_host_has_the_windows_of_its_own_zone() -> None:
    zones = {"h0": "Asia/Tokyo", "h1": "America/New_York", "h2": "Nowhere/At_All"}
    windows = replace(NIGHT, zone="host")
    done = play(3, one_by_one(batch=Limit(3), windows=windows), zones=zones)
    assert done.run().outcome == "done"
    all_in_window(done, windows, zones)
    hours = {host: at.hour for host, at in first(done, ActionKind.REBOOT).items()}
    assert hours == {"h0": 11, "h1": 1, "h2": 20}


def test_no_reboot_begins_in_a_blackout() -> None:
    first_days = (START.date(), START.date() + timedelta(days=1))
    windows = replace(NIGHT, blackout=(first_days,))
    done = play(2, one_by_one(batch=Limit(2), windows=windows))
    assert done.run().outcome == "done"
    third = START.date() + timedelta(days=2)
    assert {at.date() for at in first(done, ActionKind.REBOOT).values()} == {third}


def test_a_blackout_holds_without_windows_as_well() -> None:
    windows = Windows(blackout=((START.date(), START.date()),))
    done = play(1, one_by_one(windows=windows))
    assert done.run().outcome == "done"
    assert first(done, ActionKind.REBOOT)["h0"].date() == START.date() + timedelta(days=1)


@pytest.mark.parametrize("drain", [(), (HOOK,)])
def test_a_host_that_missed_its_window_waits_for_the_next(drain: tuple[Hook, ...]) -> None:
    """Its reboot was due, and could not be begun until the window had closed."""
    policy = one_by_one(windows=NIGHT, drain=drain, undrain=drain)
    policy = replace(policy, retries=replace(policy.retries, attempts=9, first=600.0, most=900.0))
    fake = FakeHost("h0", faults={ActionKind.REBOOT: [HostFault.LOCK_HELD] * 6})
    done = play(1, policy, fakes={"h0": fake})
    assert done.run(20_000).outcome == "done"
    all_in_window(done, NIGHT)
    assert phase(done, "h0") is HostPhase.UPDATED
    assert fake.boots == 1
    assert not fake.drained
    if drain:
        # It was given back to its users in between.
        assert fake.drains >= 2
        between = begun(done, ActionKind.UNDRAIN)["h0"][0]
        assert between < begun(done, ActionKind.DRAIN)["h0"][-1] - minutes(60)


def test_a_killed_controller_does_not_reboot_outside_of_the_window() -> None:
    done = play(1, one_by_one(windows=NIGHT))

    def die(play: Play) -> None:
        # Its intent is written; the command was not sent; it is taken up the next morning.
        intent = replace(play.rollout.state("h0"), phase=HostPhase.REBOOTING)
        play.write([host_entry("h0", intent)])
        play.kill()
        play.now += timedelta(hours=12)

    done.on_tick = once(lambda play: NIGHT.open_at(play.now), die)
    assert done.run().outcome == "done"
    all_in_window(done, NIGHT)
    assert first(done, ActionKind.REBOOT)["h0"].date() == START.date() + timedelta(days=1)


def test_a_sick_host_goes_back_at_once() -> None:
    fakes = ill("h0")
    done = play(1, one_by_one(windows=NIGHT), fakes=fakes)
    done.takes = {ActionKind.REBOOT: 1700.0, ActionKind.CHECK: 200.0}
    done.run()
    assert phase(done, "h0") is HostPhase.ROLLED_BACK
    back = begun(done, ActionKind.REBOOT)["h0"][-1]
    assert not NIGHT.open_at(back)
    assert back.date() == START.date()


def test_downloads_ahead_and_reboots_in_order() -> None:
    policy = one_by_one(download=Download.AHEAD, bake=3600.0)
    done = play(5, policy)
    assert done.run().outcome == "done"
    staged, reboots = first(done, ActionKind.STAGE), first(done, ActionKind.REBOOT)
    assert max(staged.values()) < min(reboots.values()) + minutes(1)
    assert max(staged.values()) < START + minutes(2)
    order = sorted(reboots, key=lambda host: reboots[host])
    assert order == [f"h{n}" for n in range(5)]
    for number in range(1, 5):
        assert reboots[f"h{number}"] >= came(done, number, WavePhase.DONE)


def test_downloads_with_the_wave() -> None:
    done = play(3, one_by_one(bake=3600.0))
    assert done.run().outcome == "done"
    staged = first(done, ActionKind.STAGE)
    assert staged["h2"] >= came(done, 2, WavePhase.DONE)


def most_at_once(done: Play, kind: ActionKind, took: float, names: set[str]) -> int:
    times = [at for host, all_ in begun(done, kind).items() if host in names for at in all_]
    span = timedelta(seconds=took)
    return max(sum(at <= other < at + span for at in times) for other in times)


def test_limits_of_downloads_and_reboots_at_once() -> None:
    labels = {f"h{n}": {"site": "ab"[n % 2]} for n in range(16)}
    budgets = Budgets(
        downloads=5, reboots=4, downloads_label="site", downloads_per=3,
        reboots_label="site", reboots_per=2,
    )  # fmt: skip
    policy = one_by_one(batch=Limit(16), budgets=budgets, drain=(HOOK,), undrain=(HOOK,))
    done = play(labels, policy, room=100)
    done.takes = {ActionKind.STAGE: 50.0, ActionKind.REBOOT: 60.0, ActionKind.DRAIN: 60.0}
    assert done.run().outcome == "done"
    sites = [{name for name, own in labels.items() if own["site"] == site} for site in "ab"]
    everyone = set(labels)
    assert most_at_once(done, ActionKind.STAGE, 50.0, everyone) == 5
    assert {most_at_once(done, ActionKind.STAGE, 50.0, site) for site in sites} <= {2, 3}
    # From the drain to the end of the reboot.
    assert most_at_once(done, ActionKind.DRAIN, 120.0, everyone) == 4
    assert {most_at_once(done, ActionKind.DRAIN, 120.0, site) for site in sites} == {2}


# What people ask for


def test_a_pause_begins_nothing_and_ends_nothing() -> None:
    done = play(6, one_by_one(batch=Limit(2)))
    paused: list[datetime] = []
    resumed: list[datetime] = []

    def tick(play: Play) -> None:
        if not paused and phase(play, "h0") is HostPhase.REBOOTING:
            paused.append(play.now)
            play.request(EntryKind.PAUSED, reason="lunch")
        if paused and not resumed and play.now > paused[0] + minutes(120):
            resumed.append(play.now)
            play.request(EntryKind.UNPAUSED)

    done.on_tick = tick
    assert done.run().outcome == "done"
    began = first(done, ActionKind.STAGE)
    reboots = first(done, ActionKind.REBOOT)
    for times in (began, reboots):
        assert not any(paused[0] < at < resumed[0] for at in times.values())
    assert paused[0] <= ended_at(done, "h0") < resumed[0]


@pytest.mark.parametrize("unwind", [False, True])
def test_an_abort_begins_nothing_more(unwind: bool) -> None:
    done = play(6, one_by_one(batch=Limit(2)))
    done.on_tick = once(
        lambda play: play.rollout.wave_state(2).phase is WavePhase.RUNNING,
        lambda play: play.request(EntryKind.ABORTED, reason="enough", unwind=unwind),
    )
    end = done.run()
    assert end.halted == "enough"
    first_two = HostPhase.ROLLED_BACK if unwind else HostPhase.UPDATED
    assert {phase(done, name) for name in ("h0", "h1")} == {first_two}
    assert {phase(done, f"h{n}") for n in (2, 3, 4, 5)} == {HostPhase.SKIPPED}


def test_a_retry_takes_up_what_failed_and_goes_on() -> None:
    done = play(5, RolloutPolicy(), fakes=ill("h0"))
    assert done.run().outcome == "halted"
    done.hosts["h0"].sick_on = frozenset()
    done.request(EntryKind.RETRY, "h0")
    done.released.clear()
    assert done.run().outcome == "done"
    assert set(phases(done).values()) == {HostPhase.UPDATED}


def test_a_retry_opens_the_rollout_for_hosts_that_are_off_as_long_as_its_beginning_did() -> None:
    done = play(2, RolloutPolicy(timeouts=Timeouts(offline=1800)), fakes=ill("h0"))
    assert done.run().outcome == "halted"
    done.hosts["h0"].sick_on = frozenset()
    done.hosts["h0"].lost = True
    done.now += timedelta(days=1)
    done.request(EntryKind.RETRY, reason="")
    done.released.clear()
    since = done.now
    done.on_tick = once(
        lambda play: play.now >= since + minutes(10),
        lambda play: setattr(play.hosts["h0"], "lost", False),
    )
    assert done.run().outcome == "done"
    assert set(phases(done).values()) == {HostPhase.UPDATED}


@pytest.mark.parametrize("healed", [True, False])
def test_a_host_that_was_left_drained_gets_its_work_back_after_a_retry_that_finds_it_well(
    healed: bool,
) -> None:
    """It runs the planned image already, and was not well with it."""
    policy = RolloutPolicy(on_failure=OnFailure.LEAVE, drain=(HOOK,), undrain=(HOOK,))
    done = play(2, policy, fakes=ill("h0"))
    assert done.run().outcome == "halted"
    assert done.hosts["h0"].drained
    if healed:
        done.hosts["h0"].sick_on = frozenset()
    done.request(EntryKind.RETRY, reason="")
    done.released.clear()
    end = done.run()
    assert end.outcome == ("done" if healed else "halted")
    assert phase(done, "h0") is (HostPhase.UPDATED if healed else HostPhase.FAILED)
    assert done.hosts["h0"].drained is not healed
    assert end.state("h0").drained is not healed
    assert done.hosts["h0"].boots == 1


def test_a_host_that_was_left_drained_stays_so_when_it_is_not_asked_again() -> None:
    policy = RolloutPolicy(on_failure=OnFailure.LEAVE, drain=(HOOK,), undrain=(HOOK,))
    done = play(2, policy, fakes=ill("h0"))
    assert done.run().outcome == "halted"
    done.request(EntryKind.RETRY, reason="")
    done.request(EntryKind.ABORTED, reason="no", unwind=False)
    done.released.clear()
    end = done.run()
    assert phase(done, "h0") is HostPhase.SKIPPED
    assert done.hosts["h0"].drained
    assert end.state("h0").message.endswith("; it is left drained")


def test_no_wave_goes_on_before_a_host_of_it_was_tried_again() -> None:
    policy = waves(WaveRule("first", limit=Limit(2)), WaveRule("rest"))
    done = play(3, policy, fakes=ill("h1"))
    assert done.run().outcome == "halted"
    done.hosts["h1"].sick_on = frozenset()
    done.request(EntryKind.RETRY, reason="")
    done.released.clear()
    before = len(done.journal)
    assert done.run().outcome == "done"
    done.journal = done.journal[before:]
    assert came(done, 1, WavePhase.DONE) >= ended_at(done, "h1")


def test_a_wave_that_halted_while_it_baked_bakes_anew_after_a_retry() -> None:
    policy = waves(WaveRule("first", limit=Limit(2), bake=1800), WaveRule("rest"))
    done = play(3, policy)
    done.on_tick = once(
        lambda play: play.rollout.wave_state(1).phase is WavePhase.BAKING,
        lambda play: setattr(play.hosts["h1"], "sick_on", SICK),
    )
    assert done.run().outcome == "halted"
    assert done.rollout.wave_state(1).phase is WavePhase.HALTED
    assert done.rollout.wave_state(2).phase is WavePhase.WAITING
    done.hosts["h1"].sick_on = frozenset()
    done.now += timedelta(days=1)
    done.request(EntryKind.RETRY, reason="")
    done.released.clear()
    done.baked.clear()
    before = len(done.journal)
    assert done.run().outcome == "done"
    done.journal = done.journal[before:]
    assert came(done, 1, WavePhase.DONE) - ended_at(done, "h1") >= minutes(30)


# Hosts that cannot be reached


def returns_at(host: str, after: timedelta) -> Callable[[Play], None]:
    return once(
        lambda play: play.now >= START + after,
        lambda play: setattr(play.hosts[host], "lost", False),
    )


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("after", [30, 90])
def test_a_host_that_is_off_is_taken_in_while_the_rollout_is_open(
    after: float, planned: bool
) -> None:
    done = play(
        3, one_by_one(batch=Limit(3), timeouts=Timeouts(offline=3600.0)),
        offline=["h2"] if planned else [],
    )  # fmt: skip
    done.hosts["h2"].lost = True
    done.on_tick = returns_at("h2", minutes(after))
    end = done.run()
    if after < 60:
        assert end.outcome == "done"
        assert phase(done, "h2") is HostPhase.UPDATED
    else:
        assert end.outcome == "failed"
        assert phase(done, "h2") is HostPhase.REFUSED
        assert "could not be reached while the rollout was open" in end.state("h2").message
        assert done.journal[-1].at >= START + minutes(60)
        assert done.hosts["h2"].boots == 0


@pytest.mark.parametrize("offline", [0.0, 3600.0])
def test_a_canary_that_is_off_lets_nobody_else_go(offline: float) -> None:
    done = play(4, RolloutPolicy(timeouts=Timeouts(offline=offline)))
    done.hosts["h0"].lost = True
    end = done.run()
    assert end.halted == "no host of canary could be reached"
    assert all(done.hosts[name].boots == 0 for name in done.hosts)
    assert done.journal[-1].at >= START + timedelta(seconds=offline)


def test_a_canary_that_returns_goes_first() -> None:
    done = play(4, RolloutPolicy(timeouts=Timeouts(offline=7200.0)))
    done.hosts["h0"].lost = True
    done.on_tick = returns_at("h0", minutes(60))
    assert done.run().outcome == "done"
    staged = first(done, ActionKind.REBOOT)
    assert min(staged, key=lambda host: staged[host]) == "h0"


def test_the_last_wave_may_be_off_without_halting_the_rollout() -> None:
    labels = {"w": {"role": "web"}, "d": {"role": "db"}}
    policy = waves(WaveRule("web", "role=web"), WaveRule("db", "role=db"), on_halt=OnHalt.ROLLBACK)
    done = play(labels, policy, offline=["d"])
    assert done.run().outcome == "failed"
    assert phases(done) == {"w": HostPhase.UPDATED, "d": HostPhase.REFUSED}


@pytest.mark.parametrize("rebooted", [True, False])
@pytest.mark.parametrize("killed", [True, False])
def test_a_host_that_did_not_come_back_is_looked_for(rebooted: bool, killed: bool) -> None:
    policy = one_by_one(batch=Limit(1), budgets=ANY, bake=600.0, drain=(HOOK,), undrain=(HOOK,))
    fake = FakeHost("h0", faults={ActionKind.CONCLUDE: [HostFault.DID_NOT_RETURN]})
    if not rebooted:
        fake = FakeHost("h0", faults={ActionKind.REBOOT: [HostFault.DID_NOT_RETURN]})
    done = play(3, policy, fakes={"h0": fake})
    back: list[bool] = []

    def tick(play: Play) -> None:
        if phase(play, "h0") is HostPhase.FAILED and not back:
            back.append(True)
            if killed:
                play.kill()
            play.hosts["h0"].lost = False
            fake.faults.clear()

    done.on_tick = tick
    end = done.run()
    assert not fake.drained
    assert not end.state("h0").away
    if rebooted:
        assert phase(done, "h0") is HostPhase.UPDATED
        assert end.outcome == "done"
    else:
        assert "was never rebooted" in end.state("h0").message
        assert end.outcome == "failed"
    assert fake.boots == int(rebooted)


# Halts


def halted_late(policy: RolloutPolicy, **more: object) -> Play:
    """Three waves of two; the last one's first host is ill."""
    done = play(6, replace(policy, canary=None, batch=Limit(2)), fakes=ill("h4"), **more)  # type: ignore[arg-type]
    done.takes[ActionKind.CHECK] = 5.0
    return done


def test_a_halt_leaves_the_others_where_they_are() -> None:
    done = halted_late(RolloutPolicy())
    assert done.run().outcome == "halted"
    assert {phase(done, f"h{n}") for n in range(4)} == {HostPhase.UPDATED}
    assert phase(done, "h4") is HostPhase.ROLLED_BACK


@pytest.mark.parametrize("seed", range(8))
def test_a_halt_takes_the_others_back_newest_wave_first(seed: int) -> None:
    policy = RolloutPolicy(on_halt=OnHalt.ROLLBACK, budgets=Budgets(max_unavailable=Limit(1)))
    done = halted_late(policy, seed=seed)
    assert done.run().outcome == "halted"
    assert {host.booted for host in done.hosts.values()} == {OLD}
    assert done.most_away() == 1
    second = {
        host: times[1] for host, times in begun(done, ActionKind.REBOOT).items() if len(times) > 1
    }
    order = sorted(second, key=lambda host: second[host])
    number = [int(host[1:]) // 2 for host in order]
    assert number == sorted(number, reverse=True)
    assert {f"h{n}" for n in range(5)} <= set(order)


def test_hosts_on_their_way_forward_go_back_before_older_waves() -> None:
    """h5 is being checked when h4 fails; nobody of the waves before goes back ahead of it."""
    done = halted_late(RolloutPolicy(on_halt=OnHalt.ROLLBACK))
    done.takes[ActionKind.REBOOT] = 60.0
    done.takes["check h5"] = 900.0
    assert done.run().outcome == "halted"
    second = {host: times[1] for host, times in begun(done, ActionKind.REBOOT).items() if times[1:]}
    newest = max(second[name] for name in ("h4", "h5") if name in second)
    assert newest <= min(second[f"h{n}"] for n in range(4))


def test_going_back_waits_for_a_window() -> None:
    policy = RolloutPolicy(on_halt=OnHalt.ROLLBACK, windows=NIGHT)
    done = halted_late(replace(policy, bake=7200.0, budgets=Budgets()))
    # An hour to find out that it is ill: the window has closed by then.
    done.takes["check h4"] = 3600.0
    assert done.run(30_000).outcome == "halted"
    assert {host.booted for host in done.hosts.values()} == {OLD}
    for host, times in begun(done, ActionKind.REBOOT).items():
        late = [at for at in times if not NIGHT.open_at(at)]
        # The ill one itself goes back at once.
        assert (host == "h4") or not late, (host, late)


def test_going_back_never_goes_over_the_budget_of_lost_hosts() -> None:
    policy = RolloutPolicy(
        on_halt=OnHalt.ROLLBACK, budgets=Budgets(max_unavailable=Limit(1)), canary=None
    )
    lost = FakeHost("h4", faults={ActionKind.CONCLUDE: [HostFault.DID_NOT_RETURN]})
    done = play(6, replace(policy, batch=Limit(2)), fakes={"h4": lost})
    end = done.run()
    assert end.outcome == "halted"
    assert done.most_away() == 1
    for number in range(4):
        state = end.state(f"h{number}")
        assert state.phase is HostPhase.UPDATED
        assert "not taken back: max_unavailable: 1 of at most 1" in state.message


@pytest.mark.parametrize("held", [True, False])
def test_what_is_staged_is_taken_back_at_a_halt(held: bool) -> None:
    """A power cut must not boot it; where bootc holds it back, it cannot."""
    fakes = {f"h{n}": FakeHost(f"h{n}", rollback="sha256:" + "e" * 64) for n in range(4)}
    fakes["h0"].sick_on = SICK
    done = play(4, one_by_one(download=Download.AHEAD), fakes=fakes)

    # A held update is released by the reboot alone.
    own = done.act

    def act(host, action):  # type: ignore[no-untyped-def]
        if action.kind is ActionKind.REBOOT:
            host.held = False
        reply = own(host, action)
        if action.kind is ActionKind.STAGE:
            host.held = held
            return HostReply(seen=host.seen())
        return reply

    done.act = act  # type: ignore[method-assign]
    assert done.run().outcome == "halted"
    for number in range(1, 4):
        host = done.hosts[f"h{number}"]
        assert phase(done, host.name) is HostPhase.SKIPPED
        assert (host.staged == NEW) is held
        assert not host.queued
    assert bool(begun(done, ActionKind.DISCARD)) is not held


def test_a_reboot_that_halts_leaves_the_admins_update_staged() -> None:
    """`fleet reboot --apply-staged`: what is staged is not of this rollout."""
    fakes = {f"h{n}": FakeHost(f"h{n}", staged=NEW, rollback=OTHER) for n in range(3)}
    policy = one_by_one(batch=Limit(3), budgets=Budgets(reboots=1))
    done = play(3, policy, fakes=fakes, operation=Operation.REBOOT)
    accepted = {name: replace(t, accepted=SICK) for name, t in done.first.targets.items()}
    done.first = replace(done.first, targets=accepted)
    done.rollout = done.first
    fakes["h0"].sick_on = SICK
    assert done.run().outcome == "halted"
    assert {done.hosts[name].staged for name in ("h1", "h2")} == {NEW}


# Anything at once

RULES = st.lists(
    st.builds(
        WaveRule,
        name=st.just(""),
        selector=st.sampled_from(["", "site=a", "site=b"]),
        limit=st.sampled_from([None, Limit(1), Limit(3), Limit(40, percent=True)]),
        success=st.sampled_from([None, None, 50, 90, 100]),
        bake=st.sampled_from([None, 0.0, 600.0]),
        approve=st.booleans(),
        before=st.sampled_from([None, HOOK]),
        after=st.sampled_from([None, HOOK]),
    ),
    max_size=4,
)
WINDOWS = st.sampled_from(
    [
        Windows(),
        NIGHT,
        Windows((Window("0 * * * *", 600),)),
        Windows((Window("0 20 * * *", 1800),), zone="host"),
        Windows(blackout=((START.date(), START.date()),)),
    ]
)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), rules=RULES, windows=WINDOWS, seed=st.integers(0, 2**32))
def test_whatever_the_policy(
    data: st.DataObject, rules: list[WaveRule], windows: Windows, seed: int
) -> None:
    names = [f"h{n}" for n in range(data.draw(st.integers(1, 8)))]
    labels = {name: {"site": "ab"[n % 2]} for n, name in enumerate(names)}
    bad = data.draw(st.sets(st.sampled_from(names), max_size=2))
    off = data.draw(st.sets(st.sampled_from(names), max_size=2)) - bad
    zones = {names[0]: "Asia/Tokyo"}
    drain = data.draw(st.sampled_from([(), (HOOK,)]))
    unavailable = data.draw(st.sampled_from([None, Limit(1), Limit(2)]))
    failures = data.draw(st.integers(0, 2))
    policy = RolloutPolicy(
        waves=tuple(rules),
        canary=None if rules else Limit(1),
        batch=Limit(data.draw(st.integers(1, 8))),
        windows=windows,
        drain=drain,
        undrain=drain,
        download=data.draw(st.sampled_from(list(Download))),
        on_halt=data.draw(st.sampled_from(list(OnHalt))),
        gates=data.draw(st.sampled_from([(), (GATE,)])),
        budgets=Budgets(max_failures=Limit(failures), max_unavailable=unavailable),
        timeouts=Timeouts(offline=data.draw(st.sampled_from([0.0, 1800.0]))),
    )
    done = play(labels, policy, seed=seed, fakes=ill(*bad), zones=zones, offline=sorted(off))
    back = data.draw(st.booleans())
    done.kill_rate = data.draw(st.sampled_from([0.0, 0.05]))

    def tick(play: Play) -> None:
        if back and play.now > START + minutes(10):
            for host in play.hosts.values():
                host.lost = False
        for wave in play.rollout.waves:
            new = wave.approve and wave.number not in play.rollout.approved
            if new and waits("waits for approval")(play):
                play.request(EntryKind.APPROVED, wave=wave.number)
                break

    done.on_tick = tick
    end = done.run(20_000)
    rebooted = first(done, ActionKind.REBOOT)
    for kind in (ActionKind.REBOOT, ActionKind.DRAIN):
        for host, times in begun(done, kind).items():
            for at in times:
                again = host in rebooted and at > rebooted[host]
                # An ill host goes back at once; one that is drained to go back does so.
                finishes = again and (host in bad or (drain and kind == ActionKind.REBOOT))
                assert finishes or windows.open_at(at, zones.get(host)), f"{kind} {host} {at}"
    # A wave begins its work when all before it have ended and baked.
    over = START
    for wave in end.waves:
        acts = ActionKind.REBOOT if policy.download is Download.AHEAD else ActionKind.STAGE
        began = [first(done, acts)[host] for host in wave.hosts if host in first(done, acts)]
        assert all(at >= over for at in began)
        if end.wave_state(wave.number).phase is WavePhase.DONE:
            entries = [e for e in done.journal if e.kind is EntryKind.WAVE]
            over = came(done, wave.number, WavePhase.DONE)
            baked = [
                e.at
                for e in entries
                if e.body["wave"] == wave.number and e.body["phase"] == "baking"
            ]
            if baked:
                assert over - baked[0] >= timedelta(seconds=wave.bake)
    if unavailable is not None and not off:
        assert done.most_away() <= max(unavailable.number, len(off))
    for name, host in done.hosts.items():
        state = end.state(name)
        assert state.phase in ENDS
        assert host.boots <= 2
        assert not host.drained or state.down
        if state.phase is HostPhase.UPDATED:
            assert host.booted == NEW
        elif state.phase in (HostPhase.ROLLED_BACK, HostPhase.SKIPPED, HostPhase.REFUSED):
            assert host.booted == OLD
    if end.unwind:
        left = [n for n in names if phase(done, n) is HostPhase.UPDATED]
        assert all("not taken back" in end.state(n).message for n in left)
