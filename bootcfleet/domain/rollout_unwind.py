"""What a halted rollout does with its hosts: those not rebooted are left, the others go back.

Whether a host may go back now (windows, budgets) is `domain/rollout_step.py`'s, as it is on the
way forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from bootcfleet.domain.action import Action, ActionKind
from bootcfleet.domain.decision import given_up, going_back, not_taken_back
from bootcfleet.domain.rollout import HostPhase, HostState, Observation, Operation, Rollout
from bootcfleet.domain.rollout_journal import NewEntry
from bootcfleet.domain.rollout_replay import host_entry
from bootcfleet.domain.rollout_wave import UNDER_WAY
from bootcfleet.errors import HostFault

_NOT_BEGUN = frozenset({HostPhase.PENDING, HostPhase.DEFERRED})
_NOT_REBOOTED = frozenset({HostPhase.STAGING, HostPhase.STAGED, HostPhase.DRAINING})


class Unwinding:
    """A rollout that may have halted, and what was `seen` of its hosts."""

    def __init__(self, rollout: Rollout, seen: Mapping[str, Observation]) -> None:
        self.rollout, self.seen = rollout, seen

    def leaves(self, host: str, state: HostState) -> NewEntry | Action | None:
        """What it takes to leave a host as it was before its reboot.

        None where it goes on all the same: it is past its reboot, or is to be looked at first.
        """
        if self.rollout.halted is None:
            return None
        if state.phase in _NOT_BEGUN:
            why = "not begun: the rollout halted"
            if state.attempted:
                why = "not rebooted: the rollout halted; its next reboot may boot what is staged"
            if state.message and state.phase is HostPhase.DEFERRED:
                why += f" ({state.message})"
            return host_entry(host, given_up(state, why))
        if state.phase not in _NOT_REBOOTED:
            return None
        seen, target = self.seen.get(host), self.rollout.targets.get(host)
        if seen is None or target is None or seen.boot_id != target.boot_id:
            return None
        ours = self.rollout.operation is not Operation.REBOOT
        if ours and (seen.rollback_queued or (seen.staged and not seen.download_only)):
            # The next power cut would boot it: take it back.
            if state.attempted and state.tries:
                return host_entry(host, not_taken_back(state, seen))
            return Action(ActionKind.DISCARD, host, "the rollout halted", state)
        return host_entry(host, given_up(state, "not rebooted: the rollout halted"))

    def takes_back(self, state: HostState) -> bool:
        """Whether a host was updated well, and is still to go back with the others."""
        left = state.phase is HostPhase.UPDATED and state.fault is not HostFault.NO_ROLLBACK
        return self.rollout.unwind and left

    def has_turn(self, host: str) -> bool:
        """Whether no newer wave goes back before the host's; those that joined late are first."""
        return self._newest in (0, self._waves.get(host, self._newest))

    def back(self, host: str, state: HostState) -> NewEntry:
        """The host goes back."""
        return host_entry(host, going_back(state, "the rollout halted and goes back"))

    def kept(self, host: str, why: str) -> NewEntry:
        """The host stays updated after all, and says so."""
        state = self.rollout.state(host)
        message = f"{state.message}; not taken back: {why}"
        return host_entry(host, replace(state, message=message, fault=HostFault.NO_ROLLBACK))

    @cached_property
    def _newest(self) -> int:
        """The newest wave that has hosts to go back, or 0: then it is those of none."""
        rollout = self.rollout
        left = [
            wave.number
            for wave in rollout.waves
            if any(
                # Those on their way forward will have to go back as well.
                state.phase in UNDER_WAY or self.takes_back(state)
                for state in map(rollout.state, wave.hosts)
            )
        ]
        return max(left, default=0)

    @cached_property
    def _waves(self) -> dict[str, int]:
        return {name: wave.number for wave in self.rollout.waves for name in wave.hosts}
