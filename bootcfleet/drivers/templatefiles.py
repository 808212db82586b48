"""Reads template folders: the project's own over the shipped ones.

A template of the project that has its own ``Containerfile.j2`` is whole: nothing of
the shipped one of that name is mixed in, so that an update of bootcfleet brings no
file that its variables do not know. Otherwise files replace files, path by path.

Symbolic links are refused: where one points depends on the machine, and a
link out of the folder would carry a file of the builder into an image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from bootcfleet.domain.document import Document
from bootcfleet.domain.template import (
    CHECKS,
    CHECKS_FOLDER,
    CONTAINERFILE,
    METADATA,
    SourceFile,
    TemplateSet,
)
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

#: The largest file of a template: what is bigger belongs into a package or an artifact.
MAX_FILE = 64 * 1024 * 1024


def shipped_templates() -> Path:
    """The folder of the templates that come with bootcfleet.

    In an installed package it lies inside it; in a checkout it is the
    repository's ``containerfiles/``.  Raises `ConfigError` when neither is there.
    """
    package = Path(str(resources.files("bootcfleet")))
    for folder in (package / "shipped" / "containerfiles", package.parent / "containerfiles"):
        if folder.is_dir():
            return folder
    raise ConfigError(
        "the templates that come with bootcfleet are missing from this installation",
        hint="install it again: pip install --force-reinstall bootcfleet",
    )


def load_templates(folders: Sequence[Path]) -> TemplateSet:
    """Read template folders; a file of an earlier folder replaces the same path of a later one.

    A template with a ``Containerfile.j2`` takes nothing from later folders. A folder
    that does not exist has no files. Raises `ConfigError` for symbolic links, files
    that cannot be read, and metadata that is not YAML.
    """
    files: dict[str, SourceFile] = {}
    metadata: dict[str, Document] = {}
    for folder in reversed(folders):
        found = read_tree(folder)
        whole = {path.partition("/")[0] for path, _ in found if path.endswith(f"/{CONTAINERFILE}")}
        files = {path: file for path, file in files.items() if path.partition("/")[0] not in whole}
        metadata = {name: document for name, document in metadata.items() if name not in whole}
        for path, file in found:
            files[path] = file
            parts = path.split("/")
            if len(parts) == 2 and parts[1] == METADATA:
                metadata[parts[0]] = yamlfile.load(folder / path)
    return TemplateSet(files, metadata, _checks(files))


def _checks(files: Mapping[str, SourceFile]) -> dict[str, tuple[Document, ...]]:
    """The files of checks that were not replaced, by template: its own first, then by name."""
    found: dict[str, list[Document]] = {}
    first = [path for path in files if path.endswith(f"/{CHECKS}") and path.count("/") == 1]
    later = [path for path in files if _is_further(path.split("/"))]
    for path in [*first, *sorted(later)]:
        file = files[path]
        document = yamlfile.parse(file.text(), file.origin or path)
        found.setdefault(path.split("/")[0], []).append(document)
    return {template: tuple(documents) for template, documents in found.items()}


def _is_further(parts: list[str]) -> bool:
    return len(parts) == 3 and parts[1] == CHECKS_FOLDER and parts[2].endswith(".yaml")


def read_tree(folder: Path) -> list[tuple[str, SourceFile]]:
    """Every file below a folder, by its path there, sorted.  Raises `ConfigError`."""
    found = []
    for directory, names, leaves in os.walk(folder):
        here = Path(directory)
        for name in [*names, *leaves]:
            if (here / name).is_symlink():
                raise ConfigError(
                    "is a symbolic link, which a template may not contain",
                    file=str(here / name),
                    hint="copy the file, or make the link with RUN ln -s in the Containerfile",
                )
        names.sort()
        for name in sorted(leaves):
            path = here / name
            found.append((path.relative_to(folder).as_posix(), _read(path)))
    return found


def _read(path: Path) -> SourceFile:
    try:
        status = path.stat()
        if not path.is_file():
            raise ConfigError("is not a plain file", file=str(path))
        if status.st_size > MAX_FILE:
            raise ConfigError(
                f"is larger than {MAX_FILE // 2**20} MiB",
                file=str(path),
                hint="put it into a package or fetch it in the Containerfile",
            )
        return SourceFile(path.read_bytes(), bool(status.st_mode & 0o100), str(path))
    except PermissionError as error:
        raise ConfigError("may not be read by this user", file=str(path)) from error
