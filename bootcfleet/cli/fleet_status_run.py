"""What `fleet status` does once its options are read.

Apart from the other fleet commands, because it is the one that people wait for: their
ledger, rollouts and checks take as long to import as a hundred hosts to ask.
"""

from __future__ import annotations

import gc
import os
from datetime import UTC, datetime

from bootcfleet.cli.fleet_options import Selection
from bootcfleet.cli.fleet_selection import hosts_of
from bootcfleet.cli.fleet_status_view import status_table
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.inventory import Host
from bootcfleet.errors import ExitCode
from bootcfleet.ops import connect
from bootcfleet.ops import fleet as fleet_ops


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
    hosts = _hosts(selection)
    fleet = connect.over_ssh(hosts, ask_secret)
    resolve = None
    if registry:
        from bootcfleet.drivers.registry import RegistryClient

        resolve = RegistryClient().resolve
    # What is loaded by now stays: looking for garbage in it takes longer than asking a host.
    gc.freeze()
    watcher = None
    if watch is not None:
        from bootcfleet.ops.fleetwatch import FleetWatch

        watcher = FleetWatch(fleet, every=watch, parallel=parallel)
    try:
        while True:
            facts = watcher.facts() if watcher else None
            reports, problems = fleet_ops.status(fleet, resolve, parallel=parallel, facts=facts)
            if as_json and watch is None:
                output.json([report.to_json() for report in reports])
            elif as_json:
                stamp = datetime.now(UTC).isoformat(timespec="seconds")
                output.json_line({"at": stamp, "hosts": [r.to_json() for r in reports]})
            else:
                if watch is not None:
                    output.clear()
                status_table(output, reports, problems, now=datetime.now(UTC))
            if watcher is None or watch is None:
                failed = any(report.error for report in reports)
                return ExitCode.FAILED if failed else ExitCode.DONE
            watcher.wait(watch)
    finally:
        if watcher is not None:
            watcher.close()
        fleet.close()
        gc.unfreeze()


def _hosts(selection: Selection) -> tuple[Host, ...]:
    loaded = None
    if selection.inventory is None and not os.environ.get("BOOTCFLEET_INVENTORY"):
        from bootcfleet.ops.project import find_project

        loaded = find_project()
    return hosts_of(selection, loaded)
