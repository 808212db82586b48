"""The table of `fleet status`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bootcfleet.cli.fleet_hints import host_hints
from bootcfleet.cli.output import Output
from bootcfleet.domain.bootc import BootEntry
from bootcfleet.domain.drift import Drift
from bootcfleet.errors import FleetError
from bootcfleet.ops.fleet import HostReport


def status_table(
    output: Output,
    reports: Sequence[HostReport],
    problems: Sequence[FleetError],
    *,
    now: datetime,
) -> None:
    """The fleet as a table, one host a row, and what could not be learned below it."""
    rows = []
    for report in reports:
        status = report.status
        if status is None or report.facts is None:
            reason = report.error.message if report.error else ""
            rows.append([report.host.name, f"! {reason}", "", "", "", "", "", "", ""])
            continue
        booted = status.booted
        if booted is None:
            rows.append([report.host.name, "! is not booted by bootc", *[""] * 7])
            continue
        rollback = _title(status.rollback) if status.rollback else "-"
        rows.append(
            [
                report.host.name,
                booted.reference or "(no image: rpm-ostree origin)",
                booted.version or "-",
                _short(booted),
                _title(status.staged) if status.staged else "-",
                rollback + (" (queued)" if status.rollback_queued else ""),
                _age(booted.timestamp, now),
                _drift(report),
                _age(report.facts.boot_time, now),
            ]
        )
    output.table(
        [
            "HOST",
            "BOOTED",
            "VERSION",
            "DIGEST",
            "STAGED",
            "ROLLBACK",
            "AGE",
            "DRIFT",
            "LAST BOOT",
        ],
        rows,
    )
    host_hints(output, ((report.host.name, report.error) for report in reports))
    for problem in problems:
        output.line(f"drift unknown: {problem.message}")


def _short(entry: BootEntry) -> str:
    digest = entry.digest.removeprefix("sha256:")[:12] if entry.digest else "-"
    marks = [word for word, is_so in (("pinned", entry.pinned),) if is_so]
    if entry.ref is not None and entry.ref.pinned:
        marks.append("by digest")
    return f"{digest} ({', '.join(marks)})" if marks else digest


def _drift(report: HostReport) -> str:
    booted = report.status.booted if report.status else None
    # What a host follows itself is in the column of what it has booted.
    own = booted is not None and booted.reference == str(report.wanted)
    if own or report.drift in {Drift.IN_SYNC, Drift.UNKNOWN}:
        return str(report.drift)
    return f"{report.drift} (should run {report.wanted})"


def _age(moment: datetime | None, now: datetime) -> str:
    """How long ago, in one unit."""
    if moment is None:
        return "-"
    seconds = int((now - moment).total_seconds())
    if seconds < 0:
        return "in the future"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _title(entry: BootEntry) -> str:
    """A slot for people: version and short digest."""
    digest = entry.digest.removeprefix("sha256:")[:12] if entry.digest else "no digest"
    return f"{entry.version} {digest}" if entry.version else digest
