"""Checks an image in a container, and remembers the result about its digest."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.check import (
    Check,
    CheckReport,
    Mode,
    Outcome,
)
from bootcfleet.domain.checkfile import CheckSource, checks_hash, checks_of
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.event import Emit, Event, ignore
from bootcfleet.domain.evidence import EvidenceKind
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.container import running
from bootcfleet.drivers.podman import Podman
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.build_push import tls_verify
from bootcfleet.ops.evidence import record_evidence
from bootcfleet.ops.render import ProjectImages
from bootcfleet.ops.systemcheck import Clock, Sleep, check_system

#: Results that an entry of the ledger keeps, the failed ones first.
MAX_KEPT = 500


def project_checks(
    images: ProjectImages, name: str, *, last: Mapping[str, LastBuild] | None = None
) -> tuple[Check, ...]:
    """The checks of an image: its parents', its template's, and its own in ``bootcfleet.yaml``.

    `last` spares reading the last builds for each of many images. Files below the project are
    named from its root. Raises `ConfigError` with file and line, `UsageError` for a name that is
    no image.
    """
    known = images.loaded.project.images
    if name not in known:
        raise UsageError(f"the project has no image {name!r}", hint=did_you_mean(name, known))
    if last is None:
        last = images.files.last_builds()
    chain: list[list[CheckSource]] = []
    current: str | None = name
    while current is not None and current in known and len(chain) <= len(known):
        spec = known[current]
        request = images.request(current, images.likely_base(current, last))
        context = images.renderer.context(request)
        sources = [
            CheckSource(current, document, context)
            for document in images.renderer.checks(spec.template or current)
        ]
        if spec.checks:
            at = ("images", current, "checks")
            sources.append(CheckSource(current, images.loaded.document, context, at))
        chain.insert(0, sources)
        current = spec.from_
    root = f"{images.loaded.root}/"
    return tuple(replace(one, file=one.file.removeprefix(root)) for one in checks_of(chain))


def check_image(
    images: ProjectImages,
    name: str,
    reference: str,
    executor: Executor,
    emit: Emit = ignore,
    *,
    boot: bool = True,
    keep: bool = False,
    sleep: Sleep = time.sleep,
    monotonic: Clock = time.monotonic,
) -> CheckReport:
    """Run the checks of an image in a container of `reference` (REPO@DIGEST, or an image id).

    Nothing is recorded: `record_report` does that. May run in a thread of a
    build; the container is removed whatever happens. Raises `ConfigError` for
    checks that are wrong, `FleetError` when no container can be started.
    """
    started = monotonic()
    checks = project_checks(images, name)
    _have(executor, reference)
    emit(Event("image.check.started", name, f"checking {reference}", {"checks": len(checks)}))
    with running(
        executor, reference, label=name, boot=boot, keep=keep, sleep=sleep, monotonic=monotonic
    ) as container:
        mode = Mode.BOOTED if container.booted else Mode.PLAIN
        results = check_system(
            checks, container.executor, mode, reason=container.reason, sleep=sleep,
            monotonic=monotonic,
        )  # fmt: skip
        kept = container.name if keep else None
    report = CheckReport(
        image=name,
        reference=reference,
        digest=reference.rpartition("@")[2],
        mode=mode,
        results=results,
        checks_hash=checks_hash(checks),
        mode_reason=container.reason,
        seconds=monotonic() - started,
        container=kept,
    )
    for result in results:
        if result.outcome is Outcome.FAILED:
            message = f"check {result.check.name!r} failed: {result.message}"
            emit(Event("image.check.result", name, message, result.to_json()))
    said = f"checks {report.outcome}: {report.summary}"
    emit(Event("image.check.finished", name, said, {"outcome": report.outcome.value}))
    return report


def record_report(record: Record, report: CheckReport) -> None:
    """Write a report down as evidence about its digest (or image id), with what was checked.

    The checks themselves are kept, too: after an update to this digest they are
    the health checks of the host, whatever the project says by then.
    """
    worst = sorted(report.results, key=lambda result: result.outcome is not Outcome.FAILED)
    details = {
        "mode": report.mode.value,
        "mode_reason": report.mode_reason,
        "reference": report.reference,
        "local": report.local,
        "checks_hash": report.checks_hash,
        "counts": report.counts,
        "seconds": round(report.seconds, 3),
        "results": [result.to_json() for result in worst[:MAX_KEPT]],
        "checks": [result.check.to_json() for result in report.results],
    }
    record_evidence(
        record, EvidenceKind.CHECK, report.image, report.digest, report.outcome, details
    )


def _have(executor: Executor, reference: str) -> None:
    """Make sure that the image is in podman's storage."""
    podman = Podman(executor)
    podman.require()
    if podman.exists(reference):
        return
    if reference.startswith("sha256:"):
        raise FleetError(
            f"the image {reference} is not in podman's storage any more",
            hint="build it again, or push it and check its digest",
        )
    podman.pull(reference, tls_verify=tls_verify(ImageRef.parse(reference)))
