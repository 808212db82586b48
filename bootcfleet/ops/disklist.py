"""The disks that were built, from the ledger, and whether their files are what they were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bootcfleet.domain.diskresult import FILE, DiskArtifact, DiskResult
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.diskfiles import hash_file
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.disk import ACTION


@dataclass(frozen=True)
class ListedDisk:
    """A file of a build: where it is, and `state`: ``there``, ``gone`` or ``changed``."""

    name: str
    artifact: DiskArtifact
    path: Path
    result: DiskResult
    state: str

    def to_json(self) -> dict[str, Any]:
        """The file as JSON-ready data."""
        return {
            "name": self.name,
            **self.artifact.model_dump(mode="json", exclude_none=True),
            "path": str(self.path),
            "image": self.result.image,
            "image_digest": self.result.image_digest,
            "backend": self.result.backend.value,
            "built_at": self.result.built_at.isoformat(),
            "state": self.state,
        }


def list_disks(ledger: Ledger, name: str | None = None) -> tuple[ListedDisk, ...]:
    """What was built, newest last; an older file under the same name is left out.

    Raises `FleetError` for a ledger that cannot be read.
    """
    found: dict[Path, ListedDisk] = {}
    for entry in ledger.entries(action=ACTION, subject=name):
        if entry.action != ACTION or entry.outcome != "built":
            continue
        try:
            result = DiskResult.model_validate(entry.details.get("result"))
        except ValidationError:
            # Of a newer version.
            continue
        folder = Path(str(entry.details.get("folder", "")))
        for one in result.artifacts:
            path = folder / one.path
            found.pop(path, None)
            found[path] = ListedDisk(entry.subject, one, path, result, _state(path, one))
    return tuple(found.values())


def _state(path: Path, artifact: DiskArtifact) -> str:
    try:
        return "there" if path.stat().st_size == artifact.size else "changed"
    except OSError:
        return "gone"


@dataclass(frozen=True)
class VerifiedDisk:
    """How a file compares with artifacts.json: `problem` is empty where it is the same."""

    path: Path
    artifact: DiskArtifact
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON-ready data."""
        return {
            "path": str(self.path),
            "type": self.artifact.type.value,
            "sha256": self.artifact.sha256,
            "ok": not self.problem,
            "problem": self.problem,
        }


def read_result(place: Path) -> tuple[Path, DiskResult]:
    """The folder and the result of a build: `place` is either, or a file of it.

    Raises `UsageError` where there is none, `FleetError` for one that cannot be read.
    """
    folders = [place] if place.is_dir() else list(place.absolute().parents)[:3]
    for folder in folders:
        file = folder / FILE
        if file.is_file():
            return folder, DiskResult.parse(yamlfile.read_text(file), str(file))
    raise UsageError(
        f"there is no {FILE} at {place}",
        hint="name the folder that disk build has written; bootcfleet disk list shows them",
    )


def verify_disk(place: Path) -> tuple[VerifiedDisk, ...]:
    """Compute the digest of every file of a build anew.  Raises as `read_result` does."""
    folder, result = read_result(place)
    verdicts = []
    for one in result.artifacts:
        path = folder / one.path
        verdicts.append(VerifiedDisk(path, one, _problem(path, one)))
    return tuple(verdicts)


def _problem(path: Path, artifact: DiskArtifact) -> str:
    if not path.is_file():
        return "it is gone"
    try:
        size, digest = hash_file(path)
    except FleetError as error:
        return error.message
    if size != artifact.size:
        return f"it has {size} bytes instead of {artifact.size}"
    return "" if digest == artifact.sha256 else f"its sha256 is {digest}"
