"""What to do next with a whole rollout: waves, budgets, windows, pauses, and its end.

`next_actions` is asked again and again with what is known; it holds nothing itself.  It takes
one pass over the hosts, so it is linear in their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from bootcfleet.domain.action import Action, ActionKind, Step, Waiting, World
from bootcfleet.domain.budget import Budget
from bootcfleet.domain.decision import at_once, decide, ended, looked_for, not_reached
from bootcfleet.domain.judgement import LOOK_AGAIN
from bootcfleet.domain.rollout import HostPhase, HostState, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry, WavePhase
from bootcfleet.domain.rollout_policy import Download
from bootcfleet.domain.rollout_replay import host_entry
from bootcfleet.domain.rollout_unwind import Unwinding
from bootcfleet.domain.rollout_wave import (
    halt,
    outcome_of,
    over_budget,
    step_wave,
    waits_for_offline,
)
from bootcfleet.errors import HostFault

#: What takes a staged host away from its users.
_LEAVES = frozenset({ActionKind.DRAIN, ActionKind.REBOOT})


def next_actions(rollout: Rollout, world: World, now: datetime) -> Step:
    """What to do now; see `Step`."""
    if rollout.outcome is not None:
        return Step()
    if rollout.halted is None and (reason := over_budget(rollout)):
        return Step((halt(rollout, reason),))
    pass_ = _Pass(rollout, world, now)
    pass_.hosts()
    if not pass_.entries:
        pass_.waves()
    if not pass_.entries and not pass_.actions:
        pass_.over()
    return pass_.step()


class _Pass:
    """One pass: what was found while walking over the hosts."""

    def __init__(self, rollout: Rollout, world: World, now: datetime) -> None:
        self.rollout, self.world, self.now = rollout, world, now
        self.entries: list[NewEntry] = []
        self.urgent: list[Action] = []
        self.reboots: list[Action] = []
        self.downloads: list[Action] = []
        self.later: list[Action] = []
        self.looks: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.wake: datetime | None = None
        self.blocked: list[str] = []
        self.kept: dict[str, str] = {}
        self.unwinding = Unwinding(rollout, world.seen)
        self.budget = Budget(rollout.policy.budgets, tuple(rollout.hosts.values()))
        self._windows: dict[str | None, bool] = {}
        for host, state in rollout.states.items():
            if state.away:
                self.budget.away(host)
            if state.phase is HostPhase.STAGING:
                self.budget.downloading(host)
            if state.phase in (HostPhase.DRAINING, HostPhase.REBOOTING, HostPhase.REVERTING):
                self.budget.rebooting(host)

    @property
    def actions(self) -> list[Action]:
        return [*self.urgent, *self.reboots, *self.downloads, *self.later]

    def step(self) -> Step:
        if self.entries:
            return Step(tuple(self.entries))
        room = max(0, self.world.room)
        actions = [*self.actions, *self.looks][:room]
        return Step((), tuple(actions), tuple(self.waiting.values()), self.wake)

    def hosts(self) -> None:
        """Every host that may be worked on now."""
        for host, may_begin, may_reboot in self._eligible():
            if host in self.world.busy:
                continue
            state = self.rollout.state(host)
            if state.ended:
                self._ended(host, state)
            elif (left := self.unwinding.leaves(host, state)) is not None:
                if isinstance(left, Action):
                    self.urgent.append(left)
                else:
                    self.entries.append(left)
            elif state.not_before is not None and state.not_before > self.now:
                self._wake(state.not_before)
            elif state.phase is HostPhase.PENDING and not may_begin:
                pass
            else:
                self._sort(decide(self.rollout, host, self.world.seen.get(host)), may_reboot)
        self._say_offline()

    def _say_offline(self) -> None:
        """Which hosts the rollout stays open for."""
        away = self.rollout.count(HostPhase.DEFERRED)
        deadline = self._offline_deadline()
        if away and deadline > self.now and self.rollout.halted is None:
            noun = "host" if away == 1 else "hosts"
            until = deadline.isoformat(timespec="minutes")
            self.waiting["offline"] = Waiting(
                f"{away} {noun} offline", f"taken in when they return, until {until}"
            )

    def waves(self) -> None:
        """The wave that is under way, and the start of the next one."""
        if self.rollout.halted is not None:
            return
        found = step_wave(self.rollout, self.world, self.now)
        if found is None:
            return
        self.entries += found.entries
        self.later += [a for a in found.actions if a.key not in self.world.busy]
        for waiting in found.waiting:
            self.waiting[waiting.what] = waiting
        if found.wake:
            self._wake(found.wake)

    def over(self) -> None:
        """Nothing is left to do but to look for hosts: that alone keeps no rollout open."""
        if not all(looked_for(self.rollout.state(name)) for name in self.world.busy):
            return
        self.end()
        if self.entries or self.later:
            self.looks = []
            if self.world.busy:
                # What they bring is still taken in.
                self.entries, self.later = [], []

    def end(self) -> None:
        """Nothing is to be done now: is it over, or stuck, or is there something to wait for?"""
        rollout = self.rollout
        open_ = [host for host in rollout.names if not rollout.state(host).ended]
        if not open_:
            if self._waits_to_go_back():
                return
            waves_done = all(
                rollout.wave_state(wave.number).phase is WavePhase.DONE for wave in rollout.waves
            )
            if rollout.halted is not None or waves_done:
                self._release_or_finish()
            return
        deferred = [h for h in open_ if rollout.state(h).phase is HostPhase.DEFERRED]
        deadline = self._offline_deadline()
        idle = self.blocked or len(deferred) == len(open_) or waits_for_offline(rollout)
        if deferred and self.now >= deadline and idle:
            for host in deferred:
                self.entries.append(host_entry(host, not_reached(rollout.state(host))))
            return
        if deferred:
            self._wake(deadline if deadline > self.now else self.now + _seconds(LOOK_AGAIN))
        if self.blocked and self._stuck():
            why = self.waiting[self.blocked[0]].why if self.blocked[0] in self.waiting else ""
            reason = f"the disruption budget is used up by hosts that are not back ({why})"
            self.entries.append(halt(rollout, reason))

    def _eligible(self) -> Iterator[tuple[str, bool, bool]]:
        """Hosts with whether they may begin, and whether they may be rebooted."""
        rollout = self.rollout
        running = rollout.paused is None and rollout.halted is None
        ahead = rollout.policy.download is Download.AHEAD
        seen: set[str] = set()
        proven = not rollout.waves
        for wave in rollout.waves:
            started = rollout.wave_state(wave.number).phase is not WavePhase.WAITING
            proven = proven or rollout.wave_state(wave.number).phase is WavePhase.DONE
            for host in wave.hosts:
                yield host, running and (started or ahead), running and started
            seen.update(wave.hosts)
        for host in rollout.names:
            # It joined late, and what it gets has been proven by the first wave.
            if host not in seen:
                yield host, running and proven, running and proven

    def _sort(self, action: Action, may_reboot: bool) -> None:
        """Put an action where it belongs, or say why it must wait."""
        host, state = action.host, self.rollout.state(action.host)
        if action.kind is ActionKind.CONCLUDE:
            self.entries.append(host_entry(host, action.state))
        elif action.kind in (ActionKind.STAGE, ActionKind.QUEUE_ROLLBACK) and state.phase in (
            HostPhase.PENDING,
            HostPhase.STAGING,
        ):
            self._download(action)
        elif action.kind is ActionKind.PLAN:
            (self.looks if state.tries else self.later).append(action)
        elif state.phase is HostPhase.STAGED and action.kind in _LEAVES:
            if may_reboot:
                self._reboot(action)
        elif action.kind in _LEAVES and not (at_once(state) or self._in_window(host)):
            # Its turn came, and was lost (to a fault, a pause or a crash) until the window closed.
            if state.phase is not HostPhase.REVERTING:
                why = "staged; the window closed before its reboot"
                self.entries.append(host_entry(host, ended(state, HostPhase.STAGED, why)))
        else:
            self.urgent.append(action)

    def _download(self, action: Action) -> None:
        why = self.budget.download_blocked(action.host)
        if why is None or self.rollout.state(action.host).phase is HostPhase.STAGING:
            self.budget.downloading(action.host)
            self.downloads.append(action)
        else:
            self.waiting.setdefault(why, Waiting("downloads", why))

    def _reboot(self, action: Action) -> None:
        """A host that is staged leaves its users from here on: windows and budgets hold."""
        host = action.host
        if not self._in_window(host):
            return
        why = self.budget.reboot_blocked(host)
        if why is not None:
            self.waiting.setdefault(why, Waiting("reboots", why))
            self.blocked.append(why)
            return
        self.budget.rebooting(host)
        self.reboots.append(action)

    def _in_window(self, host: str) -> bool:
        windows = self.rollout.policy.windows
        target = self.rollout.targets.get(host)
        zone = target.zone if target else None
        if zone not in self._windows:
            self._windows[zone] = windows.open_at(self.now, zone)
            if not self._windows[zone]:
                opens = windows.next_opening(self.now, zone)
                when = (
                    f"it opens {opens.isoformat(timespec='minutes')}" if opens else "it never opens"
                )
                self.waiting["window"] = Waiting(
                    "reboots", f"no maintenance window is open; {when}"
                )
                if opens:
                    self._wake(opens)
        return self._windows[zone]

    def _ended(self, host: str, state: HostState) -> None:
        """A host that has ended may still have to go back, or to be looked for."""
        if self.unwinding.takes_back(state):
            self._unwind(host, state)
        elif state.down and state.fault is HostFault.DID_NOT_RETURN:
            self._look_for(host, state)

    def _unwind(self, host: str, state: HostState) -> None:
        """Back with the others, newest wave first."""
        if not self.unwinding.has_turn(host):
            return
        if not self._in_window(host):
            self.kept[host] = self.waiting["window"].why
            return
        why = self.budget.reboot_blocked(host)
        if why is not None:
            self.waiting.setdefault(why, Waiting("reboots", why))
            self.kept[host] = why
            return
        self.budget.rebooting(host)
        self.entries.append(self.unwinding.back(host, state))

    def _waits_to_go_back(self) -> bool:
        """Whether hosts that go back wait for a window or a budget.

        One that waits for what does not come stays as it is, and says so: the others may have
        their turn, and the rollout its end.
        """
        for host, why in self.kept.items():
            hopeless = self._stuck() if self._in_window(host) else self.wake is None
            if hopeless:
                self.entries.append(self.unwinding.kept(host, why))
        if self.kept and self.now < self._offline_deadline():
            self._wake(self._offline_deadline())
        return bool(self.kept)

    def _look_for(self, host: str, state: HostState) -> None:
        """A host that did not come back is looked for while the rollout is open."""
        seen, target = self.world.seen.get(host), self.rollout.targets.get(host)
        if seen is not None and target is not None:
            if seen.boot_id == target.boot_id:
                message = f"{state.message}; it answers again, and was never rebooted"
                found = ended(replace(state, down=False), HostPhase.FAILED, message)
            else:
                found = HostState(HostPhase.REBOOTING, "came back late", drained=state.drained)
            self.entries.append(host_entry(host, found))
            return
        looked = self.world.looked.get(host)
        if looked is None or looked + _seconds(LOOK_AGAIN) <= self.now:
            self.looks.append(Action(ActionKind.OBSERVE, host, "it did not come back", state))

    def _release_or_finish(self) -> None:
        for host, state in self.rollout.states.items():
            touched = host in self.rollout.targets and state.phase is not HostPhase.REFUSED
            if touched and host not in self.world.released and host not in self.world.busy:
                self.later.append(Action(ActionKind.RELEASE, host, "the rollout is over", state))
        if not self.later:
            body = {"outcome": outcome_of(self.rollout)}
            self.entries.append(NewEntry(EntryKind.FINISHED, "", body))

    def _stuck(self) -> bool:
        """Whether nothing but hosts that have ended badly keeps the others from going on."""
        states = self.rollout.states.values()
        return self.now >= self._offline_deadline() and not any(
            state.away and not state.ended for state in states
        )

    def _offline_deadline(self) -> datetime:
        opened = self.rollout.opened or self.rollout.began or self.now
        return opened + _seconds(self.rollout.policy.timeouts.offline)

    def _wake(self, at: datetime) -> None:
        self.wake = at if self.wake is None else min(self.wake, at)


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
