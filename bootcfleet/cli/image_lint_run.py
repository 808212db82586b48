"""What `image lint` does once its options are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootcfleet import __version__
from bootcfleet.cli.output import Output
from bootcfleet.domain.lint.catalogue import every_rule
from bootcfleet.domain.lint.model import Severity
from bootcfleet.domain.lint.report import LintReport, Place
from bootcfleet.domain.lint.sarif import sarif
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.command import LocalExecutor, write_atomic
from bootcfleet.drivers.hadolint import Hadolint
from bootcfleet.errors import FleetError
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.lint import (
    TemplatePlaces,
    built_digest,
    line_of,
    lint_images,
    record_lint,
    require_clean,
)
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages


def show_rules(*, as_json: bool) -> None:
    """Print every rule."""
    output = Output(as_json=as_json)
    rules = every_rule()
    if as_json:
        output.json([rule.to_json() for rule in rules])
        return
    for rule in rules:
        output.line(f"{rule.id} {rule.severity.value}: {rule.title}")
        output.line(f"  why: {rule.reason}")
        output.line(f"  source: {rule.source}")
        output.line(f"  instead: {rule.remedy}")


def run_lint(names: Sequence[str], *, how: str, file: Path | None, strict: bool) -> None:
    """Lint, print or write the findings, record evidence, and fail when there are errors."""
    output = Output(as_json=how != "text" and file is None)
    loaded = load_project()
    images = ProjectImages.open(loaded, LocalExecutor())
    hadolint = Hadolint(LocalExecutor(), loaded.root)
    found = lint_images(images, names, hadolint)
    reports = [report for report, _ in found]
    match how:
        case "json":
            body: dict[str, Any] | None = _json(reports, strict)
        case "sarif":
            body = sarif(reports, __version__, _locator(images, dict(_rendered(found))))
        case _:
            body = None
    if file is not None:
        text = _text(reports) if body is None else [json.dumps(body, indent=2, ensure_ascii=False)]
        try:
            write_atomic(file, ("\n".join(text) + "\n").encode())
        except OSError as error:
            raise FleetError(f"{file} cannot be written: {error.strerror}") from error
    elif body is not None:
        output.json(body)
    if body is None or file is not None:
        for line in _text(reports):
            output.line(line)
    _record(images, found, strict)
    require_clean(reports, strict=strict)


def _rendered(
    found: Sequence[tuple[LintReport, RenderedImage]],
) -> list[tuple[str, RenderedImage]]:
    return [(report.image, rendered) for report, rendered in found]


def _locator(images: ProjectImages, rendered: dict[str, RenderedImage]) -> Any:
    places = TemplatePlaces(images)

    def locate(image: str, file: str, line: int) -> Place | None:
        return places.place(image, file, line, line_of(rendered[image], file, line))

    return locate


def _record(
    images: ProjectImages, found: Sequence[tuple[LintReport, RenderedImage]], strict: bool
) -> None:
    """Evidence about what has been built and pushed from exactly this; nothing for the others."""
    built = [(report, built_digest(images, report.image, one)) for report, one in found]
    known = [(report, digest) for report, digest in built if digest is not None]
    if not known:
        return
    with recorder(images.loaded) as record:
        for report, digest in known:
            record_lint(record, report, digest, strict=strict)


def _json(reports: Sequence[LintReport], strict: bool) -> dict[str, Any]:
    return {
        "ok": all(report.ok(strict=strict) for report in reports),
        "strict": strict,
        "images": [report.to_json() for report in reports],
    }


def _text(reports: Sequence[LintReport]) -> list[str]:
    lines: list[str] = []
    for report in reports:
        for one in report.findings:
            where = f"{report.image}: {one.file}:{one.line}"
            lines.append(f"{where}: {one.severity.value} {one.rule}: {one.message}")
            lines.append(f"    {one.remedy}")
    for report in reports:
        lines.append(f"{report.image}: {_summary(report)}")
    lines += dict.fromkeys(note for report in reports for note in report.notes)
    return lines


def _summary(report: LintReport) -> str:
    counts = [
        _count(report.count(Severity.ERROR), "error"),
        _count(report.count(Severity.WARNING), "warning"),
    ]
    if report.count(Severity.INFO):
        counts.append(f"{report.count(Severity.INFO)} info")
    if report.suppressed:
        counts.append(f"{len(report.suppressed)} suppressed")
    return ", ".join(counts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
