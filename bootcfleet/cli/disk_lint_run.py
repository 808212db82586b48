"""What `disk lint` and `disk config` do once their options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootcfleet import __version__
from bootcfleet.cli.lint_output import print_findings, print_rules, summary
from bootcfleet.cli.output import Output
from bootcfleet.domain.diskconfig import render_blueprint_json, render_toml
from bootcfleet.domain.disklint.engine import every_rule
from bootcfleet.domain.disklint.sarif import disk_sarif
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.ops.disklint import DiskReport, lint_disks, open_disk, require_clean
from bootcfleet.ops.project import load_project


def show_disk_rules(*, as_json: bool) -> None:
    """Print every rule."""
    print_rules(Output(as_json=as_json), every_rule())


def run_disk_lint(names: Sequence[str], *, how: str, file: Path | None, strict: bool) -> None:
    """Lint, print or write the findings, and fail when there are errors."""
    output = Output(as_json=how != "text" and file is None)
    reports = lint_disks(names, LocalExecutor())
    body: dict[str, Any] | None = None
    if how == "json":
        body = {
            "ok": all(report.ok(strict=strict) for report in reports),
            "strict": strict,
            "disks": [report.to_json() for report in reports],
        }
    elif how == "sarif":
        found = [(report.disk, one) for report in reports for one in report.findings]
        notes = [note for report in reports for note in report.notes]
        body = disk_sarif(found, __version__, notes)
    print_findings(output, _text(reports), body, file)
    require_clean(reports, strict=strict)


def _text(reports: Sequence[DiskReport]) -> list[str]:
    lines: list[str] = []
    for report in reports:
        for one in report.findings:
            place, _, field = one.where.partition(": ")
            what = f"{field}: {one.message}" if field else one.message
            lines.append(f"{report.disk}: {place}: {one.level.value} {one.rule}: {what}")
            lines.append(f"    {one.remedy}")
    for report in reports:
        lines.append(f"{report.disk}: {summary(report.count)}")
    lines += dict.fromkeys(note for report in reports for note in report.notes)
    return lines or ["the project has no disks: name them under disks: in bootcfleet.yaml"]


def show_config(name: str, *, as_json: bool) -> None:
    """Print the blueprint of a disk as TOML or JSON."""
    data = open_disk(load_project(), name).blueprint()
    text = render_blueprint_json(data) if as_json else render_toml(data)
    Output(as_json=as_json).raw(text.encode())
