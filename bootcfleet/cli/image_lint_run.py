"""What `image lint` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootcfleet import __version__
from bootcfleet.cli.lint_output import print_reports, print_rules
from bootcfleet.cli.output import Output
from bootcfleet.domain.lint.catalogue import every_rule
from bootcfleet.domain.lint.report import LintReport, Place
from bootcfleet.domain.lint.sarif import sarif
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.hadolint import Hadolint
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
    print_rules(Output(as_json=as_json), every_rule())


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
    print_reports(output, reports, body, file)
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
