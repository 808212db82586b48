"""`bootcfleet rollout resume`: let a paused rollout go on, or carry out one that nobody does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bootcfleet.cli.fleet_move import report
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.cli.rollout_progress import RolloutProgress
from bootcfleet.cli.rollout_run import ask
from bootcfleet.cli.rollout_view import standing_line
from bootcfleet.domain import rollout_request
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import ExitCode, FleetError, InterruptedRunError
from bootcfleet.ops import connect
from bootcfleet.ops.audit import project_commit
from bootcfleet.ops.hostwork import Surroundings
from bootcfleet.ops.project import LoadedProject, find_project
from bootcfleet.ops.rollout_plan import Plan
from bootcfleet.ops.rollout_run import Office, resume_rollout
from bootcfleet.ops.rollouts import (
    Look,
    Rollouts,
    choose,
    look,
    open_rollouts,
    reached_by,
    request,
    require_here,
)
from bootcfleet.ops.workers import ThreadWorkers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bootcfleet.domain.check import Check
    from bootcfleet.ops.fleet import Fleet


def run_resume(
    text: str | None,
    reason: str,
    inventory: Path | None,
    *,
    parallel: int,
    yes: bool,
    as_json: bool,
) -> int:
    """Let a living controller go on, or be the controller from here on; the exit code."""
    output = Output(as_json=as_json)
    loaded = find_project()
    with open_rollouts(loaded) as rollouts:
        found = look(rollouts, choose(rollouts, text, idle=True))
        if found.held and found.rollout.paused is None and found.rollout.outcome is None:
            name = found.controller.name if found.controller else "a controller"
            raise FleetError(
                f"the rollout {found.record.id} is carried out by {name}, and is not paused",
                hint=f"follow it: bootcfleet rollout watch {found.record.id}",
            )
        if found.held:
            ask(
                output,
                rollouts,
                found,
                lambda rollout: rollout_request.unpause(rollout, reason),
                lambda *_: "goes on",
            )
            return ExitCode.DONE
        rollout_request.require_left(found.rollout, "resume")
        require_here(rollouts, found)
        if not as_json:
            output.line(f"{found.record.id}: {standing_line(found)}")
        output.confirm(
            f"carry {found.record.id} out here?",
            yes=yes,
            look=f"look at it with `bootcfleet rollout show {found.record.id}`",
        )
        if found.rollout.paused is not None:
            request(rollouts, found, lambda rollout: rollout_request.unpause(rollout, reason))
        else:
            details = {"reason": reason} if reason else {}
            rollouts.record(
                "rollout.resume", found.record.id, "started", digests={}, details=details
            )
        if found.pull:
            # It brings channels and registries with it.
            from bootcfleet.cli.rollout_pull_run import run_resume_pull

            run_resume_pull(found.record, inventory=inventory, as_json=as_json)
            return ExitCode.DONE
        return _carry_out(output, loaded, rollouts, found, inventory, parallel)


def _carry_out(
    output: Output,
    loaded: LoadedProject | None,
    rollouts: Rollouts,
    found: Look,
    inventory: Path | None,
    parallel: int,
) -> int:
    known = load_inventory(inventory, LocalExecutor()).hosts if inventory else ()
    rollout = reached_by(found.rollout, known)
    rollout_id = found.record.id
    with (
        closing(connect.over_ssh(tuple(rollout.hosts.values()), ask_secret)) as fleet,
        RolloutProgress(output) as progress,
    ):
        for at, event in JournalEvents(found.record).all(found.entries):
            progress.tally.take(event, at.timestamp())
        around = Surroundings(emit=progress.event, resolve=RegistryClient().resolve)
        office = Office(rollouts.ledger, project_commit(loaded), emit=progress.event)
        try:
            end = resume_rollout(
                rollout_id,
                lambda _: ThreadWorkers(fleet, parallel, around),
                office,
                checks=lambda now: _checks(loaded, now, fleet),
                here=lambda now: reached_by(now, known),
            )
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"stopped; the rollout {rollout_id} is open",
                hint=f"go on with `bootcfleet rollout resume {rollout_id}`, or give it up with "
                f"`bootcfleet rollout abort {rollout_id}`",
            ) from None
    return report(output, end)


def _checks(
    loaded: LoadedProject | None, rollout: Rollout, fleet: Fleet
) -> Mapping[str, tuple[Check, ...]]:
    # Brings the templates' language with it.
    from bootcfleet.ops.hostcheck import host_checks

    found = host_checks(loaded, Plan(rollout, {}, {}, {}), fleet)
    return {host: own.checks for host, own in found.items()}
