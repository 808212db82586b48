"""What `fleet preflight` and `fleet facts` do once their options are read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from bootcfleet.cli.fleet_hints import host_hints
from bootcfleet.cli.fleet_options import Selection
from bootcfleet.cli.fleet_selection import selected
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.download import human
from bootcfleet.domain.hosttruth import OSTREE_TIMER, HostTruth
from bootcfleet.domain.preflight_case import Severity
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import Operation
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import ExitCode, FleetError, HostError, HostFault, UsageError
from bootcfleet.ops import connect
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.imagestanding import image_judge
from bootcfleet.ops.preflight import Preflight, look_at
from bootcfleet.ops.preflight import preflight as look_before
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.rollout_past import past_of

#: The columns of ``fleet facts --csv``; a column is never renamed or moved.
COLUMNS = (
    "host",
    "os",
    "os_version",
    "kernel",
    "architecture",
    "bootc",
    "image",
    "version",
    "digest",
    "free_bytes",
    "total_bytes",
    "uptime",
    "time_zone",
    "update_timer",
    "greenboot",
    "signature_policy",
    "system_state",
    "error",
)
#: How findings begin.
WORDS = {Severity.REFUSE: "refused", Severity.CONFIRM: "to confirm", Severity.WARN: "warning"}


@contextmanager
def open_fleet(selection: Selection) -> Iterator[tuple[LoadedProject | None, Fleet]]:
    """The selected hosts, their connections closed at the end."""
    loaded, hosts = selected(selection)
    fleet = connect.over_ssh(hosts, ask_secret)
    try:
        yield loaded, fleet
    finally:
        fleet.close()


def show_preflight(
    selection: Selection, *, image: str | None, hosts_ask: bool, parallel: int, as_json: bool
) -> int:
    """Look, judge and print; the exit code."""
    output = Output(as_json=as_json)
    target = ImageRef.parse(image) if image else None
    with open_fleet(selection) as (loaded, fleet), RegistryClient() as client:
        found = look_before(
            fleet,
            fleet.names,
            operation=Operation.SWITCH if target else Operation.UPGRADE,
            image=target,
            resolve=client.resolve,
            registry=client,
            signed=loaded is not None and loaded.project.signing is not None,
            hosts_ask=hosts_ask,
            judge_images=image_judge(loaded, client, today=datetime.now(UTC).date()),
            ask_past=past_of(loaded),
            parallel=parallel,
        )
    if as_json:
        output.json(
            {
                "hosts": [report.to_json() for report in found.reports.values()],
                "confirmations": [one.to_json() for one in found.confirmations],
                "resolved": {ref: str(one.digest) for ref, one in found.resolved.items()},
                "problems": [problem.message for problem in found.problems],
                "notes": list(found.notes),
            }
        )
    else:
        _table(output, found)
    if found.refused:
        return ExitCode.CHECKS_FAILED
    return ExitCode.FAILED if found.problems else ExitCode.DONE


def _table(output: Output, found: Preflight) -> None:
    rows = []
    for name, report in found.reports.items():
        truth = report.truth
        size = human(report.download.size) if report.download else "-"
        rows.append(
            [
                name,
                report.result,
                str(report.reference or "-"),
                size if report.exact else f"at most {size}",
                human(truth.space.usable) if truth and truth.space else "-",
            ]
        )
    output.table(["HOST", "RESULT", "TO", "DOWNLOAD", "FREE"], rows)
    for one in found.sentences():
        output.line(f"{WORDS[one.severity]}: {one.text}")
        if one.severity is Severity.REFUSE and one.hint:
            output.line(f"  {one.hint}")
    for problem in found.problems:
        output.line(f"not known: {problem.message}")
    for note in found.notes:
        output.line(f"note: {note}")


def show_facts(selection: Selection, *, parallel: int, csv: bool, as_json: bool) -> int:
    """Print the facts of the hosts; the exit code."""
    if csv and as_json:
        raise UsageError("--csv and --json are two answers", hint="choose one")
    output = Output(as_json=as_json)
    with open_fleet(selection) as (_, fleet):
        found = look_at(fleet, fleet.names, parallel=parallel)
    truths = [
        one if isinstance(one, HostTruth) else HostTruth(name, problem=_problem(name, one))
        for name, one in found.items()
    ]
    if as_json:
        output.json([truth.to_json() for truth in truths])
    elif csv:
        output.raw(_csv(truths).encode())
    else:
        _facts_table(output, truths)
        host_hints(output, ((truth.host, truth.problem) for truth in truths))
    return ExitCode.FAILED if any(truth.problem for truth in truths) else ExitCode.DONE


def _problem(host: str, error: FleetError) -> HostError:
    if isinstance(error, HostError):
        return error
    return HostError(host, HostFault.COMMAND_FAILED, error.message, hint=error.hint)


def _facts_table(output: Output, truths: Sequence[HostTruth]) -> None:
    rows = []
    for truth in truths:
        booted = truth.status.booted if truth.status else None
        reason = truth.problem.message if truth.problem else "is not booted by bootc"
        rows.append(
            [
                truth.host,
                truth.os_name or _dash(" ".join(filter(None, (truth.os_id, truth.os_version)))),
                truth.kernel or "-",
                truth.bootc if truth.bootc != "unknown" else "-",
                (booted.reference or "-") if booted else f"! {reason}",
                (booted.version or "-") if booted else "",
                _dash(booted.digest.removeprefix("sha256:")[:12] if booted.digest else "")
                if booted
                else "",
                human(truth.space.usable) if truth.space else "-",
                _uptime(truth.uptime),
                "active" if truth.timer or truth.runs(OSTREE_TIMER) else "-",
                truth.policy.default if truth.policy else "-",
            ]
        )
    output.table(
        [
            "HOST",
            "OS",
            "KERNEL",
            "BOOTC",
            "IMAGE",
            "VERSION",
            "DIGEST",
            "FREE",
            "UPTIME",
            "TIMER",
            "SIGNATURES",
        ],
        rows,
    )


def _dash(text: str) -> str:
    return text or "-"


def _uptime(seconds: float | None) -> str:
    """How long, in one unit."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _csv(truths: Sequence[HostTruth]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for truth in truths:
        body = truth.to_json()
        row = {
            **body,
            "os": body["os"]["id"],
            "os_version": body["os"]["version"],
            "architecture": body["architecture"] or body["machine"],
            "error": body["error"]["message"] if body["error"] else None,
        }
        # A spreadsheet would run what a host's words begin with these.
        writer.writerow({key: _plain(value) for key, value in row.items()})
    return stream.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    risky = isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
    return f"'{value}" if risky else value
