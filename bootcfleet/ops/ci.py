"""`bootcfleet ci init`: writes a provider's pipeline for a project."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootcfleet import __version__
from bootcfleet.domain import pipeline_github, pipeline_gitlab, pipeline_jenkins, pipeline_tekton
from bootcfleet.domain.pipeline import Pipeline, Provider
from bootcfleet.domain.pipeline_jobs import is_local, make_pipeline
from bootcfleet.domain.project import Project
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.lock import FILE as LOCK
from bootcfleet.ops.project import LoadedProject

_RENDERERS: dict[Provider, tuple[str, Callable[[Pipeline], str]]] = {
    Provider.GITHUB: (pipeline_github.PATH, pipeline_github.render_github),
    Provider.GITLAB: (pipeline_gitlab.PATH, pipeline_gitlab.render_gitlab),
    Provider.JENKINS: (pipeline_jenkins.PATH, pipeline_jenkins.render_jenkins),
    Provider.TEKTON: (pipeline_tekton.PATH, pipeline_tekton.render_tekton),
}


@dataclass(frozen=True)
class CiFile:
    """A pipeline before it is written: its place, its text, and what stands in its way.

    `there` says that another file is in its place, `same` that this very one is. `notes`
    are what the project lacks for the pipeline to work, as sentences.
    """

    path: Path
    text: str
    pipeline: Pipeline
    there: bool
    same: bool
    notes: tuple[str, ...]


def plan_ci(
    loaded: LoadedProject, provider: Provider, *, branch: str = "main", package: str | None = None
) -> CiFile:
    """Draw the pipeline of a project; nothing is written.

    The file belongs to the top of the git repository, where providers look for it; a project
    may be in a folder below. Raises `UsageError`.
    """
    top = _repository(loaded.root)
    folder = loaded.root.relative_to(top).as_posix() if top != loaded.root else ""
    project = loaded.project
    pipeline = make_pipeline(
        project,
        package=package or _package(project),
        branch=branch,
        folder=folder,
    )
    name, render = _RENDERERS[provider]
    path, text = top / name, render(pipeline)
    there = os.path.lexists(path)
    same = there and path.is_file() and _bytes(path) == text.encode()
    return CiFile(path, text, pipeline, there and not same, same, _notes(loaded))


def write_ci(planned: CiFile, *, force: bool) -> None:
    """Write the file, whole, unless it is there already.

    Raises `UsageError` for one that is there and another, without `force`; `FleetError`
    when it cannot be written.
    """
    path = planned.path
    if planned.same:
        return
    if path.is_dir():
        raise UsageError(f"{path} is a directory where a file is to be")
    if planned.there and not force:
        raise UsageError(
            f"{path} is there and is another one",
            hint="look at the new one with --dry-run, and replace it with --force",
        )
    try:
        write_atomic(path, planned.text.encode())
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}") from error


def _repository(root: Path) -> Path:
    """The top of the git repository around a project; the project itself outside of one."""
    return next((one for one in (root, *root.parents) if (one / ".git").exists()), root)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from error


def _package(project: Project) -> str:
    """What pip installs: this version, with the ledger's driver where it needs one."""
    extra = "[postgresql]" if project.ledger.startswith("postgres") else ""
    return f"bootcfleet{extra}=={__version__}"


def _notes(loaded: LoadedProject) -> tuple[str, ...]:
    """What a pipeline of the project still needs."""
    project, notes = loaded.project, []
    registry = ImageRef.parse(f"{project.registry}/image").registry
    if is_local(registry):
        notes.append(
            f"the registry {registry} is this machine's own; set registry: to one that the "
            "runners reach"
        )
    if project.ledger.startswith("sqlite"):
        notes.append(
            "the ledger is a file of one machine, and every job would begin with an empty one; "
            "promotions by hand need the others' entries: set ledger: to a PostgreSQL database"
        )
    if not project.channels:
        notes.append(
            "the project has no channels, so nothing is promoted; declare channels: and write the "
            "pipeline again"
        )
    if not (loaded.root / LOCK).exists():
        notes.append(f"there is no {LOCK}: bootcfleet lock update")
    for name, image in project.images.items():
        for secret in image.secrets:
            if secret.file is not None:
                notes.append(
                    f"the build of {name} takes the secret {secret.id} from the file "
                    f"{secret.file}, which runners must have"
                )
    return tuple(notes)
