"""What the fleet commands do once their options are read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bootcfleet.cli.fleet_options import Selection
from bootcfleet.cli.fleet_view import (
    plan_json,
    rollout_json,
    show_plan,
    show_rollout,
    status_table,
)
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.cli.progress import HostProgress
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import FAILURES, HostPhase, Operation
from bootcfleet.domain.rollout_policy import Budgets, OnFailure, RolloutPolicy, Timeouts
from bootcfleet.drivers.command import CommandResult
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import ExitCode, FleetError, HostError
from bootcfleet.ops import connect
from bootcfleet.ops import fleet as fleet_ops
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.project import LoadedProject, find_project
from bootcfleet.ops.rollout_plan import plan_rollout
from bootcfleet.ops.rollout_record import carry_out, raise_if_halted


@dataclass(frozen=True)
class Pace:
    """The options that say how fast a rollout goes and when it stops."""

    canary: str
    batch: str
    max_failures: int
    revert: bool
    boot_timeout: float
    parallel: int

    def policy(self) -> RolloutPolicy:
        """The policy that they name.  Raises `UsageError`."""
        return RolloutPolicy(
            canary=None if self.canary.strip() in {"0", "0%"} else Limit.parse(self.canary),
            batch=Limit.parse(self.batch),
            budgets=Budgets(max_failures=Limit(self.max_failures)),
            on_failure=OnFailure.ROLLBACK if self.revert else OnFailure.LEAVE,
            timeouts=Timeouts(boot=self.boot_timeout),
        )


def _hosts(selection: Selection) -> tuple[LoadedProject | None, tuple[Host, ...]]:
    loaded = find_project()
    path = connect.inventory_path(selection.inventory, loaded)
    _, hosts = connect.select(
        path, selection.labels or (), selection.groups or (), selection.patterns or ()
    )
    return loaded, hosts


def show_hosts(selection: Selection, *, as_json: bool) -> None:
    """List the selected hosts."""
    output = Output(as_json=as_json)
    _, hosts = _hosts(selection)
    if as_json:
        output.json(
            [
                {
                    "host": host.name,
                    "groups": sorted(host.groups),
                    "labels": dict(host.labels),
                    "image": str(host.image) if host.image else None,
                    "address": host.connection.address,
                }
                for host in hosts
            ]
        )
        return
    output.table(
        ["HOST", "ADDRESS", "GROUPS", "LABELS", "IMAGE"],
        [
            [
                host.name,
                host.connection.address or host.name,
                ",".join(sorted(host.groups)),
                ",".join(f"{key}={value}" for key, value in sorted(host.labels.items())),
                str(host.image or ""),
            ]
            for host in hosts
        ],
    )


def show_status(
    selection: Selection,
    *,
    parallel: int,
    watch: float | None,
    registry: bool,
    as_json: bool,
) -> int:
    """Print the status of the hosts, once or until ^C; the exit code."""
    output = Output(as_json=as_json)
    _, hosts = _hosts(selection)
    fleet = connect.over_ssh(hosts, ask_secret)
    client = RegistryClient() if registry else None
    try:
        while True:
            reports, problems = fleet_ops.status(
                fleet, client.resolve if client else None, parallel=parallel
            )
            if as_json and watch is None:
                output.json([report.to_json() for report in reports])
            elif as_json:
                stamp = datetime.now(UTC).isoformat(timespec="seconds")
                output.json_line({"at": stamp, "hosts": [r.to_json() for r in reports]})
            else:
                if watch is not None:
                    output.clear()
                status_table(output, reports, problems, now=datetime.now(UTC))
            if watch is None:
                failed = any(report.error for report in reports)
                return ExitCode.FAILED if failed else ExitCode.DONE
            time.sleep(watch)
    finally:
        fleet.close()


def run_command(
    selection: Selection,
    command: Sequence[str],
    *,
    as_root: bool,
    timeout: float,
    parallel: int,
    as_json: bool,
) -> bool:
    """Run a command on the hosts and print what each said; whether all ended with 0."""
    output = Output(as_json=as_json)
    loaded, hosts = _hosts(selection)
    fleet = connect.over_ssh(hosts, ask_secret)
    outcomes: dict[str, Any] = {}

    def said(name: str, result: CommandResult | FleetError) -> None:
        if isinstance(result, FleetError):
            outcomes[name] = result.message
            fault = str(result.fault) if isinstance(result, HostError) else None
            body: dict[str, Any] = {"exit_code": None, "fault": fault, "error": result.message}
        else:
            outcomes[name] = result.exit_code
            body = {
                "exit_code": result.exit_code,
                "stdout": result.stdout,
                "stderr": result.stderr,
                "seconds": round(result.duration, 3),
            }
        if as_json:
            output.json_line({"host": name, **body})
            return
        if isinstance(result, FleetError):
            output.line(f"{name}: error: {result.message}")
            return
        for line in (result.stdout + result.stderr).splitlines():
            output.line(f"{name}: {line}")
        if not result.ok:
            output.line(f"{name}: exit code {result.exit_code}")

    with recorder(loaded) as record:
        # Written before the act; the words may be secret to others than this ledger's readers
        # only when a user puts a secret in argv, which the documentation tells them not to do.
        record(
            "fleet.exec",
            " ".join(command),
            "started",
            digests={},
            details={"hosts": [host.name for host in hosts], "root": as_root},
        )
        try:
            good = fleet_ops.execute(
                fleet,
                command,
                as_root=as_root,
                timeout=timeout,
                parallel=parallel,
                on_result=said,
            )
        finally:
            fleet.close()
            done = len(outcomes) == len(hosts)
            bad = any(outcome != 0 for outcome in outcomes.values())
            record(
                "fleet.exec",
                " ".join(command),
                "interrupted" if not done else "failed" if bad else "done",
                digests={},
                details={"hosts": outcomes},
            )
    return good


def move(
    operation: Operation,
    selection: Selection,
    pace: Pace,
    *,
    image: str | None = None,
    apply_staged: bool = False,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Plan, show, confirm, carry out, report; the exit code."""
    # Brings the templates' language with it, which no other fleet command needs.
    from bootcfleet.ops.hostcheck import by_origin, host_checks

    output = Output(as_json=as_json)
    policy = pace.policy()
    target = ImageRef.parse(image) if image else None
    loaded, hosts = _hosts(selection)
    fleet = connect.over_ssh(hosts, ask_secret)
    try:
        now = datetime.now(UTC)
        plan = plan_rollout(
            fleet,
            operation,
            policy,
            rollout_id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            resolve=RegistryClient().resolve,
            image=target,
            apply_staged=apply_staged,
            parallel=pace.parallel,
        )
        checks = host_checks(loaded, plan, fleet)
        fleet.give_checks({host: own.checks for host, own in checks.items()})
        if as_json:
            show = output.json if dry_run else output.json_line
            counts = {host: len(own.checks) for host, own in checks.items()}
            show({"kind": "rollout.planned", **plan_json(plan), "image_checks": counts})
        else:
            show_plan(output, plan)
            for line in by_origin(checks):
                output.line(line)
        refused = plan.rollout.count(HostPhase.REFUSED) > 0
        if dry_run or not plan.moving:
            return ExitCode.FAILED if refused else ExitCode.DONE
        noun = "host" if len(plan.moving) == 1 else "hosts"
        output.confirm(f"{operation} {len(plan.moving)} {noun}?", yes=yes)
        with recorder(loaded) as record, HostProgress(output, len(plan.moving)) as progress:
            end = carry_out(
                plan,
                fleet,
                record=record,
                emit=progress.event,
                parallel=pace.parallel,
                sleep=time.sleep,
                monotonic=time.monotonic,
            )
    finally:
        fleet.close()
    if as_json:
        output.json_line({"kind": "rollout.finished", **rollout_json(end)})
    else:
        show_rollout(output, end)
    raise_if_halted(end)
    bad = end.count(*FAILURES, HostPhase.REFUSED)
    return ExitCode.FAILED if bad else ExitCode.DONE
