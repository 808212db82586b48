"""The file tree of an image: its layers laid over one another, without unpacking them.

Source: OCI image specification 1.1, *layer* (whiteouts, opaque directories, hard links).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Kind(StrEnum):
    """What an entry is; the letters of ``ls -l``, and h for another name of a file."""

    FILE = "-"
    DIRECTORY = "d"
    SYMLINK = "l"
    CHARACTER = "c"
    BLOCK = "b"
    FIFO = "p"
    HARDLINK = "h"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a layer.  `path` has no slash at its ends; `size` is in bytes.

    `sha256` (hex) is of a file's content, `link` the target of a link (or a device's
    numbers), `capability` the file capabilities (hex), and `kept` names the copy of the
    content that was put aside, if there is one.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int = 0
    sha256: str = ""
    link: str = ""
    capability: str = ""
    kept: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)


def normal(path: str) -> str:
    """A path as the tree knows it: no ``./``, no slash at either end; the root is empty."""
    clean = posixpath.normpath("/" + path).lstrip("/")
    return "" if clean == "." else clean


class Tree:
    """Layers applied so far.  A later layer replaces, adds and removes."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._children: dict[str, set[str]] = {}

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every entry by its path; hard links are files of their own here."""
        return self._entries

    def apply(self, layer: Iterable[Entry]) -> None:
        """Lay one more layer over the tree."""
        added = []
        for entry in layer:
            if not entry.name.startswith(_WHITEOUT):
                added.append(entry)
                continue
            # Whiteouts are about the layers below alone, wherever they stand in this one.
            folder = posixpath.dirname(entry.path)
            if entry.name == _OPAQUE:
                for name in list(self._children.get(folder, ())):
                    self._remove(posixpath.join(folder, name))
            else:
                self._remove(posixpath.join(folder, entry.name.removeprefix(_WHITEOUT)))
        for entry in added:
            self._add(entry)

    def get(self, path: str) -> Entry | None:
        """The entry at a path, links not followed."""
        return self._entries.get(path)

    def names(self, folder: str) -> tuple[str, ...]:
        """The names in a folder, in order."""
        return tuple(sorted(self._children.get(folder, ())))

    def real(self, path: str) -> str:
        """The path with all symbolic links followed, inside the tree; itself where that fails."""
        current, pending = "", [part for part in path.split("/") if part]
        for _ in range(4096):
            if not pending:
                return current
            part = pending.pop(0)
            if part == ".." or part == ".":
                current = posixpath.dirname(current) if part == ".." else current
                continue
            step = posixpath.join(current, part)
            entry = self._entries.get(step)
            if entry is None or entry.kind is not Kind.SYMLINK:
                current = step
                continue
            if entry.link.startswith("/"):
                current = ""
            pending = [one for one in entry.link.split("/") if one] + pending
        return path

    def _add(self, entry: Entry) -> None:
        if not entry.path:
            return
        if entry.kind is Kind.HARDLINK:
            target = self._entries.get(entry.link)
            if target is None:
                return  # an archive that is not whole; what is not there cannot be told
            entry = replace(target, path=entry.path, kept=entry.kept or target.kept)
        self._ensure_folder(posixpath.dirname(entry.path))
        before = self._entries.get(entry.path)
        if before is not None and before.kind is Kind.DIRECTORY is not entry.kind:
            self._remove(entry.path)
        self._link(entry)

    def _ensure_folder(self, folder: str) -> None:
        missing = []
        while folder:
            before = self._entries.get(folder)
            if before is not None and before.kind is Kind.DIRECTORY:
                break
            missing.append(folder)
            folder = posixpath.dirname(folder)
        for path in reversed(missing):
            self._link(Entry(path, Kind.DIRECTORY, 0o755, 0, 0))

    def _link(self, entry: Entry) -> None:
        self._entries[entry.path] = entry
        folder, name = posixpath.split(entry.path)
        self._children.setdefault(folder, set()).add(name)

    def _remove(self, path: str) -> None:
        if self._entries.pop(path, None) is None:
            return
        folder, name = posixpath.split(path)
        self._children.get(folder, set()).discard(name)
        for child in self._children.pop(path, set()):
            self._drop(posixpath.join(path, child))

    def _drop(self, path: str) -> None:
        """Remove what is below a folder that is gone already."""
        pending = [path]
        while pending:
            one = pending.pop()
            self._entries.pop(one, None)
            pending += [posixpath.join(one, name) for name in self._children.pop(one, set())]


def flatten(layers: Iterable[Iterable[Entry]]) -> Tree:
    """The tree of an image, its layers from the lowest on."""
    tree = Tree()
    for layer in layers:
        tree.apply(layer)
    return tree
