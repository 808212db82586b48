"""Builds disks of an image: one plan and one result, whichever builder makes them.

The builder writes into a folder of its own beside the result (``.building-PID-…``), so that
a name which is there is a whole file: hashed, on the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bootcfleet.domain.diskargv import KNOWN_FLAGS, Places
from bootcfleet.domain.diskfaults import classify
from bootcfleet.domain.diskobserved import Consent
from bootcfleet.domain.diskplan import DiskPlan, DiskStep, MadeFile, disk_steps
from bootcfleet.domain.diskpreflight import preflight
from bootcfleet.domain.diskprogress import ProgressReader
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.diskresult import FILE, DiskArtifact, DiskResult
from bootcfleet.domain.disktype import DiskType
from bootcfleet.domain.event import Emit, Event
from bootcfleet.drivers.buildfiles import ImageLog
from bootcfleet.drivers.command import Executor, write_atomic
from bootcfleet.drivers.diskfacts import aws_folder, observe
from bootcfleet.drivers.diskfiles import hash_file, sync_file
from bootcfleet.drivers.imagebuilder import BuilderProbe, RootPodman
from bootcfleet.errors import FleetError, InterruptedRunError
from bootcfleet.ops.audit import Record

ACTION = "disk.build"
_WORK = ".building-"
_TAIL = 15
#: What AWS calls a registered image (field note: the builder prints it, and has no JSON).
_AMI = re.compile(r"\bami-[0-9a-f]{8,17}\b")


class DiskBuildError(FleetError):
    """A builder failed; `cause` is a stable word where it is a known one."""

    def __init__(
        self, message: str, *, cause: str, hint: str | None, details: tuple[str, ...]
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.cause = cause


@dataclass(frozen=True)
class DiskTools:
    """What a build needs of the world: processes, the state folder, the ledger, the time (UTC)."""

    executor: Executor
    state: Path
    record: Record
    clock: Callable[[], datetime]


def plan_disk(
    request: DiskRequest,
    executor: Executor,
    state: Path,
    output: Path,
    consent: Consent,
) -> DiskPlan:
    """Look at this machine, judge, and say every step.  Changes nothing.

    A builder that is here is asked for its options, unless that is known.  Raises
    `UsageError` for a type that the backend does not make.
    """
    facts = observe(request, executor, output, BuilderProbe(executor, state))
    work = output / f"{_WORK}{os.getpid()}-{secrets.token_hex(4)}"
    home = aws_folder()
    places = Places(
        work=str(work),
        container=f"bootcfleet-disk-{secrets.token_hex(6)}",
        storage=facts.storage,
        config=f"{work}/config.{request.config_format}" if request.config is not None else None,
        keys=f"{work}/root-keys" if request.root_keys else None,
        aws=str(home) if home else None,
        foreign=request.architecture != facts.machine,
    )
    size = facts.image.size if facts.image else 0
    flags = facts.builder_flags or KNOWN_FLAGS
    steps = disk_steps(request, places, container=size, flags=flags)
    findings = preflight(request, facts, consent)
    return DiskPlan(request, facts, findings, steps, places, str(output))


def fetch_images(plan: DiskPlan, executor: Executor, consent: Consent, emit: Emit) -> bool:
    """Bring what is missing into root's storage, as far as it was asked for.

    Says whether anything was brought: then the plan is to be made anew.  Raises `PodmanError`.
    """
    podman, request, facts = RootPodman(executor), plan.request, plan.facts

    def said(_stream: str, line: str) -> None:
        emit(Event("disk.build.output", request.name, line))

    brought = False
    wanted: list[tuple[str, str | None]] = []
    if consent.transfer and facts.image is None and facts.user_has_image:
        emit(Event("disk.build.image", request.name, f"copying {request.image} to root's storage"))
        podman.transfer(request.image, said)
        brought = True
    elif consent.pull and not request.image.startswith("localhost/"):
        wanted.append((request.image, request.platform))
    if consent.pull and request.installer:
        wanted.append((request.installer, request.platform))
    if request.builder and not request.native and (consent.pull or not facts.builder):
        wanted.append((request.builder, None))
    for image, platform in wanted:
        if image.startswith("localhost/"):
            continue
        emit(Event("disk.build.image", request.name, f"pulling {image}"))
        podman.pull(image, platform, said)
        brought = True
    return brought


def run_disk(plan: DiskPlan, tools: DiskTools, emit: Emit) -> DiskResult:
    """Carry a plan out.  Raises `DiskBuildError`, or `InterruptedRunError` on ^C."""
    return _Build(plan, tools, emit).run()


class _Build:
    """One build: from the folder for its work to the files under their final names."""

    def __init__(self, plan: DiskPlan, tools: DiskTools, emit: Emit) -> None:
        self._plan = plan
        self._request = plan.request
        self._tools = tools
        self._emit = emit
        self._started = tools.clock()
        self._work = Path(plan.places.work)
        self._output = Path(plan.output)
        stamp = self._started.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._log = tools.state / "logs" / "disk" / f"{stamp}-{plan.request.name}.log"
        self._ami: str | None = None
        self._podman = RootPodman(tools.executor)

    def run(self) -> DiskResult:
        """See `run_disk`."""
        request = self._request
        self._say("started", f"building {', '.join(request.types)} of {request.image}")
        try:
            self._prepare()
            with ImageLog(self._log) as log:
                for number, step in enumerate(self._plan.steps, 1):
                    self._step(number, step, log)
            result = self._finish()
        except KeyboardInterrupt:
            self._tools.executor.close()
            self._write_down("cancelled", {"message": "cancelled by ^C"})
            raise InterruptedRunError(
                "interrupted: no disk was built; what was there before is as it was",
                hint=f"the builder's output so far: {self._log}",
            ) from None
        except FleetError as error:
            cause = getattr(error, "cause", "unknown")
            self._say("failed", error.message, {"cause": cause, "log": str(self._log)})
            self._write_down("failed", {"message": error.message, "cause": cause})
            raise
        finally:
            self._clean()
        self._write_down("built", {"result": result.to_json(), "folder": str(self._output)})
        self._say("finished", f"{len(result.artifacts)} files in {self._output}", result.to_json())
        return result

    def _prepare(self) -> None:
        if ":" in str(self._output):
            # podman's --volume ends a path there.
            raise FleetError(
                f"{self._output} has a colon in its name, which podman cannot mount",
                hint="choose another folder: --output DIR",
            )
        _remove_leftovers(self._output, self._remove)
        try:
            self._work.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise FleetError(f"{self._work} cannot be made: {error.strerror}") from error
        places, request = self._plan.places, self._request
        if places.config is not None and request.config is not None:
            # Hashes of passwords may be in it; the builder is root.
            write_atomic(Path(places.config), request.config.encode(), mode=0o600)
        if places.keys is not None:
            keys = "".join(f"{key}\n" for key in request.root_keys)
            write_atomic(Path(places.keys), keys.encode(), mode=0o600)

    def _step(self, number: int, step: DiskStep, log: ImageLog) -> None:
        for folder in step.folders:
            (self._work / folder).mkdir(parents=True, exist_ok=True)
        log.line(f"# {step.what}\n# {' '.join(step.argv)}")
        self._say("step", step.what, {"step": number, "steps": len(self._plan.steps)} | _argv(step))
        reader, tail = ProgressReader(), deque[str](maxlen=400)

        def said(stream: str, line: str) -> None:
            log.line(line)
            tail.append(line)
            if found := _AMI.search(line):
                self._ami = found[0]
            progress = reader.feed(line)
            if progress is not None:
                data = {"step": number, "steps": len(self._plan.steps)} | progress.to_json()
                self._say("progress", progress.message, data)
            elif line.strip():
                self._say("output", line, {"stream": stream})

        result = self._tools.executor.run(step.argv, as_root=True, on_line=said)
        if result.ok:
            return
        fault = classify(tail, result.exit_code)
        lines = [line for line in tail if line.strip()][-_TAIL:]
        what = fault.message if fault else f"it ended with exit code {result.exit_code}"
        raise DiskBuildError(
            f"{step.what}: failed: {what}",
            cause=fault.cause if fault else "unknown",
            hint=fault.remedy if fault else f"read its whole output: {self._log}",
            details=(*lines, f"log: {self._log}", *_source(fault.source if fault else "")),
        )

    def _finish(self) -> DiskResult:
        """Hash, sync and rename every file, then write artifacts.json."""
        self._own()
        made = [one for step in self._plan.steps for one in step.makes]
        found = {one.path: self._found(one) for one in made}
        sums: dict[str, tuple[int, str]] = {}
        for one in made:
            if one.path not in sums:
                self._say("hashing", f"hashing {one.final}")
                sums[one.path] = hash_file(found[one.path])
        artifacts = []
        for path, source in found.items():
            final = self._output / next(one.final for one in made if one.path == path)
            final.parent.mkdir(parents=True, exist_ok=True)
            sync_file(source)
            source.replace(final)
            sync_file(final.parent)
        for one in made:
            size, digest = sums[one.path]
            ami = self._ami if one.type is DiskType.AMI else None
            artifacts.append(
                DiskArtifact(type=one.type, path=one.final, size=size, sha256=digest, uploaded=ami)
            )
        request, image = self._request, self._plan.facts.image
        ended = self._tools.clock()
        result = DiskResult(
            name=request.name,
            image=request.image,
            image_digest=self._podman.digest(request.image) or (image.id if image else None),
            backend=request.backend,
            builder=request.builder or None,
            builder_digest=self._podman.digest(request.builder) if request.builder else None,
            config_hash=request.config_hash,
            platform=request.platform,
            built_at=ended,
            duration=round((ended - self._started).total_seconds(), 3),
            log=str(self._log),
            ami=self._ami,
            artifacts=tuple(artifacts),
        )
        write_atomic(self._output / FILE, result.render().encode())
        return result

    def _found(self, made: MadeFile) -> Path:
        path = self._work / made.path
        if path.is_file():
            return path
        older = self._work / made.older if made.older else None
        there = sorted(
            str(one.relative_to(self._work)) for one in self._work.rglob("*/*") if one.is_file()
        )
        raise DiskBuildError(
            f"the builder ended well, and {made.type} is not where it should be ({made.path})",
            cause="no-output",
            hint=(
                "this builder is older and leaves a folder: use a newer one (--builder)"
                if older is not None and older.is_dir()
                else f"read its whole output: {self._log}"
            ),
            details=tuple(f"it made {one}" for one in there[:_TAIL]),
        )

    def _own(self) -> None:
        """What root made becomes the file of the person who asked for it."""
        if os.geteuid() != 0:
            owner = f"{os.getuid()}:{os.getgid()}"
            self._tools.executor.run(["chown", "-R", owner, str(self._work)], as_root=True)

    def _clean(self) -> None:
        for step in self._plan.steps:
            if step.container is not None:
                self._podman.remove(step.container)
        self._remove(self._work)

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            with contextlib.suppress(FleetError):
                self._tools.executor.run(["rm", "-rf", "--", str(folder)], as_root=True)

    def _say(self, kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        self._emit(Event(f"disk.build.{kind}", self._request.name, message, data or {}))

    def _write_down(self, outcome: str, details: Mapping[str, Any]) -> None:
        request, image = self._request, self._plan.facts.image
        digests = {"image": self._podman.digest(request.image) or (image.id if image else "")}
        if request.builder:
            digests["builder"] = self._podman.digest(request.builder) or ""
        self._tools.record(
            ACTION,
            request.name,
            outcome,
            digests={key: value for key, value in digests.items() if value},
            details={
                "image": request.image,
                "backend": request.backend.value,
                "types": [one.value for one in request.types],
                "log": str(self._log),
                **details,
            },
        )


def _argv(step: DiskStep) -> dict[str, Any]:
    return {"argv": list(step.argv)}


def _source(source: str) -> tuple[str, ...]:
    return (f"known: {source}",) if source else ()


def _remove_leftovers(output: Path, remove: Callable[[Path], None]) -> None:
    """Remove the folders of builds that were killed."""
    for folder in output.glob(f"{_WORK}*"):
        pid = folder.name.removeprefix(_WORK).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            remove(folder)
