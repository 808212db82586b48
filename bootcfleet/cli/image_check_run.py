"""What `bootcfleet image check` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.cli.output import Output
from bootcfleet.domain.check import CheckReport, Mode, Outcome
from bootcfleet.domain.event import Event
from bootcfleet.domain.junit import junit_xml
from bootcfleet.drivers.command import LocalExecutor, write_atomic
from bootcfleet.drivers.podman import Podman
from bootcfleet.errors import ChecksFailedError, FleetError, UsageError
from bootcfleet.ops.audit import open_ledger, recorder
from bootcfleet.ops.checkmany import check_images
from bootcfleet.ops.checkstatus import CheckState, CheckStatus, check_statuses, chosen, reference_of
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages


def run_checks(
    names: Sequence[str],
    *,
    digest: str | None,
    junit: Path | None,
    boot: bool,
    keep: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Check images, record each result, and show them all."""
    output = Output(as_json=as_json)
    executor = LocalExecutor()
    loaded = load_project()
    images = ProjectImages.open(loaded, executor)
    wanted = chosen(images, names)
    if digest is not None and len(names) != 1:
        raise UsageError("--digest needs exactly one image", hint="name it: image check NAME …")
    references: dict[str, str] = {}
    problems: dict[str, FleetError] = {}
    for name in wanted:
        try:
            references[name] = reference_of(images, name, digest)
        except UsageError as error:
            # Of all images those that are there are checked; one that is named must be there.
            if names:
                raise
            problems[name] = error
    Podman(executor).require()
    started = datetime.now(UTC)
    reports: list[CheckReport] = []

    def said(event: Event) -> None:
        if output.terminal and event.kind == "image.check.started":
            output.line(f"{event.subject}: {event.message}")

    with recorder(loaded) as record:
        for name, result in check_images(
            images, references, executor, record, jobs=jobs, boot=boot, keep=keep, emit=said
        ):
            if isinstance(result, FleetError):
                problems[name] = result
                continue
            reports.append(result)
            if not as_json:
                template = loaded.project.images[name].template or name
                _show(output, result, f"{loaded.project.templates}/{template}/checks.yaml")
    errors = {name: error.message for name, error in problems.items()}
    if junit is not None:
        try:
            write_atomic(junit, junit_xml(reports, started, errors))
        except OSError as error:
            raise FleetError(f"{junit} cannot be written: {error.strerror}") from error
    if len(wanted) == 1 and problems:
        raise problems[wanted[0]]
    if as_json:
        output.json({"images": [report.to_json() for report in reports], "errors": errors})
    _judge(reports, problems)


def _judge(reports: Sequence[CheckReport], problems: dict[str, FleetError]) -> None:
    red = [report.image for report in reports if not report.ok] + list(problems)
    if red:
        total = len(reports) + len(problems)
        raise ChecksFailedError(
            f"{len(red)} of {total} images {'is' if len(red) == 1 else 'are'} not green: "
            f"{', '.join(red)}",
            details=[f"{name}: {error.message}" for name, error in problems.items()],
        )


def _show(output: Output, report: CheckReport, file: str) -> None:
    local = " (not pushed: known by its image id)" if report.local else ""
    output.line(f"{report.image}: {report.outcome.upper()}: {report.summary}")
    output.line(f"  {report.reference}{local}")
    if report.mode_reason:
        plain = report.mode is Mode.PLAIN
        output.line(f"  {'not booted: ' if plain else ''}{report.mode_reason}")
    if not report.results:
        output.line(f"  no checks: write {file}")
    if report.container:
        output.line(f"  left running: podman exec -it {report.container} sh")
        output.line(f"  remove it with: podman rm -f {report.container}")
    rows = []
    for result in report.of(Outcome.FAILED, Outcome.SKIPPED):
        word = result.outcome.value + (" (optional)" if result.check.optional else "")
        owner = "" if result.check.image == report.image else f" ({result.check.image}'s)"
        rows.append(
            [word, result.check.name + owner, result.check.where, result.expected, result.found]
        )
    if rows:
        output.table(["RESULT", "CHECK", "WHERE", "EXPECTED", "FOUND"], rows)
    output.line()


def show_status(names: Sequence[str], *, as_json: bool) -> None:
    """What stands for the last build of each image; exit code 3 when one is not green."""
    output = Output(as_json=as_json)
    loaded = load_project()
    images = ProjectImages.open(loaded, LocalExecutor())
    with closing(open_ledger(loaded)) as ledger:
        found = check_statuses(images, chosen(images, names), ledger)
    if as_json:
        output.json([status.to_json() for status in found])
    else:
        output.table(
            ["IMAGE", "CHECKS", "DIGEST", "WHEN", "WHAT"],
            [[s.image, s.state.value, s.digest or "", _when(s), s.message] for s in found],
        )
    red = [status.image for status in found if not status.ok]
    built = any(not s.ok and s.state is not CheckState.NOT_BUILT for s in found)
    if red:
        raise ChecksFailedError(
            f"{len(red)} of {len(found)} images {'is' if len(red) == 1 else 'are'} not green: "
            f"{', '.join(red)}",
            hint="run their checks: bootcfleet image check"
            if built
            else f"build them: bootcfleet image build {' '.join(red)} --check",
        )


def _when(status: CheckStatus) -> str:
    return status.at.strftime("%Y-%m-%dT%H:%M:%SZ") if status.at else ""
