"""What stands about the checks of an image: of its last build, or of any digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.check import counted
from bootcfleet.domain.checkfile import checks_hash
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.evidence import Evidence, EvidenceKind, EvidenceOutcome
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.errors import UsageError
from bootcfleet.ops.check import project_checks
from bootcfleet.ops.evidence import latest_by_digest
from bootcfleet.ops.render import ProjectImages


class CheckState(StrEnum):
    """What stands for a digest; only `GREEN` is green."""

    GREEN = "green"
    FAILED = "failed"
    SKIPPED = "skipped"
    STALE = "stale"
    NEVER_RUN = "never run"
    NOT_BUILT = "not built"


@dataclass(frozen=True)
class CheckStatus:
    """The state of one image's last build; `at` is when it was checked."""

    image: str
    state: CheckState
    digest: str | None = None
    at: datetime | None = None
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is green."""
        return self.state is CheckState.GREEN

    def to_json(self) -> dict[str, Any]:
        """The status as JSON-ready data."""
        return {
            "image": self.image,
            "state": self.state.value,
            "ok": self.ok,
            "digest": self.digest,
            "at": self.at.isoformat() if self.at else None,
            "message": self.message,
        }


def chosen(images: ProjectImages, names: Sequence[str]) -> tuple[str, ...]:
    """The images that are meant: each once, all for none.  Raises `UsageError`."""
    known = images.loaded.project.images
    for name in names:
        if name not in known:
            raise UsageError(f"the project has no image {name!r}", hint=did_you_mean(name, known))
    return tuple(dict.fromkeys(names)) or tuple(known)


def reference_of(images: ProjectImages, name: str, digest: str | None = None) -> str:
    """What to run: REPO@DIGEST, or the id of an image that was not pushed.

    Raises `UsageError` for an image that was never built.
    """
    built = images.files.last_builds().get(name)
    if digest is not None:
        exact = str(Digest(digest))
        if built is not None and exact == built.image_id:
            return exact
        return f"{images.repository(name)}@{exact}"
    if built is None:
        raise UsageError(
            f"{name} was not built here yet",
            hint=f"bootcfleet image build {name}, or name a digest: image check {name} --digest …",
        )
    return built.reference


def check_statuses(
    images: ProjectImages, names: Sequence[str], ledger: Ledger
) -> tuple[CheckStatus, ...]:
    """The state of each image's last build.  Raises `ConfigError` for checks that are wrong."""
    last = images.files.last_builds()
    proven = latest_by_digest(ledger, EvidenceKind.CHECK)
    found = []
    for name in names:
        if name not in last:
            found.append(CheckStatus(name, CheckState.NOT_BUILT))
            continue
        digest = last[name].reference.rpartition("@")[2]
        evidence = proven.get(digest)
        state, message = _state(images, name, evidence, last)
        at = evidence.at if evidence else None
        found.append(CheckStatus(name, state, digest, at, message))
    return tuple(found)


def stale_checks(
    images: ProjectImages,
    name: str,
    evidence: Evidence,
    *,
    last: Mapping[str, LastBuild] | None = None,
) -> str | None:
    """Why evidence no longer proves what the checks of today ask for, or None.

    Evidence that does not say which checks there were is taken as it is.
    Raises `ConfigError` for checks of today that are wrong.
    """
    recorded = evidence.details.get("checks_hash")
    if recorded is None or recorded == checks_hash(project_checks(images, name, last=last)):
        return None
    return "the checks have changed since"


def _state(
    images: ProjectImages,
    name: str,
    evidence: Evidence | None,
    last: Mapping[str, LastBuild],
) -> tuple[CheckState, str]:
    if evidence is None:
        return CheckState.NEVER_RUN, ""
    counts = evidence.details.get("counts", {})
    said = f"{counted(counts)} ({evidence.details.get('mode', 'unknown mode')})"
    if evidence.details.get("local"):
        said += ", by its image id"
    match evidence.outcome:
        case EvidenceOutcome.FAILED:
            return CheckState.FAILED, said
        case EvidenceOutcome.SKIPPED:
            return CheckState.SKIPPED, said
    stale = stale_checks(images, name, evidence, last=last)
    return (CheckState.STALE, stale) if stale else (CheckState.GREEN, said)


def repository_image(images: ProjectImages, reference: str) -> str | None:
    """The image of the project that a reference names, in whichever channel's repository."""
    name, project = ImageRef.parse(reference).name, images.loaded.project
    others = [channel.repository for channel in project.channels.values()]
    for prefix in (project.registry, *others):
        for image in project.images:
            if prefix is not None and f"{prefix}/{image}" == name:
                return image
    return None
