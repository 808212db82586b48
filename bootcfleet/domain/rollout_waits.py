"""What a rollout waits for, by its journal alone: for people who look at it from elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime

from bootcfleet.domain.action import World
from bootcfleet.domain.rollout import HostPhase, Observation, Rollout
from bootcfleet.domain.rollout_request import awaits_approval
from bootcfleet.domain.rollout_step import next_actions


def waits_of(rollout: Rollout, now: datetime) -> list[str]:
    """Why nothing more is begun at `now`, one sentence each; empty when nothing is waited for.

    What metric gates said is not in a journal, and not among them.
    """
    if rollout.outcome is not None:
        return []
    found = []
    if rollout.paused is not None:
        why = f": {rollout.paused}" if rollout.paused != "paused" else ""
        found.append(f"it is paused{why} (bootcfleet rollout resume {rollout.id})")
    wave = awaits_approval(rollout)
    if wave is not None:
        found.append(f"{wave.title} waits for approval (bootcfleet rollout approve {rollout.id})")
    elif rollout.paused is None and rollout.hosts:
        step = next_actions(rollout, World(seen=_as_intended(rollout)), now)
        found += [f"{waiting.what}: {waiting.why}" for waiting in step.waiting]
    later = [
        state.not_before
        for state in rollout.states.values()
        if not state.ended and state.not_before is not None and state.not_before > now
    ]
    if later:
        hosts = f"{len(later)} {'host' if len(later) == 1 else 'hosts'}"
        found.append(f"{hosts} to be tried again from {min(later).astimezone(UTC):%H:%M:%SZ} on")
    return found


def _as_intended(rollout: Rollout) -> dict[str, Observation]:
    """Hosts that are staged, as they are when nobody interfered.

    Windows and budgets are theirs to pass.
    """
    return {
        host: Observation(target.boot_id, target.before, staged=min(target.accepted))
        for host, target in rollout.targets.items()
        if rollout.state(host).phase is HostPhase.STAGED and target.accepted
    }
