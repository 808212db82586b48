"""Tables and JSON of hosts, plans and rollouts."""

from __future__ import annotations

from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import HostPhase, Rollout
from bootcfleet.ops.rollout_plan import Plan


def show_plan(output: Output, plan: Plan) -> None:
    """The plan: each wave with its hosts and what happens to them, then who stays out."""
    rollout = plan.rollout
    rows = [
        [wave.title, host, rollout.targets[host].reason]
        for wave in rollout.waves
        for host in wave.hosts
        if host in rollout.targets
    ]
    if rows:
        output.table(["WAVE", "HOST", "PLAN"], rows)
    for phase in (HostPhase.UNCHANGED, HostPhase.DEFERRED, HostPhase.REFUSED):
        for host, state in rollout.states.items():
            if state.phase is phase:
                word = str(phase)
                output.line(f"{word}: {host}: {one_line(state.message)}")
    if not rows:
        output.line("nothing to do")


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as a JSON object."""
    rollout = plan.rollout
    return {
        **rollout_json(rollout),
        "waves": [
            {"number": wave.number, "canary": wave.canary, "hosts": list(wave.hosts)}
            for wave in rollout.waves
        ],
        "resolved": {ref: str(found.digest) for ref, found in plan.resolved.items()},
    }


def rollout_json(rollout: Rollout) -> dict[str, Any]:
    """A rollout's hosts and how it ended, as a JSON object."""
    hosts: dict[str, Any] = {}
    for name in (*rollout.targets, *rollout.states):
        state, target = rollout.state(name), rollout.targets.get(name)
        hosts[name] = {
            "phase": str(state.phase),
            "message": state.message,
            "fault": str(state.fault) if state.fault else None,
            "evidence": list(state.evidence),
            "before": target.before if target else None,
            "planned": sorted(target.accepted) if target else [],
            "reason": target.reason if target else "",
        }
    return {
        "rollout": rollout.id,
        "operation": str(rollout.operation),
        "halted": rollout.halted,
        "hosts": hosts,
    }


def show_rollout(output: Output, rollout: Rollout) -> None:
    """How it ended: a row for each host that did not simply succeed, and the sums."""
    names = (*rollout.targets, *(n for n in rollout.states if n not in rollout.targets))
    fine = {HostPhase.UPDATED, HostPhase.UNCHANGED, HostPhase.SKIPPED}
    odd = [
        (name, state)
        for name in names
        for state in [rollout.state(name)]
        if state.phase not in fine or (state.phase is HostPhase.UPDATED and state.fault is not None)
    ]
    if odd:
        output.table(
            ["HOST", "RESULT", "WHY"],
            [[name, str(state.phase), one_line(state.message)] for name, state in odd],
        )
    for name, state in odd:
        for line in state.evidence[:10]:
            output.line(f"  {name}: {one_line(line)}")
    skipped = [name for name in names if rollout.state(name).phase is HostPhase.SKIPPED]
    if skipped:
        output.line(f"not begun: {', '.join(skipped)}")
    sums = ", ".join(
        f"{rollout.count(phase)} {phase}" for phase in HostPhase if rollout.count(phase)
    )
    output.line(f"{rollout.operation} {rollout.id}: {sums or 'nothing to do'}")
