"""What is done for a wave and not with a host: metric gates, and the hooks between waves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from bootcfleet.domain.action import Action, GateAnswer
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.errors import FleetError
from bootcfleet.ops.hooks import HookContext, run_hook
from bootcfleet.ops.metricgate import ask_gate

#: A gate's answer; for a hook why it failed, or None.
WaveReply = GateAnswer | str | None


def ask(gate: MetricGate, clock: Callable[[], datetime]) -> WaveReply:
    """Ask a metric gate; one that cannot be asked does not hold, and has not failed either."""
    try:
        result = ask_gate(gate)
    except FleetError as error:
        return GateAnswer(ok=False, message=error.message, at=clock(), answered=False)
    return GateAnswer(result.ok, result.message, clock(), answered=result.answered)


def run_wave_hook(rollout: Rollout, action: Action, directory: str = "") -> WaveReply:
    """Run the hook before or after a wave, on the controller; why it failed, or None."""
    wave = next(wave for wave in rollout.waves if wave.number == action.wave)
    hook = wave.before if action.when == "before" else wave.after
    if hook is None:
        return None
    context = HookContext(
        rollout=rollout.id,
        wave=wave.title,
        operation=str(rollout.operation),
        event=f"wave.{action.when}",
        directory=directory,
    )
    try:
        run_hook(hook, context, None)
    except FleetError as error:
        return error.message
    return None
