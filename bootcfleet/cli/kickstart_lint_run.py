"""What `kickstart lint` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootcfleet import __version__
from bootcfleet.cli.kickstart_run import kickstart_options
from bootcfleet.cli.lint_output import print_reports, print_rules
from bootcfleet.cli.output import Output
from bootcfleet.domain.kslint.engine import every_kickstart_rule
from bootcfleet.domain.lint.report import LintReport
from bootcfleet.domain.lint.sarif import sarif
from bootcfleet.ops.kickstart import Kickstarts
from bootcfleet.ops.kickstart_lint import KickstartPlaces, lint_kickstarts
from bootcfleet.ops.lint import require_clean
from bootcfleet.ops.project import find_project


def show_kickstart_rules(*, as_json: bool) -> None:
    """Print every rule."""
    print_rules(Output(as_json=as_json), every_kickstart_rule())


def run_kickstart_lint(
    names: Sequence[str],
    *,
    host: str | None,
    inventory: Path | None,
    release: str | None,
    variables: Sequence[str],
    how: str,
    file: Path | None,
    strict: bool,
) -> None:
    """Lint, print or write the findings, and fail when there are errors."""
    output = Output(as_json=how != "text" and file is None)
    kickstarts = Kickstarts.open(find_project(), inventory)
    linted = lint_kickstarts(
        kickstarts,
        names,
        options=kickstart_options(release, None, variables),
        host=kickstarts.host(host) if host else None,
    )
    reports = [one.report for one in linted]
    body: dict[str, Any] | None = None
    if how == "json":
        body = _json(reports, strict)
    elif how == "sarif":
        places = KickstartPlaces(kickstarts, linted)
        body = sarif(reports, __version__, places.place, every_kickstart_rule())
    print_reports(output, reports, body, file)
    require_clean(reports, strict=strict, command="kickstart lint")


def _json(reports: Sequence[LintReport], strict: bool) -> dict[str, Any]:
    found = []
    for report in reports:
        body = report.to_json()
        found.append({"kickstart": body.pop("image"), **body})
    return {
        "ok": all(report.ok(strict=strict) for report in reports),
        "strict": strict,
        "kickstarts": found,
    }
