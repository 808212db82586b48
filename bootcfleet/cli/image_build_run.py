"""What `image plan` and `image build` do once their options are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from bootcfleet.cli.image_progress import BuildProgress
from bootcfleet.cli.output import Output
from bootcfleet.domain.build import BuildReport, ImageOutcome
from bootcfleet.domain.event import Event
from bootcfleet.domain.lock import Lock
from bootcfleet.domain.plan import BuildPlan
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.podman import Podman
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import ExitCode, UsageError
from bootcfleet.ops.audit import open_ledger, recorder
from bootcfleet.ops.bases import Bases
from bootcfleet.ops.bootclint import BootcLinter
from bootcfleet.ops.build import Tools, run_build
from bootcfleet.ops.build_gates import BuildGuard, BuildProof
from bootcfleet.ops.lock import load_lock
from bootcfleet.ops.plan import plan_build
from bootcfleet.ops.project import LoadedProject, load_project
from bootcfleet.ops.render import ProjectImages


@dataclass(frozen=True)
class BuildOptions:
    """The options of a build."""

    names: Sequence[str]
    jobs: int = 2
    push: bool = False
    locked: bool = False
    no_cache: bool = False
    check: bool = False
    dry_run: bool = False
    as_json: bool = False


def show_plan_command(
    names: Sequence[str],
    *,
    push: bool,
    upstream: bool,
    offline: bool,
    locked: bool,
    detailed: bool,
    as_json: bool,
) -> int:
    """Print what a build would do; the exit code is 2 with `detailed` when there is anything."""
    if upstream and offline:
        raise UsageError("--upstream asks the registry and --offline asks nobody: choose one")
    output = Output(as_json=as_json)
    loaded = load_project()
    images = _open(output, loaded)
    with RegistryClient() as registry:
        bases = Bases(
            images.files.last_builds(),
            _lock(loaded, needed=locked),
            None if offline else registry.resolve,
            fresh=upstream,
            strict=locked,
        )
        plan = plan_build(
            images,
            names,
            now=_now(),
            push=push,
            bases=bases,
            registry=None if offline else registry,
        )
    warn(output, plan, loaded)
    show_plan(output, plan)
    return 2 if detailed and plan.to_build else ExitCode.DONE


def run_build_command(options: BuildOptions) -> None:
    """Plan a build, show the plan, and carry it out unless it is a dry run."""
    output = Output(as_json=options.as_json)
    executor = LocalExecutor()
    loaded = load_project()
    timestamp = source_date_epoch()
    images = _open(output, loaded)
    registry = RegistryClient()
    podman = Podman(executor)
    if not options.dry_run:
        podman.require()
    lock = _lock(loaded, needed=options.locked)
    # Without a lock a build follows its bases; with one it stays with them, and asks nobody.
    bases = Bases(
        images.files.last_builds(),
        lock,
        registry.resolve,
        fresh=lock is None,
        strict=options.locked,
    )
    plan = plan_build(
        images,
        options.names,
        now=_now(),
        push=options.push,
        bases=bases,
        registry=registry if options.push else None,
    )
    warn(output, plan, loaded)
    if options.dry_run:
        show_plan(output, plan)
        return
    if options.as_json:
        output.event(Event("image.build.planned", data=plan.to_json()))
    if timestamp is not None and plan.to_build:
        output.line(reproducible(podman.require(), timestamp))
    with (
        recorder(loaded) as record,
        closing(open_ledger(loaded)) as ledger,
        BuildProgress(output, plan.names) as progress,
    ):
        bootc = BootcLinter(executor, progress.event)
        proof = BuildProof(images, executor, record, ledger, progress.event, options.check, bootc)
        report = run_build(
            plan,
            images,
            Tools(executor, registry, record, _now),
            jobs=options.jobs,
            emit=progress.event,
            timestamp=timestamp,
            no_cache=options.no_cache,
            proof=proof,
            bootc=bootc,
        )
    show_report(output, report)
    report.require_all()


def warn(output: Output, plan: BuildPlan, loaded: LoadedProject) -> None:
    """Say what will soon not be built any more.

    Raises `ChecksFailedError` for what must not be built now: it is revoked, or at its end.
    """
    with closing(open_ledger(loaded)) as ledger:
        warnings = BuildGuard.of(loaded, ledger, _now().date()).require(plan)
    for warning in warnings:
        output.line(f"warning: {warning}")


def source_date_epoch() -> int | None:
    """The time that reproducible-builds.org's variable asks for.  Raises `UsageError`."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    # Until the year 9999, which is as far as RFC 3339 goes.
    if not (text.isascii() and text.isdecimal() and int(text) < 253402300800):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {text!r}, and not a number of seconds since 1970",
            hint="for the last commit's time: export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)",
        )
    return int(text)


def reproducible(version: str, timestamp: int) -> str:
    """What a fixed time makes alike, and what it cannot."""
    when = datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")
    return (
        f"reproducible build as of {when}: podman {version} gives files and images that time and "
        "takes nothing from its cache; packages come from their repositories as they are today"
    )


def _open(output: Output, loaded: LoadedProject) -> ProjectImages:
    images = ProjectImages.open(loaded, LocalExecutor())
    if images.git.problem:
        output.line(f"warning: {images.git.problem}")
    return images


def _lock(loaded: LoadedProject, *, needed: bool) -> Lock | None:
    lock = load_lock(loaded.root)
    if lock is None and needed:
        raise UsageError(
            "--locked needs a bootcfleet.lock, and there is none",
            hint="make it, and commit it: bootcfleet lock update",
        )
    return lock


def show_plan(output: Output, plan: BuildPlan) -> None:
    """What a build would do."""
    if output.as_json:
        output.json(plan.to_json())
        return
    rows = []
    for step in plan.steps:
        rows.append([step.action.value, step.image, step.reason])
    output.table(["ACTION", "IMAGE", "WHY"], rows)
    for step in plan.steps:
        for note in step.notes:
            output.line(f"{step.image}: base {step.base}: {note}")
    count = len(plan.to_build)
    if not count:
        output.line("nothing to build")
        return
    output.line(f"{count} to build, {len(plan.steps) - count} unchanged")
    output.line(f"tags: {', '.join(plan.tags)}")
    output.line("each image is pushed" if plan.push else "nothing is pushed (see --push)")


def show_report(output: Output, report: BuildReport) -> None:
    """How every image ended."""
    if output.as_json:
        output.event(Event("image.build.report", data=report.to_json()))
        return
    rows = []
    for result in report.results:
        what = result.message
        if result.outcome is ImageOutcome.BUILT:
            what = result.digest or result.image_id or ""
        rows.append([result.image, result.outcome.value, f"{result.seconds:.1f} s", what])
    output.table(["IMAGE", "RESULT", "TIME", "DIGEST" if report.pushed else "IMAGE ID"], rows)


def _now() -> datetime:
    return datetime.now(UTC)
