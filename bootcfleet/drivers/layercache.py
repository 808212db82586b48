"""What is in each layer, remembered by its digest: a layer is read once, however many images
have it.  A zip file a layer: ``entries.json``, and the files that were kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bootcfleet.domain.imagetree import Entry, Kind
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.layerreader import read_layer
from bootcfleet.errors import FleetError

#: Changes with the form of the files and with what is kept: older ones are read anew.
VERSION = 2
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A layer's entries; what was kept of it is in `file`."""

    entries: tuple[Entry, ...]
    file: Path

    def copy(self, kept: str, target: IO[bytes]) -> None:
        """Write a kept file into `target`."""
        with zipfile.ZipFile(self.file) as archive, archive.open(kept) as source:
            while chunk := source.read(_CHUNK):
                target.write(chunk)


class LayerCache:
    """The layers below a folder.  Safe to use from several threads and processes."""

    def __init__(self, folder: Path, wanted: Callable[[str], int]) -> None:
        self._folder = folder
        self._wanted = wanted

    def get(self, digest: Digest) -> Layer | None:
        """What is remembered of a layer; a damaged file counts as none."""
        path = self._path(digest)
        try:
            with zipfile.ZipFile(path) as archive:
                body = json.loads(archive.read("entries.json"))
            if body["version"] != VERSION or body["digest"] != str(digest):
                return None
            # Kept names carry the layer, as entries of several are mixed in a tree.
            entries = tuple(_entry(row, digest) for row in body["entries"])
        except (OSError, zipfile.BadZipFile, ValueError, LookupError, TypeError):
            return None
        return Layer(entries, path)

    def read(self, digest: Digest, stream: IO[bytes]) -> Layer:
        """Read a layer from its blob and remember it.  Raises `LayerError`."""
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".reading-")
        try:
            with os.fdopen(handle, "wb") as file:
                with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                    self._write(archive, digest, stream)
                file.flush()
                os.fsync(file.fileno())
            Path(name).rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        layer = self.get(digest)
        if layer is None:
            raise FleetError(f"{path} cannot be read back", hint=f"remove it: rm {path}")
        return layer

    def _write(self, archive: zipfile.ZipFile, digest: Digest, stream: IO[bytes]) -> None:
        number = 0

        def keep(content: IO[bytes]) -> str:
            nonlocal number
            number += 1
            with archive.open(f"kept/{number}", "w", force_zip64=True) as target:
                while chunk := content.read(_CHUNK):
                    target.write(chunk)
            return f"kept/{number}"

        rows = [
            [e.path, e.kind.value, e.mode, e.uid, e.gid, e.size, e.sha256, e.link,
             e.capability, e.kept]
            for e in read_layer(stream, digest, wanted=self._wanted, keep=keep)
        ]  # fmt: skip
        body = {"version": VERSION, "digest": str(digest), "entries": rows}
        archive.writestr("entries.json", json.dumps(body))

    def _path(self, digest: Digest) -> Path:
        return self._folder / f"{digest.value.removeprefix('sha256:')}.zip"


def _entry(row: list[object], digest: Digest) -> Entry:
    path, kind, mode, uid, gid, size, sha256, link, capability, kept = row
    return Entry(
        _text(path), Kind(_text(kind)), _number(mode), _number(uid), _number(gid), _number(size),
        _text(sha256), _text(link), _text(capability), f"{digest}/{_text(kept)}" if kept else "",
    )  # fmt: skip


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value
