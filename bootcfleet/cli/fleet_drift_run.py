"""What `fleet drift` does once its options are read."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

from bootcfleet.cli.fleet_hints import host_hints
from bootcfleet.cli.fleet_options import Selection
from bootcfleet.cli.fleet_truth_run import open_fleet
from bootcfleet.cli.output import Output
from bootcfleet.domain.fleetdrift import drift_sentences
from bootcfleet.domain.preflight_case import entry_title
from bootcfleet.drivers.channelstore import ChannelStore
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import ExitCode
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.fleetdrift import DriftSurvey, survey_drift


def show_drift(selection: Selection, *, registry: bool, parallel: int, as_json: bool) -> int:
    """Look, compare and print; the exit code."""
    output = Output(as_json=as_json)
    with ExitStack() as stack:
        loaded, fleet = stack.enter_context(open_fleet(selection))
        ledger = open_ledger(loaded)
        stack.callback(ledger.close)
        client = stack.enter_context(RegistryClient()) if registry else None
        found = survey_drift(
            fleet,
            loaded,
            ledger,
            ChannelStore.of(ledger.db).all() if loaded else {},
            client,
            today=datetime.now(UTC).date(),
            parallel=parallel,
        )
    if as_json:
        output.json(found.to_json())
    else:
        _table(output, found)
    if found.drifted:
        return ExitCode.CHECKS_FAILED
    return ExitCode.FAILED if found.silent else ExitCode.DONE


def _table(output: Output, found: DriftSurvey) -> None:
    rows = []
    for one in found.hosts:
        booted = one.truth.status.booted if one.truth and one.truth.status else None
        if one.error is not None:
            rows.append([one.host, f"! {one.error.message}", "", ""])
            continue
        kinds = ",".join(dict.fromkeys(str(finding.kind) for finding in one.findings))
        runs = entry_title(booted) if booted else "(not booted by bootc)"
        rows.append([one.host, kinds or "-", runs, str(one.wanted or "-")])
    output.table(["HOST", "DRIFT", "RUNS", "SHOULD RUN"], rows)
    host_hints(output, ((one.host, one.error) for one in found.hosts))
    for said in drift_sentences((one.host, own) for one in found.hosts for own in one.findings):
        output.line(said.text)
        if said.hint:
            output.line(f"  {said.hint}")
    for note in found.notes:
        output.line(f"note: {note}")
    asked = len(found.hosts) - len(found.silent)
    output.line(
        f"{len(found.drifted)} of {asked} {'host drifts' if asked == 1 else 'hosts drift'}"
        + (f"; {len(found.silent)} could not be asked" if found.silent else "")
    )
