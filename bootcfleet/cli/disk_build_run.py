"""What `disk build` does once its options are read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.cli.disk_progress import DiskProgressView
from bootcfleet.cli.output import Output
from bootcfleet.domain.disklint.model import DiskFinding
from bootcfleet.domain.diskobserved import Consent, Level, PreflightFinding, human, space
from bootcfleet.domain.diskplan import DiskPlan
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.event import Event
from bootcfleet.domain.lint.model import Severity
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.errors import ChecksFailedError
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.disk import DiskTools, fetch_images, plan_disk, run_disk
from bootcfleet.ops.diskrequest import DiskOptions, ask_disk
from bootcfleet.ops.lock import load_lock
from bootcfleet.ops.project import LoadedProject, find_project, state_dir


@dataclass(frozen=True)
class BuildDisk:
    """The options of a build."""

    what: str
    options: DiskOptions
    output: Path | None = None
    pull: bool = False
    transfer: bool = False
    wipe_disks: bool = False
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False


def run_disk_build(asked: BuildDisk) -> None:
    """Plan, say what is in the way, ask, and build unless it is a dry run."""
    output, executor = Output(as_json=asked.as_json), LocalExecutor()
    loaded = find_project()
    disk = ask_disk(
        loaded, asked.what, asked.options, load_lock(loaded.root) if loaded is not None else None
    )
    folder, state = _folder(loaded, asked.output, disk.request), state_dir(loaded)
    consent = Consent(asked.pull, asked.transfer, asked.wipe_disks)

    def planned() -> DiskPlan:
        return plan_disk(disk.request, executor, state, folder, consent)

    plan = planned()
    config = _configuration(disk.findings)
    if asked.dry_run:
        _show(output, plan, config)
        _refuse(plan, config)
        return
    _say(output, plan, config)
    _refuse(plan, config)
    for one in plan.questions:
        output.confirm(f"{one.message}. Go on?", yes=asked.yes, changes=_changes(one))
    with DiskProgressView(output) as view:
        if fetch_images(plan, executor, consent, view.event):
            # Only now is known what the image and the builder are.
            before = {one.message for one in plan.findings}
            plan = planned()
            new = [one for one in plan.findings if one.message not in before]
            for one in new:
                output.event(_event(plan.request.name, one))
            _refuse(plan, [])
            for one in new:
                if one.level is Level.CONFIRM:
                    output.confirm(f"{one.message}. Go on?", yes=asked.yes, changes=_changes(one))
        with recorder(loaded) as record:
            tools = DiskTools(executor, state, record, lambda: datetime.now(UTC))
            result = run_disk(plan, tools, view.event)
    if asked.as_json:
        return
    for artifact in result.artifacts:
        output.line(f"{folder / artifact.path}  {human(artifact.size)}  sha256:{artifact.sha256}")
    if result.ami:
        output.line(f"uploaded as {result.ami}")


def _folder(loaded: LoadedProject | None, given: Path | None, request: DiskRequest) -> Path:
    if given is not None:
        return given.absolute()
    base = loaded.root if loaded is not None else Path.cwd().absolute()
    return base / "disks" / request.name


def _changes(finding: PreflightFinding) -> str:
    return "what AWS has" if finding.check == "aws" else "the disk that is made"


def _configuration(findings: Sequence[DiskFinding]) -> list[PreflightFinding]:
    """Lint's findings among those of the preflight: errors stop here too."""
    levels = {Severity.ERROR: Level.ERROR, Severity.WARNING: Level.WARNING}
    return [
        PreflightFinding(
            f"config {one.rule}",
            levels.get(one.level, Level.NOTE),
            f"{one.where}: {one.message}" if one.file else one.message,
            one.remedy,
        )
        for one in findings
    ]


def _event(name: str, finding: PreflightFinding) -> Event:
    return Event("disk.preflight", name, _sentence(finding), finding.to_json())


def _sentence(finding: PreflightFinding) -> str:
    remedy = f" ({finding.remedy})" if finding.remedy else ""
    return f"{finding.level}: {finding.message}{remedy}"


def _say(output: Output, plan: DiskPlan, config: Sequence[PreflightFinding]) -> None:
    if output.as_json:
        output.event(Event("disk.build.planned", plan.request.name, "", plan.to_json()))
    for one in (*plan.findings, *config):
        output.event(_event(plan.request.name, one))
    if not output.as_json:
        _space(output, plan)


def _space(output: Output, plan: DiskPlan) -> None:
    need, facts = space(plan.request, plan.facts), plan.facts
    if need is None:
        return
    store = f"{human(need.store)} in {facts.storage}"
    if facts.free_store is not None:
        store += f" ({human(facts.free_store)} free)"
    out = f"{human(need.output)} in {plan.output}"
    if facts.free_output is not None:
        out += f" ({human(facts.free_output)} free)"
    output.line(f"space: at most {store}, {out}")


def _show(output: Output, plan: DiskPlan, config: Sequence[PreflightFinding]) -> None:
    """The dry run: the findings and the exact commands."""
    if output.as_json:
        findings = [one.to_json() for one in (*plan.findings, *config)]
        output.json({**plan.to_json(), "findings": findings})
        return
    for one in (*plan.findings, *config):
        output.line(_sentence(one))
    _space(output, plan)
    for step in plan.steps:
        output.line(f"# {step.what}")
        sudo = [] if plan.facts.root else ["sudo"]
        output.line(shlex.join([*sudo, *step.argv]))


def _refuse(plan: DiskPlan, config: Sequence[PreflightFinding]) -> None:
    """Raise where something is in the way."""
    errors = [*plan.errors, *(one for one in config if one.level is Level.ERROR)]
    if not errors:
        return
    number = "1 thing is" if len(errors) == 1 else f"{len(errors)} things are"
    raise ChecksFailedError(
        f"{plan.request.name} was not built: {number} in the way",
        hint=f"first: {errors[0].remedy}" if errors[0].remedy else None,
        details=[f"{one.check}: {one.message}" for one in errors],
    )
