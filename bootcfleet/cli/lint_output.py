"""How findings are printed: those about images, kickstarts and disks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.lint.model import Rule, Severity
from bootcfleet.domain.lint.report import LintReport
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError


def print_rules(output: Output, rules: Sequence[Rule]) -> None:
    """Every rule with its reason and remedy."""
    if output.as_json:
        output.json([rule.to_json() for rule in rules])
        return
    for rule in rules:
        output.line(f"{rule.id} {rule.severity.value}: {rule.title}")
        output.line(f"  why: {rule.reason}")
        output.line(f"  source: {rule.source}")
        output.line(f"  instead: {rule.remedy}")


def print_reports(
    output: Output,
    reports: Sequence[LintReport],
    body: dict[str, Any] | None,
    file: Path | None,
) -> None:
    """Print reports as text, or `body`; see `print_findings`."""
    print_findings(output, _text(reports), body, file)


def print_findings(
    output: Output, lines: Sequence[str], body: dict[str, Any] | None, file: Path | None
) -> None:
    """Print `lines`, or `body` (JSON or SARIF); with `file` into it, and the lines as well.

    Raises `FleetError` when the file cannot be written.
    """
    if file is not None:
        text = lines if body is None else [json.dumps(body, indent=2, ensure_ascii=False)]
        try:
            write_atomic(file, ("\n".join(text) + "\n").encode())
        except OSError as error:
            raise FleetError(f"{file} cannot be written: {error.strerror}") from error
    elif body is not None:
        output.json(body)
    if body is None or file is not None:
        for line in lines:
            output.line(line)


def _text(reports: Sequence[LintReport]) -> list[str]:
    lines: list[str] = []
    for report in reports:
        for one in report.findings:
            place = f"{one.file}:{one.line}"
            where = place if one.file == report.image else f"{report.image}: {place}"
            lines.append(f"{where}: {one.severity.value} {one.rule}: {one.message}")
            lines.append(f"    {one.remedy}")
    for report in reports:
        lines.append(f"{report.image}: {summary(report.count, len(report.suppressed))}")
    lines += dict.fromkeys(note for report in reports for note in report.notes)
    return lines


def summary(count: Callable[[Severity], int], suppressed: int = 0) -> str:
    """How many findings there are of each severity."""
    counts = [_count(count(Severity.ERROR), "error"), _count(count(Severity.WARNING), "warning")]
    if count(Severity.INFO):
        counts.append(f"{count(Severity.INFO)} info")
    if suppressed:
        counts.append(f"{suppressed} suppressed")
    return ", ".join(counts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
