"""Lint the images of a project, and record what was found as evidence about their digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.lint.model import CONTAINERFILE, Severity, Subject
from bootcfleet.domain.lint.report import LintReport, Place
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.hadolint import Hadolint, HadolintResult
from bootcfleet.errors import ChecksFailedError, FleetError, UsageError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.bootclint import BootcVerdict
from bootcfleet.ops.evidence import record_evidence
from bootcfleet.ops.render import ProjectImages


def lint_rendered(
    image: str,
    rendered: RenderedImage,
    *,
    build_args: Mapping[str, str] | None = None,
    child: bool = False,
    hadolint: Hadolint | None = None,
    lenient: bool = False,
) -> LintReport:
    """Every finding about one rendered image; nothing is built and no file is read.

    `child` says that it is built on an image of the same project. Raises
    `FleetError` when hadolint is there and does not work; when `lenient` that is
    a note, as an image that is built already is none the worse for it.
    """
    # Here, since builds import this module also when nothing is linted; the rules are many.
    from bootcfleet.domain.lint.engine import lint

    subject = Subject(image, rendered, build_args or {}, child)
    if hadolint is None:
        return lint(subject)
    try:
        result = hadolint.check(rendered.containerfile)
    except FleetError as error:
        if not lenient:
            raise
        result = HadolintResult(None, error.message)
    return lint(subject, further=result.findings or (), notes=(result.note,) if result.note else ())


def lint_images(
    images: ProjectImages, names: Sequence[str], hadolint: Hadolint | None
) -> tuple[tuple[LintReport, RenderedImage], ...]:
    """Render and lint `names` (all images for none).  Raises `UsageError` and `ConfigError`."""
    known = images.loaded.project.images
    for name in names:
        if name not in known:
            raise UsageError(f"the project has no image {name!r}", hint=did_you_mean(name, known))
    last = images.files.last_builds()
    found = []
    for name in dict.fromkeys(names or known):
        image = known[name]
        rendered = images.render(name, images.likely_base(name, last))
        report = lint_rendered(
            name,
            rendered,
            build_args=image.build_args,
            child=image.from_ is not None,
            hadolint=hadolint,
        )
        found.append((report, rendered))
    return tuple(found)


def built_digest(images: ProjectImages, name: str, rendered: RenderedImage) -> str | None:
    """The digest of an image's last build, if that was made of exactly `rendered` and pushed."""
    built = images.files.last_builds().get(name)
    if built is None or built.digest is None:
        return None
    return built.digest if images.files.last_rendered(name) == rendered else None


def record_lint(
    record: Record,
    report: LintReport,
    digest: str,
    *,
    strict: bool = False,
    bootc: BootcVerdict | None = None,
) -> None:
    """Write a report down as evidence about a digest, with what bootc's own lint said.

    Raises `FleetError`.
    """
    ok = report.ok(strict=strict)
    details = {
        "strict": strict,
        **{f"{one.value}s": report.count(one) for one in (Severity.ERROR, Severity.WARNING)},
        "info": report.count(Severity.INFO),
        "rules": sorted({one.rule for one in report.findings}),
        "suppressed": sorted({one.rule for one in report.suppressed}),
        "notes": list(report.notes),
        **({"bootc": bootc.to_json()} if bootc else {}),
    }
    outcome = EvidenceOutcome.PASSED if ok else EvidenceOutcome.FAILED
    record_evidence(record, EvidenceKind.LINT, report.image, digest, outcome, details)


def require_clean(
    reports: Iterable[LintReport], *, strict: bool = False, command: str = "image lint"
) -> None:
    """Raise `ChecksFailedError` when there is an error (with `strict`: or a warning).

    `command` is the one whose ``--list-rules`` explains the rules.
    """
    bad = [one for one in reports if not one.ok(strict=strict)]
    if not bad:
        return
    errors = sum(one.count(Severity.ERROR) for one in bad)
    warnings = sum(one.count(Severity.WARNING) for one in bad) if strict else 0
    parts = [_count(errors, "error")] if errors else []
    parts += [_count(warnings, "warning")] if warnings else []
    raise ChecksFailedError(
        f"lint found {' and '.join(parts)} in {', '.join(one.image for one in bad)}",
        hint=f"each finding names its remedy; `bootcfleet {command} --list-rules` explains them",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class TemplatePlaces:
    """Finds the file of a template that a line of a rendered file comes from."""

    def __init__(self, images: ProjectImages) -> None:
        self._images = images
        self._root = images.loaded.root

    def place(self, image: str, file: str, line: int, text: str) -> Place | None:
        """The template's file; its line when exactly one of its lines has the same text."""
        spec = self._images.loaded.project.images[image]
        origin = self._images.renderer.origin(spec.template or image, file)
        if origin is None:
            return None
        path, source, is_template = origin
        lines = source.split("\n")
        if not is_template:
            found: int | None = line
        else:
            same = [n for n, one in enumerate(lines, 1) if one.strip() == text.strip()]
            found = same[0] if len(same) == 1 and text.strip() else None
        absolute = Path(path).absolute()
        if absolute.is_relative_to(self._root):
            return Place(absolute.relative_to(self._root).as_posix(), found, in_project=True)
        return Place(absolute.as_uri(), found, in_project=False)


def line_of(rendered: RenderedImage, file: str, line: int) -> str:
    """The text of a line of a rendered file; empty when there is none."""
    if file == CONTAINERFILE:
        text = rendered.containerfile
    else:
        text = rendered.files[file].data.decode("utf-8", "replace")
    lines = text.split("\n")
    return lines[line - 1] if 0 < line <= len(lines) else ""
