"""What the fleet commands do once their options are read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from bootcfleet.cli.fleet_hints import host_hints
from bootcfleet.cli.fleet_options import Selection
from bootcfleet.cli.fleet_selection import selected
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.drivers.command import CommandResult
from bootcfleet.errors import FleetError, HostError, UsageError
from bootcfleet.ops import connect
from bootcfleet.ops import fleet as fleet_ops
from bootcfleet.ops.audit import recorder


def show_hosts(selection: Selection, *, as_json: bool) -> None:
    """List the selected hosts."""
    output = Output(as_json=as_json)
    _, hosts = selected(selection)
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
    loaded, hosts = selected(selection)
    if not selection.patterns and command[0] in {host.name for host in hosts}:
        # As the other commands take it; here every host would be told to run it.
        rest = shlex.join(list(command[1:])).removeprefix("-- ") or "COMMAND"
        raise UsageError(
            f"{command[0]!r} is a host, and the words of this command are all run on the hosts",
            hint=f"bootcfleet fleet exec --host {command[0]} -- {rest}",
        )
    fleet = connect.over_ssh(hosts, ask_secret)
    outcomes: dict[str, Any] = {}
    errors: dict[str, FleetError] = {}

    def said(name: str, result: CommandResult | FleetError) -> None:
        if isinstance(result, FleetError):
            outcomes[name] = result.message
            fault = str(result.fault) if isinstance(result, HostError) else None
            body: dict[str, Any] = {
                "exit_code": None,
                "fault": fault,
                "error": result.message,
                "hint": result.hint,
            }
            errors[name] = result
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
    if not as_json:
        host_hints(output, errors.items())
    return good
