"""`bootcfleet rollout resume`: let a paused rollout go on, or carry out one that nobody does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bootcfleet.cli.fleet_move import report
from bootcfleet.cli.fleet_options import Asking, Running
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.cli.rollout_desk import desk
from bootcfleet.cli.rollout_run import ask
from bootcfleet.cli.rollout_view import standing_line
from bootcfleet.domain import rollout_request
from bootcfleet.domain.rollout import Rollout
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.errors import ExitCode, FleetError
from bootcfleet.ops import connect
from bootcfleet.ops.project import LoadedProject, find_project
from bootcfleet.ops.rollout_listen import Metrics
from bootcfleet.ops.rollout_run import resume_rollout
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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bootcfleet.domain.check import Check
    from bootcfleet.ops.fleet import Fleet


def run_resume(
    text: str | None,
    reason: str,
    inventory: Path | None,
    running: Running,
    asking: Asking,
) -> int:
    """Let a living controller go on, or be the controller from here on; the exit code."""
    as_json, yes = asking.as_json, asking.yes
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
            output.line(f"{found.record.id}: {standing_line(found, resumes=True)}")
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

            metrics = Metrics(running.metrics_file, running.metrics_listen)
            run_resume_pull(found.record, inventory=inventory, metrics=metrics, as_json=as_json)
            return ExitCode.DONE
        return _carry_out(output, loaded, rollouts, found, inventory, running)


def _carry_out(
    output: Output,
    loaded: LoadedProject | None,
    rollouts: Rollouts,
    found: Look,
    inventory: Path | None,
    running: Running,
) -> int:
    known = load_inventory(inventory, LocalExecutor()).hosts if inventory else ()
    rollout = reached_by(found.rollout, known)
    hosts = tuple(rollout.hosts.values())
    with (
        closing(connect.over_ssh(hosts, ask_secret)) as fleet,
        desk(output, loaded, rollouts.ledger, found.record, fleet, running, found.entries) as own,
    ):
        end = resume_rollout(
            found.record.id,
            lambda _: own.workers,
            own.office,
            checks=lambda now: _checks(loaded, now, fleet),
            here=lambda now: reached_by(now, known),
        )
    return report(output, end)


def _checks(
    loaded: LoadedProject | None, rollout: Rollout, fleet: Fleet
) -> Mapping[str, tuple[Check, ...]]:
    # Brings the templates' language with it.
    from bootcfleet.ops.hostcheck import host_checks

    found = host_checks(loaded, rollout, fleet)
    return {host: own.checks for host, own in found.items()}
