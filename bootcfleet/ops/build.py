"""Carry out the plan of a build: parents first, the rest side by side, what is there skipped."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime

from bootcfleet.domain.build import BuildReport, ImageOutcome, ImageResult
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.lineage import base_digest
from bootcfleet.domain.plan import BuildPlan, BuildStep
from bootcfleet.drivers.binfmt import require_emulation
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.podman import Podman
from bootcfleet.errors import InterruptedRunError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.bootclint import BootcLinter
from bootcfleet.ops.build_image import ImageBuilder, Proof
from bootcfleet.ops.build_push import Registry
from bootcfleet.ops.plan import platforms_of, this_platform
from bootcfleet.ops.render import ProjectImages


@dataclass(frozen=True)
class Tools:
    """The outside world of a build: where podman runs, the registry, the ledger, the clock."""

    executor: Executor
    registry: Registry
    record: Record
    clock: Callable[[], datetime]


def run_build(
    plan: BuildPlan,
    images: ProjectImages,
    tools: Tools,
    *,
    jobs: int,
    emit: Emit,
    timestamp: int | None = None,
    no_cache: bool = False,
    proof: Proof | None = None,
    bootc: BootcLinter | None = None,
) -> BuildReport:
    """Carry a plan out, at most `jobs` images at a time.

    A failure takes only what stands on that image with it; everything else is
    built. `timestamp` (seconds since 1970) makes builds reproducible as far as
    podman can; `proof` is told of every image before its children start, `bootc`
    looks at each new one before it is pushed. Raises
    `ToolMissingError` before anything starts when podman or the emulation of
    another platform is missing, `FleetError` when another build of the project
    runs or the ledger cannot be written, and `InterruptedRunError` after ^C, when
    every podman has ended and what was done is recorded.
    """
    podman = Podman(tools.executor)
    podman.require()
    _require_emulation(plan, images)
    stamp = tools.clock().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    builder = ImageBuilder(
        images,
        podman,
        tools.registry,
        plan.tags,
        plan.push,
        stamp,
        emit,
        tools.clock,
        timestamp,
        no_cache,
        proof,
        bootc,
    )
    with images.files.exclusive():
        return _Run(plan, builder, tools, jobs, emit).run()


def _require_emulation(plan: BuildPlan, images: ProjectImages) -> None:
    """A RUN for another architecture needs qemu; files alone can be copied without."""
    here = this_platform()
    for step in plan.to_build:
        foreign = [one for one in platforms_of(images.loaded, step.image) if one != here]
        if foreign:
            base = step.base or f"{images.repository(step.parent or '')}:planned"
            text = images.render(step.image, base).containerfile
            if re.search(r"^\s*RUN\s", text, re.MULTILINE | re.IGNORECASE):
                for platform in foreign:
                    require_emulation(platform)


class _Run:
    """One run of a plan; everything but `ImageBuilder.build` happens in the caller's thread."""

    def __init__(
        self, plan: BuildPlan, builder: ImageBuilder, tools: Tools, jobs: int, emit: Emit
    ) -> None:
        self._plan = plan
        self._builder = builder
        self._tools = tools
        self._jobs = max(1, jobs)
        self._emit = emit
        self._results: dict[str, ImageResult] = {}
        self._children: dict[str, list[BuildStep]] = {}
        for step in plan.steps:
            if step.parent is not None:
                self._children.setdefault(step.parent, []).append(step)

    def run(self) -> BuildReport:
        ready = deque(step for step in self._plan.steps if step.parent is None)
        running: dict[Future[ImageResult], str] = {}
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="build")
        try:
            while ready or running:
                while ready and len(running) < self._jobs:
                    step = ready.popleft()
                    parent = self._results.get(step.parent or "")
                    running[pool.submit(self._builder.build, step, parent)] = step.image
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    ready += self._ended(name, future.result())
        except BaseException as error:
            self._stop(running)
            if isinstance(error, KeyboardInterrupt):
                raise self._interrupted() from error
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return self._report()

    def _ended(self, name: str, result: ImageResult) -> list[BuildStep]:
        """Take a result in; the steps that may start now."""
        self._results[name] = result
        children = self._children.get(name, [])
        if result.outcome is ImageOutcome.BUILT:
            self._say(result, "finished", f"built in {result.seconds:.1f} s: {result.reference}")
            self._write_down(result)
            return children
        if result.outcome is ImageOutcome.UNCHANGED:
            self._say(result, "unchanged", result.message)
            if result.tags:
                # Built elsewhere: this ledger did not know it until now.
                self._write_down(result)
            return children
        self._say(result, "failed", result.message)
        self._write_down(result)
        below = deque(children)
        while below:
            step = below.popleft()
            skipped = ImageResult(
                step.image, ImageOutcome.SKIPPED, message=f"not built: {name} failed"
            )
            self._results[step.image] = skipped
            self._say(skipped, "skipped", skipped.message)
            self._write_down(skipped)
            below += self._children.get(step.image, [])
        return []

    def _stop(self, running: dict[Future[ImageResult], str]) -> None:
        """End every podman, and see each image's thread to its end."""
        left = set(running)
        for future in running:
            future.cancel()
        while left:
            # Again and again: a thread may start its next command after the first time.
            self._tools.executor.close()
            _, left = wait(left, timeout=0.1)
        for future, name in running.items():
            if not future.cancelled() and future.exception() is None:
                result = future.result()
                if result.there:
                    self._ended(name, result)

    def _interrupted(self) -> InterruptedRunError:
        for step in self._plan.steps:
            if step.image not in self._results:
                cancelled = ImageResult(
                    step.image, ImageOutcome.CANCELLED, message="cancelled by ^C"
                )
                self._results[step.image] = cancelled
                self._say(cancelled, "cancelled", cancelled.message)
                self._write_down(cancelled)
        report = self._report()
        built = sum(result.there for result in report.results)
        return InterruptedRunError(
            f"interrupted: {built} of {len(report.results)} images were built",
            hint="run the same build again: what is built is not built again",
        )

    def _say(self, result: ImageResult, kind: str, message: str) -> None:
        self._emit(Event(f"image.build.{kind}", result.image, message, result.to_json()))

    def _write_down(self, result: ImageResult) -> None:
        digests = {
            name: value
            for name, value in (
                ("image", result.digest),
                ("image-id", result.image_id),
                ("base", result.base),
            )
            if value
        }
        details = {
            "tags": list(result.tags),
            "seconds": round(result.seconds, 3),
            "log": result.log,
            "message": result.message,
            "build_id": result.build_id,
            # What hosts say of an index is the digest of their own platform.
            "platforms": {
                platform: digest
                for platform, reference in result.variants.items()
                if (digest := base_digest(reference)) is not None
            },
        }
        # One whose checks are not green was built and pushed; the evidence says the rest.
        made = result.image_id is not None and result.outcome is ImageOutcome.FAILED
        outcome = ImageOutcome.BUILT.value if made else result.outcome.value
        self._tools.record("image.build", result.image, outcome, digests=digests, details=details)
        if result.digest is not None and result.outcome is not ImageOutcome.UNCHANGED:
            self._tools.record(
                "image.push",
                result.image,
                "pushed",
                digests={"image": result.digest},
                details={"tags": list(result.tags)},
            )

    def _report(self) -> BuildReport:
        return BuildReport(
            tuple(self._results[step.image] for step in self._plan.steps), self._plan.push
        )
