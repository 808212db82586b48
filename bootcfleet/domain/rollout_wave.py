"""When a wave may start, when it is done, and what halts the rollout between the two."""

from __future__ import annotations

from datetime import datetime, timedelta

from bootcfleet.domain.action import Action, ActionKind, Step, Waiting, World
from bootcfleet.domain.rollout import FAILURES, HostPhase, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry, WavePhase
from bootcfleet.domain.rollout_policy import MetricGate, OnHalt
from bootcfleet.domain.rollout_replay import wave_entry
from bootcfleet.domain.waves import Wave

_WELL = frozenset({HostPhase.UPDATED, HostPhase.UNCHANGED})

#: What is finished, whatever else becomes of the rollout.
UNDER_WAY = frozenset(
    {HostPhase.REBOOTING, HostPhase.CHECKING, HostPhase.UNDRAINING, HostPhase.REVERTING}
)


def over_budget(rollout: Rollout) -> str | None:
    """Why the rollout may not go on because of hosts that failed, or None."""
    for wave in rollout.waves:
        bad = [h for h in wave.hosts if rollout.state(h).phase in FAILURES]
        if not bad:
            continue
        if wave.canary:
            return f"the canary {', '.join(bad[:5])} failed"
        if wave.success is not None:
            # Who could not take part says nothing about the others.
            took = sum(rollout.state(host).phase is not HostPhase.REFUSED for host in wave.hosts)
            well = 100 * (took - len(bad)) // took
            if well < wave.success:
                return (
                    f"{len(bad)} of {took} hosts of {wave.title} failed, so that no "
                    f"more than {well} % can end well, and {wave.success} % must"
                )
    failed = rollout.failures
    allowed = rollout.policy.budgets.max_failures.of(len(rollout.targets))
    if failed > allowed and not _only_thresholds(rollout):
        noun = "host" if failed == 1 else "hosts"
        return f"{failed} {noun} failed and the failure budget is {allowed}"
    return None


def outcome_of(rollout: Rollout) -> str:
    """One word for how it ended: done, failed, halted."""
    if rollout.halted:
        return "halted"
    bad = rollout.count(HostPhase.FAILED, HostPhase.ROLLED_BACK, HostPhase.REFUSED)
    return "failed" if bad else "done"


def _only_thresholds(rollout: Rollout) -> bool:
    """Whether every failure is within a wave's own threshold, and no failure budget was set."""
    if rollout.policy.budgets.max_failures.number:
        return False
    bad = {host for host, state in rollout.states.items() if state.phase in FAILURES}
    for wave in rollout.waves:
        if wave.success is not None:
            bad.difference_update(wave.hosts)
    return not bad


def step_wave(rollout: Rollout, world: World, now: datetime) -> Step | None:
    """What the first wave that is not done needs; None when all are."""
    for wave in rollout.waves:
        match rollout.wave_state(wave.number).phase:
            case WavePhase.DONE:
                continue
            case WavePhase.WAITING:
                return _start(rollout, wave, world, now)
            case WavePhase.RUNNING | WavePhase.HALTED:
                return _run(rollout, wave)
            case WavePhase.BAKING:
                return _bake(rollout, wave, world, now)
    return None


def _start(rollout: Rollout, wave: Wave, world: World, now: datetime) -> Step:
    """A wave that has not begun: its approval, its gates, its hook."""
    if rollout.paused is not None:
        return Step(waiting=(Waiting(wave.title, f"the rollout is paused: {rollout.paused}"),))
    if wave.approve and wave.number not in rollout.approved:
        hint = f"`bootcfleet rollout approve {rollout.id}`"
        return Step(waiting=(Waiting(wave.title, f"waits for approval: {hint}"),))
    gates, hold = _gates(rollout, wave, world, now, None)
    if not hold:
        return gates
    if wave.before is not None:
        hook = Action(ActionKind.HOOK, "", f"before {wave.title}", wave=wave.number, when="before")
        return Step(actions=(hook,))
    return Step((wave_entry(wave.number, WavePhase.RUNNING),))


def _run(rollout: Rollout, wave: Wave) -> Step:
    """A wave whose hosts are worked on: is it done?"""
    states = [rollout.state(host) for host in wave.hosts]
    deferred = sum(state.phase is HostPhase.DEFERRED for state in states)
    if not _settled(rollout, wave):
        return Step()
    well = sum(state.phase in _WELL for state in states)
    if well == 0 and deferred:
        # Nobody has proven anything: the next wave may not start on that.
        noun = "host" if deferred == 1 else "hosts"
        return Step(waiting=(Waiting(wave.title, f"{deferred} {noun} cannot be reached"),))
    if well == 0 and all(state.phase is HostPhase.REFUSED for state in states):
        if not _last(rollout, wave):
            return Step((halt(rollout, f"no host of {wave.title} could be reached"),))
        return _finish(wave)
    if wave.bake or rollout.policy.gates:
        return Step((wave_entry(wave.number, WavePhase.BAKING),))
    return _finish(wave)


def _bake(rollout: Rollout, wave: Wave, world: World, now: datetime) -> Step:
    """A wave whose hosts have ended: gates hold for the whole bake time, and hosts at its end."""
    state = rollout.wave_state(wave.number)
    since = state.since or now
    over = since + timedelta(seconds=wave.bake)
    for gate in rollout.policy.gates:
        answer = world.gates.get(gate.name)
        if answer and answer.answered and not answer.ok and answer.at >= since:
            return Step((halt(rollout, f"{gate.name} while {wave.title} baked: {answer.message}"),))
    gates, hold = _gates(rollout, wave, world, now, over if now >= over else since)
    if now < over:
        waiting = (Waiting(wave.title, f"bakes until {over.isoformat(timespec='seconds')}"),)
        wake = min(over, gates.wake) if gates.wake else over
        return Step(actions=gates.actions, waiting=(*waiting, *gates.waiting), wake=wake)
    if not hold:
        return gates
    if not _settled(rollout, wave):
        return Step()
    if wave.bake:
        look = tuple(
            Action(ActionKind.BAKE, host, f"{wave.title} has baked", rollout.state(host))
            for host in wave.hosts
            if rollout.state(host).phase is HostPhase.UPDATED and host not in world.baked
        )
        if look:
            busy = world.busy
            return Step(actions=tuple(action for action in look if action.host not in busy))
    return _finish(wave)


def waits_for_offline(rollout: Rollout) -> bool:
    """Whether the wave that is under way waits for nothing but hosts that cannot be reached."""
    for wave in rollout.waves:
        match rollout.wave_state(wave.number).phase:
            case WavePhase.DONE:
                continue
            case WavePhase.RUNNING:
                states = [rollout.state(host) for host in wave.hosts]
                away = any(state.phase is HostPhase.DEFERRED for state in states)
                well = any(state.phase in _WELL for state in states)
                return away and not well and _settled(rollout, wave)
            case _:
                return False
    return False


def _settled(rollout: Rollout, wave: Wave) -> bool:
    """Whether nothing more comes of the wave's hosts, but of those that cannot be reached.

    One that is deferred without a fault is to be tried again, and was not asked yet.
    """
    states = (rollout.state(host) for host in wave.hosts)
    return all(
        state.ended or (state.phase is HostPhase.DEFERRED and state.fault is not None)
        for state in states
    )


def _last(rollout: Rollout, wave: Wave) -> bool:
    return wave.number == max(each.number for each in rollout.waves)


def _finish(wave: Wave) -> Step:
    if wave.after is not None:
        hook = Action(ActionKind.HOOK, "", f"after {wave.title}", wave=wave.number, when="after")
        return Step(actions=(hook,))
    return Step((wave_entry(wave.number, WavePhase.DONE),))


def _gates(
    rollout: Rollout, wave: Wave, world: World, now: datetime, since: datetime | None
) -> tuple[Step, bool]:
    """What the gates need, and whether all of them hold, by answers of `since` or later.

    An answer that says no, or none at all, is asked for again after the gate's interval; one
    that says yes too, as long as the wave has not gone on.
    """
    ask: list[Action] = []
    waiting: list[Waiting] = []
    wakes: list[datetime] = []
    hold = True
    for gate in rollout.policy.gates:
        answer = world.gates.get(gate.name)
        if answer is None or (since is not None and answer.at < since):
            ask.append(_ask(wave, gate))
            hold = False
            continue
        again = answer.at + timedelta(seconds=gate.interval)
        if again <= now:
            # Its answer wakes; until it is there, there is no moment to wait for.
            ask.append(_ask(wave, gate))
        else:
            wakes.append(again)
        if not (answer.ok and answer.answered) or again <= now:
            hold = False
        if not (answer.ok and answer.answered):
            waiting.append(Waiting(wave.title, f"{gate.name}: {answer.message}"))
    return Step((), tuple(ask), tuple(waiting), min(wakes, default=None)), hold


def _ask(wave: Wave, gate: MetricGate) -> Action:
    return Action(ActionKind.GATE, "", f"gate of {wave.title}", wave=wave.number, when=gate.name)


def halt(rollout: Rollout, reason: str) -> NewEntry:
    """The rollout stops by its policy, and goes back where that says so and there is a back."""
    unwind = rollout.policy.on_halt is OnHalt.ROLLBACK and rollout.operation.forward
    return NewEntry(EntryKind.HALTED, "", {"reason": reason, "unwind": unwind})
