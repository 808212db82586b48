"""What a build asks before it makes an image, and does with one that it has made.

Before: is what it stands on revoked, is its life over.  After: its lint and, with
``--check``, its checks are written down as evidence; children start only once
the parent's checks are green.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from bootcfleet.domain.build import ImageResult
from bootcfleet.domain.buildid import digest_of
from bootcfleet.domain.check import Outcome as CheckOutcome
from bootcfleet.domain.checkfile import checks_hash
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.lifecycle import end_of_life
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.lint.model import Severity
from bootcfleet.domain.plan import BuildAction, BuildPlan, BuildStep
from bootcfleet.domain.revocation import Revocations, Revoked
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.hadolint import Hadolint
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.errors import ChecksFailedError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.bootclint import BootcLinter
from bootcfleet.ops.check import check_image, project_checks, record_report
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.lint import lint_rendered, record_lint
from bootcfleet.ops.plan import image_graph
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.render import ProjectImages


@dataclass(frozen=True)
class BuildGuard:
    """Knows what must not be built on, and what must not be built any more."""

    loaded: LoadedProject
    graph: ImageGraph
    revocations: Revocations
    lineage: Lineage
    today: date

    @classmethod
    def of(cls, loaded: LoadedProject, ledger: Ledger, today: date) -> BuildGuard:
        """What the ledger and the project say at `today` (UTC).  Raises `FleetError`."""
        revocations = Revocations.of(
            [*ledger.entries(action="image.revoke"), *ledger.entries(action="image.restore")]
        )
        # Reading years of builds is only worth it when something is revoked.
        lineage = Lineage.of(ledger) if revocations.by_digest else Lineage()
        return cls(loaded, image_graph(loaded), revocations, lineage, today)

    def require(self, plan: BuildPlan) -> tuple[str, ...]:
        """What to warn of before a plan is carried out.

        Raises `ChecksFailedError` with every image that must not be built.
        """
        warnings: list[str] = []
        problems: list[str] = []
        hints: list[str] = []
        for step in plan.steps:
            life = end_of_life(self.loaded.project, self.graph, step.image, self.today)
            if life.warning:
                warnings.append(life.warning)
            if not life.ok and step.action is BuildAction.BUILD:
                problems.append(life.message)
                hints.append(life.hint or "")
            elif not life.ok:
                # Nothing is built, so nothing is refused; hosts and channels have it still.
                warnings.append(life.message)
            for message, hint, blocks in self._revoked(step, plan):
                (problems if blocks else warnings).append(f"{step.image}: {message}")
                hints += [hint] if blocks else []
        if problems:
            count = len(problems)
            raise ChecksFailedError(
                f"{count} image{'s' if count > 1 else ''} of this plan must not be built",
                details=problems,
                hint=hints[0],
            )
        return tuple(warnings)

    def _revoked(self, step: BuildStep, plan: BuildPlan) -> Iterator[tuple[str, str, bool]]:
        """Each revocation that touches a step: sentence, hint, and whether it blocks."""
        if step.action is BuildAction.BUILD and step.base:
            found = self.reason(step.base)
            if found:
                yield f"its base is revoked: {found.message}", found.hint, True
        if step.known is not None:
            found = self.reason(step.known.reference)
            if found:
                children = [s.image for s in plan.to_build if s.parent == step.image]
                hint = f"give {step.image} another `rebuild:` in bootcfleet.yaml to build it anew"
                message = f"the image that it has is revoked, {found.message}; {hint}"
                yield message, hint, bool(children)

    def reason(self, base: str) -> Revoked | None:
        """Why an image may not be built on."""
        if not self.revocations.by_digest:
            return None
        return self.revocations.reason(digest_of(base), self.lineage)


@dataclass(frozen=True)
class BuildProof:
    """Writes down what is known of a new image; may run in several threads."""

    images: ProjectImages
    executor: Executor
    record: Record
    ledger: Ledger
    emit: Emit
    check: bool = False
    bootc: BootcLinter | None = None

    def __call__(self, result: ImageResult, rendered: RenderedImage | None) -> None:
        """Lint a new image; where it is asked for, check each that has not been found green.

        Raises `ChecksFailedError` when its checks are not green.
        """
        if rendered is not None:
            self._lint(result, rendered)
        reference = result.reference or ""
        if not self.check or self._green(reference):
            return
        report = check_image(self.images, result.image, reference, self.executor, self.emit)
        record_report(self.record, report)
        if report.outcome is not EvidenceOutcome.PASSED:
            raise ChecksFailedError(
                f"its checks are not green: {report.summary}",
                details=[
                    f"{result.check.name}: {result.message}"
                    for result in report.results
                    if result.outcome in (CheckOutcome.FAILED, CheckOutcome.SKIPPED)
                ],
                hint=f"look at each: bootcfleet image check {result.image}",
            )

    def _green(self, reference: str) -> bool:
        found = latest_evidence(self.ledger, EvidenceKind.CHECK, digest_of(reference))
        if found is None or found.outcome is not EvidenceOutcome.PASSED:
            return False
        now = checks_hash(project_checks(self.images, found.image))
        return found.details.get("checks_hash") == now

    def _lint(self, result: ImageResult, rendered: RenderedImage) -> None:
        spec = self.images.loaded.project.images[result.image]
        report = lint_rendered(
            result.image,
            rendered,
            build_args=spec.build_args,
            child=spec.from_ is not None,
            hadolint=Hadolint(self.executor, self.images.loaded.root),
            lenient=True,
        )
        errors, warnings = report.count(Severity.ERROR), report.count(Severity.WARNING)
        if errors or warnings:
            message = (
                f"lint: errors {errors}, warnings {warnings}; look at them: "
                f"bootcfleet image lint {result.image}"
            )
            data = {"stream": "bootcfleet", "errors": errors, "warnings": warnings}
            self.emit(Event("image.build.output", result.image, message, data))
        if result.digest is not None:
            said = self.bootc.verdicts.get(result.image_id or "") if self.bootc else None
            record_lint(self.record, report, result.digest, bootc=said)
