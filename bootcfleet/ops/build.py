"""Plan a build of a project's images, and carry it out: parents first, the rest side by side."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bootcfleet.domain.build import BuildReport, ImageOutcome, ImageResult, image_tags, tagged
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.graph import BuildPlan, BuildStep, ImageGraph, make_steps
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.podman import Podman
from bootcfleet.errors import ConfigError, FleetError, InterruptedRunError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.build_image import ImageBuilder, Registry, build_secrets
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.render import ProjectImages

#: Asks a registry what a reference is now; `RegistryClient.resolve` does.
Resolve = Callable[[ImageRef], Resolved]


def image_graph(loaded: LoadedProject) -> ImageGraph:
    """The project's images as a graph.  Raises `ConfigError` for cycles and missing parents."""
    return ImageGraph.of(loaded.project, loaded.document)


def plan_build(
    images: ProjectImages,
    names: Sequence[str] = (),
    *,
    now: datetime,
    push: bool = False,
    resolve: Resolve | None = None,
) -> BuildPlan:
    """What building `names` (all images for none) would do.

    Every tag of an external base is resolved once, by `resolve`; one that
    cannot be is noted, and the build asks podman for it. Every image is
    rendered and its secrets are looked for, so that a mistake is known before
    anything starts. Raises `ConfigError` and `UsageError`.
    """
    loaded = images.loaded
    steps = make_steps(image_graph(loaded), names)
    tags = image_tags(loaded.project.image_version, now, images.git.commit, dirty=images.git.dirty)
    for step in steps:
        tagged(images.repository(step.image), tags)
        _check_secrets(loaded, step.image)
        images.render(step.image, step.base or f"{images.repository(step.parent or '')}:planned")
    return BuildPlan(_pinned(steps, resolve), tags, push)


def _pinned(steps: Sequence[BuildStep], resolve: Resolve | None) -> tuple[BuildStep, ...]:
    """The steps with every external base by its digest, where a registry can say it."""
    exact: dict[str, tuple[str, str | None]] = {}
    for step in steps:
        if step.base is not None and step.base not in exact:
            exact[step.base] = _pin(step.base, resolve)
    return tuple(
        replace(step, base=exact[step.base][0], note=exact[step.base][1])
        if step.base is not None
        else step
        for step in steps
    )


def _pin(base: str, resolve: Resolve | None) -> tuple[str, str | None]:
    ref = ImageRef.parse(base)
    if ref.digest is not None or resolve is None:
        return base, None
    if ref.registry == "localhost":
        return base, "is in podman's storage alone"
    try:
        return str(ref.with_digest(resolve(ref).digest)), None
    except FleetError as error:
        return base, f"its digest is not known yet: {error.message}"


def _check_secrets(loaded: LoadedProject, name: str) -> None:
    """podman builds without a secret that is not there, so it is looked for before."""
    image = loaded.project.images[name]
    for index, secret in enumerate(build_secrets(loaded.root, image)):
        at = ("images", name, "secrets", index)
        if secret.env is not None and secret.env not in os.environ:
            raise loaded.document.error(
                (*at, "env"),
                f"the environment variable {secret.env} is not set",
                hint=f"export {secret.env}=… before the build",
            )
        if secret.file is not None and not os.access(secret.file, os.R_OK):
            raise _file_error(loaded, (*at, "file"), str(secret.file))


def _file_error(loaded: LoadedProject, at: tuple[str | int, ...], path: str) -> ConfigError:
    why = "may not be read by this user" if os.path.lexists(path) else "does not exist"
    return loaded.document.error(at, f"the secret's file {path} {why}")


@dataclass(frozen=True)
class Tools:
    """The outside world of a build: where podman runs, the registry, the ledger, the clock."""

    executor: Executor
    registry: Registry
    record: Record
    clock: Callable[[], datetime]


def run_build(
    plan: BuildPlan, images: ProjectImages, tools: Tools, *, jobs: int, emit: Emit
) -> BuildReport:
    """Carry a plan out, at most `jobs` images at a time.

    A failure takes only what stands on that image with it; everything else is
    built. Raises `ToolMissingError` before anything starts when podman is
    missing or too old, `FleetError` when another build of the project runs or
    the ledger cannot be written, and `InterruptedRunError` after ^C, when every podman
    has ended and what was done is recorded.
    """
    podman = Podman(tools.executor)
    podman.require()
    stamp = tools.clock().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    builder = ImageBuilder(
        images, podman, tools.registry, plan.tags, plan.push, stamp, emit, tools.clock
    )
    with images.files.exclusive():
        return _Run(plan, builder, tools, jobs, emit).run()


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
                if result.outcome is ImageOutcome.BUILT:
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
        built = len(report.of(ImageOutcome.BUILT))
        return InterruptedRunError(
            f"interrupted: {built} of {len(report.results)} images were built",
            hint="run the same build again: what is built comes from podman's cache",
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
        }
        outcome = result.outcome.value
        self._tools.record("image.build", result.image, outcome, digests=digests, details=details)
        if result.digest is not None:
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
