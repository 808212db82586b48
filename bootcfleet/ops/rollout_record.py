"""A rollout with its entries in the ledger: the intent before, each host's end, the whole after."""

from __future__ import annotations

from collections.abc import Callable

from bootcfleet.domain.event import Emit
from bootcfleet.domain.rollout import FAILURES, HostPhase, Rollout
from bootcfleet.errors import RolloutHaltedError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.rollout import RolloutRun
from bootcfleet.ops.rollout_plan import Plan


def carry_out(
    plan: Plan,
    fleet: Fleet,
    *,
    record: Record,
    emit: Emit,
    parallel: int,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> Rollout:
    """Carry a plan out and record it; the plan's own entry is written before anything is done.

    A ledger that cannot be written stops the rollout before it begins.
    """
    rollout = plan.rollout
    action = f"fleet.{rollout.operation}"
    record(
        action,
        rollout.id,
        "started",
        digests={ref: str(found.digest) for ref, found in plan.resolved.items()},
        details={
            "waves": [list(wave.hosts) for wave in rollout.waves],
            "refused": {
                host: state.message
                for host, state in rollout.states.items()
                if state.phase is HostPhase.REFUSED
            },
        },
    )
    run = RolloutRun(
        rollout,
        fleet,
        parallel=parallel,
        emit=emit,
        sleep=sleep,
        monotonic=monotonic,
        observed=dict(plan.observed),
    )
    outcome = "interrupted"
    try:
        end = run.run()
        outcome = outcome_of(end)
    finally:
        for host in rollout.targets:
            state = run.rollout.state(host)
            digests = {"before": rollout.targets[host].before or ""}
            if host in run.observed:
                digests["after"] = run.observed[host].booted or ""
            record(
                f"{action}.host",
                host,
                str(state.phase),
                digests=digests,
                details={"rollout": rollout.id, "message": state.message},
            )
        record(
            action,
            rollout.id,
            outcome,
            digests={},
            details={"halted": run.rollout.halted, "failures": run.rollout.failures},
        )
    return end


def outcome_of(rollout: Rollout) -> str:
    """One word for the ledger: done, failed or halted."""
    if rollout.halted:
        return "halted"
    return "failed" if rollout.count(*FAILURES, HostPhase.REFUSED) else "done"


def raise_if_halted(rollout: Rollout) -> None:
    """Raise `RolloutHaltedError` (exit code 4) for a rollout that its policy stopped."""
    if rollout.halted:
        raise RolloutHaltedError(
            f"the {rollout.operation} halted: {rollout.halted}",
            hint="look at the hosts with `bootcfleet fleet status`; a next run takes up only "
            "those that are not there yet",
        )
