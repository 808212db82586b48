"""What a halted rollout does with its hosts, played against hosts in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bootcfleet.domain.action import ActionKind
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import HostPhase, Operation
from bootcfleet.domain.rollout_journal import EntryKind
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Download,
    Hook,
    HookKind,
    OnHalt,
    RolloutPolicy,
)
from bootcfleet.domain.rollout_waits import waits_of
from bootcfleet.domain.window import Window, Windows
from bootcfleet.errors import HostFault
from tests.rolloutworld import NEW, OLD, OTHER, FakeHost, Play, play

HOOK = (Hook(HookKind.LOCAL, ("true",)),)


def phases(done: Play) -> dict[str, HostPhase]:
    return {name: done.rollout.state(name).phase for name in done.hosts}


def test_a_host_that_is_being_drained_when_the_rollout_halts_is_not_rebooted() -> None:
    policy = RolloutPolicy(canary=None, batch=Limit(2), drain=HOOK, undrain=HOOK)
    fakes = {name: FakeHost(name, rollback=OTHER) for name in ("h0", "h1")}
    done = play(2, policy, fakes=fakes)
    done.takes[ActionKind.DRAIN] = 600.0

    def tick(now: Play) -> None:
        if now.rollout.state("h0").phase is HostPhase.DRAINING and now.rollout.halted is None:
            now.request(EntryKind.ABORTED, reason="enough", unwind=False)

    done.on_tick = tick
    assert done.run().outcome == "halted"
    assert set(phases(done).values()) == {HostPhase.SKIPPED}
    assert done.hosts["h0"].drains == 1
    for host in done.hosts.values():
        assert (host.boots, host.staged, host.drained) == (0, None, False)


def test_a_staged_host_that_is_gone_when_the_rollout_halts_is_not_said_to_be_untouched() -> None:
    fakes = {"h0": FakeHost("h0", sick_on=frozenset({NEW})), "h1": FakeHost("h1", rollback=OTHER)}
    done = play(2, RolloutPolicy(download=Download.AHEAD), fakes=fakes)

    def tick(now: Play) -> None:
        if now.rollout.state("h1").phase is HostPhase.STAGED:
            now.hosts["h1"].lost = True

    done.on_tick = tick
    assert done.run().outcome == "halted"
    assert done.hosts["h1"].staged == NEW
    state = done.rollout.state("h1")
    assert state.phase is HostPhase.SKIPPED
    assert state.message == (
        "not rebooted: the rollout halted; its next reboot may boot what is staged (gone)"
    )


@pytest.mark.parametrize("operation", [Operation.ROLLBACK, Operation.REBOOT])
def test_a_rollback_or_a_reboot_that_halts_takes_no_host_back(operation: Operation) -> None:
    """Back would be forward, to the image that the admin has just left."""
    fakes = {f"h{n}": FakeHost(f"h{n}", booted=NEW, rollback=OLD) for n in range(3)}
    fakes["h2"].sick_on = frozenset({OLD, NEW})
    policy = RolloutPolicy(canary=None, batch=Limit(1), on_halt=OnHalt.ROLLBACK)
    done = play(3, policy, fakes=fakes, operation=operation)
    assert done.run().outcome == "halted"
    assert [phases(done)[f"h{n}"] for n in range(2)] == [HostPhase.UPDATED] * 2
    assert {host.boots for host in done.hosts.values()} == {1}


@pytest.mark.parametrize("host", ["", "h4"])
def test_what_went_back_comes_forward_in_waves_again_after_a_retry(host: str) -> None:
    policy = RolloutPolicy(canary=Limit(1), batch=Limit(2), on_halt=OnHalt.ROLLBACK)
    done = play(6, policy, fakes={"h4": FakeHost("h4", sick_on=frozenset({NEW}))})
    assert done.run().outcome == "halted"
    assert {fake.booted for fake in done.hosts.values()} == {OLD}
    done.hosts["h4"].sick_on = frozenset()
    done.request(EntryKind.RETRY, host, reason="")
    assert set(phases(done).values()) == {HostPhase.DEFERRED}
    done.released.clear()
    before, begun = len(done.journal), len(done.log)
    assert done.run().outcome == "done"
    assert {fake.booted for fake in done.hosts.values()} == {NEW}
    over = {
        entry.body["wave"]: entry.at
        for entry in done.journal[before:]
        if entry.kind is EntryKind.WAVE and entry.body["phase"] == "done"
    }
    assert sorted(over) == [wave.number for wave in done.rollout.waves]
    for wave in done.rollout.waves[1:]:
        staged = [at for at, kind, key in done.log[begun:] if kind == "stage" and key in wave.hosts]
        assert len(staged) == len(wave.hosts)
        assert min(staged) >= over[wave.number - 1]


def queued(host: FakeHost) -> None:
    host.queued = True


def rebooted(host: FakeHost) -> None:
    host.boots += 1


def rolled_back(host: FakeHost) -> None:
    host.queued = True
    host.reboot()


def moved(host: FakeHost) -> None:
    host.staged = OTHER
    host.reboot()


@pytest.mark.parametrize(
    ("meanwhile", "phase", "runs"),
    [
        (queued, HostPhase.ROLLED_BACK, OLD),
        (rebooted, HostPhase.ROLLED_BACK, OLD),
        (rolled_back, HostPhase.ROLLED_BACK, OLD),
        (moved, HostPhase.UPDATED, OTHER),
    ],
)
@pytest.mark.parametrize("drain", [(), HOOK])
def test_a_host_that_goes_back_is_looked_at_first(
    meanwhile: Callable[[FakeHost], None], phase: HostPhase, runs: str, drain: tuple[Hook, ...]
) -> None:
    """It was updated long ago: somebody may have worked on it since."""
    policy = RolloutPolicy(
        canary=None, batch=Limit(1), on_halt=OnHalt.ROLLBACK, drain=drain, undrain=drain
    )
    done = play(3, policy, fakes={"h2": FakeHost("h2", sick_on=frozenset({NEW}))})
    did: list[bool] = []

    def tick(now: Play) -> None:
        if now.rollout.state("h1").phase is HostPhase.UPDATED and not did:
            did.append(True)
            meanwhile(now.hosts["h0"])

    done.on_tick = tick
    assert done.run().outcome == "halted"
    host = done.hosts["h0"]
    assert (phases(done)["h0"], host.booted) == (phase, runs)
    assert not host.queued
    assert not host.drained
    if phase is HostPhase.UPDATED:
        assert "not taken back: it runs cccccccccccc by now" in done.rollout.state("h0").message


def test_hosts_go_back_in_the_next_window_when_this_one_has_closed() -> None:
    policy = RolloutPolicy(
        canary=None,
        batch=Limit(1),
        on_halt=OnHalt.ROLLBACK,
        windows=Windows((Window("0 8 * * *", 60),)),
    )
    done = play(3, policy, fakes={"h2": FakeHost("h2", sick_on=frozenset({NEW}))})
    waited: list[str] = []
    done.on_tick = lambda now: waited.extend(
        waits_of(now.rollout, now.now) if now.rollout.unwind else ()
    )
    assert done.run().outcome == "halted"
    assert set(phases(done).values()) == {HostPhase.ROLLED_BACK}
    assert any("no maintenance window is open; it opens 2026-01-" in why for why in waited)
    for name in ("h0", "h1"):
        rebooted = [at for at, what, host in done.log if what == "reboot" and host == name]
        assert [(at.hour, at.minute) for at in rebooted] == [(8, 0), (8, 0)]


def test_a_host_that_may_not_go_back_is_named_and_the_others_go() -> None:
    hosts = {name: {"cluster": cluster} for name, cluster in zip("abcd", "xyxx", strict=True)}
    budgets = Budgets(group_by=("cluster",), per_group=Limit(1))
    policy = RolloutPolicy(canary=None, batch=Limit(1), on_halt=OnHalt.ROLLBACK, budgets=budgets)
    lost = FakeHost("c", faults={ActionKind.CONCLUDE: [HostFault.DID_NOT_RETURN]})
    done = play(hosts, policy, fakes={"c": lost})
    end = done.run()
    assert end.outcome == "halted"
    assert phases(done) == {
        "a": HostPhase.UPDATED,
        "b": HostPhase.ROLLED_BACK,
        "c": HostPhase.FAILED,
        "d": HostPhase.SKIPPED,
    }
    kept = end.state("a")
    assert kept.fault is HostFault.NO_ROLLBACK
    assert "not taken back: max_unavailable_per_group: cluster=x" in kept.message
    done.request(EntryKind.RETRY, reason="")
    assert done.rollout.state("a").fault is None
