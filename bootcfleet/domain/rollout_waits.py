"""What a rollout waits for, by its journal alone: for people who look at it from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from bootcfleet.domain.action import Action, ActionKind, World
from bootcfleet.domain.rollout import HostPhase, Observation, Rollout
from bootcfleet.domain.rollout_request import awaits_approval
from bootcfleet.domain.rollout_step import next_actions


def waits_of(rollout: Rollout, now: datetime) -> list[str]:
    """Why nothing more is begun at `now`, one sentence each; empty when nothing is waited for.

    What metric gates said is not in a journal: here is only that they have to hold.
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
        found += [f"{waiting.what}: {waiting.why}" for waiting in step.waiting] or _gates(
            rollout, step.actions
        )
    later = [
        state.not_before
        for state in rollout.states.values()
        if not state.ended and state.not_before is not None and state.not_before > now
    ]
    if later:
        hosts = f"{len(later)} {'host' if len(later) == 1 else 'hosts'}"
        found.append(f"{hosts} to be tried again from {min(later).astimezone(UTC):%H:%M:%SZ} on")
    return found


def _gates(rollout: Rollout, actions: Sequence[Action]) -> list[str]:
    """The gates that are all that a wave waits for: without a word it would look idle."""
    asked = [action for action in actions if action.kind is ActionKind.GATE]
    if not asked:
        return []
    (title,) = (wave.title for wave in rollout.waves if wave.number == asked[0].wave)
    noun = "gate" if len(asked) == 1 else "gates"
    names = ", ".join(action.when for action in asked)
    return [f"{title}: {noun} {names} (the controller tells what they say)"]


def _as_intended(rollout: Rollout) -> dict[str, Observation]:
    """Hosts that are staged, as they are when nobody interfered.

    Windows and budgets are theirs to pass.
    """
    return {
        host: Observation(target.boot_id, target.before, staged=min(target.accepted))
        for host, target in rollout.targets.items()
        if rollout.state(host).phase is HostPhase.STAGED and target.accepted
    }
