"""Finds and loads the project that a command is about."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bootcfleet.domain.document import Document
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import UsageError

FILE = "bootcfleet.yaml"
STATE = ".bootcfleet"


@dataclass(frozen=True)
class LoadedProject:
    """A project, the directory that it is in, and its file (for errors with lines)."""

    root: Path
    project: Project
    document: Document


def find_root(start: Path | None = None) -> Path | None:
    """The nearest directory, upwards from `start`, that has a ``bootcfleet.yaml``."""
    here = (start or Path.cwd()).absolute()
    return next((folder for folder in (here, *here.parents) if (folder / FILE).is_file()), None)


def find_project(start: Path | None = None) -> LoadedProject | None:
    """The project around `start`, or None.  Raises `ConfigError` for a file that is wrong."""
    root = find_root(start)
    if root is None:
        return None
    document = yamlfile.load(root / FILE)
    return LoadedProject(root, parse_project(document), document)


def load_project(start: Path | None = None) -> LoadedProject:
    """The project around `start`.  Raises `UsageError` when there is none."""
    loaded = find_project(start)
    if loaded is None:
        raise UsageError(
            f"there is no {FILE} in {start or Path.cwd()} or above it",
            hint="start a project with `bootcfleet init NAME`, or go into one",
        )
    return loaded


def state_dir(loaded: LoadedProject | None) -> Path:
    """Where state is kept: in the project, or in the user's state directory (XDG)."""
    if loaded is not None:
        return loaded.root / STATE
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The specification has a relative path ignored: it would be another one in each directory.
    return (base if base.is_absolute() else Path.home() / ".local/state") / "bootcfleet"
