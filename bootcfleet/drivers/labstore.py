"""What the lab registry holds: blobs, manifests as bytes, tags and half-done uploads.

In memory, or under a directory, where every file is written whole and appears
by rename: what a killed registry had confirmed is there when it starts again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bootcfleet.drivers.command import write_atomic


@dataclass(frozen=True)
class Stored:
    """A manifest: its bytes, and the media type it was pushed with."""

    media_type: str
    raw: bytes


@dataclass
class Repository:
    """What one name holds: manifests by digest, tags, and the digests of its blobs."""

    manifests: dict[str, Stored] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)


@dataclass
class Upload:
    """A blob on its way in; its lock keeps two requests from writing at once."""

    stream: IO[bytes]
    path: Path | None = None
    size: int = 0
    hashed: hashlib._Hash = field(default_factory=hashlib.sha256)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def write(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        self.stream.write(chunk)
        self.hashed.update(chunk)
        self.size += len(chunk)

    @property
    def digest(self) -> str:
        """The digest of what is there so far."""
        return f"sha256:{self.hashed.hexdigest()}"


class LabStore:
    """The registry's contents; `lock` guards all but the bytes of an upload."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, Upload] = {}
        self._memory: dict[str, bytes] = {}
        if directory is not None:
            for folder in ("blobs", "uploads", "repositories"):
                (directory / folder).mkdir(parents=True, exist_ok=True)
            for stale in (directory / "uploads").iterdir():
                stale.unlink()  # a push that was broken off
            self._load(directory / "repositories")

    def begin(self) -> tuple[str, Upload]:
        """A new upload and its id."""
        name = secrets.token_hex(16)
        if self.directory is None:
            upload = Upload(io.BytesIO())
        else:
            path = self.directory / "uploads" / name
            upload = Upload(path.open("wb"), path)
        with self.lock:
            self.uploads[name] = upload
        return name, upload

    def drop(self, name: str) -> bool:
        """Forget an upload; whether there was one."""
        with self.lock:
            upload = self.uploads.pop(name, None)
        if upload is None:
            return False
        with upload.lock:
            upload.stream.close()
            if upload.path is not None:
                upload.path.unlink(missing_ok=True)
        return True

    def finish(self, name: str, repository: str) -> str:
        """Keep an upload as a blob of the repository; its digest."""
        with self.lock:
            upload = self.uploads.pop(name)
        with upload.lock:
            digest = upload.digest
            if isinstance(upload.stream, io.BytesIO):
                self._memory.setdefault(digest, upload.stream.getvalue())
            elif upload.path is not None and self.directory is not None:
                upload.stream.flush()
                os.fsync(upload.stream.fileno())
                upload.path.replace(_blob(self.directory, digest))
            upload.stream.close()
        self.link(repository, digest)
        return digest

    def link(self, repository: str, digest: str) -> None:
        """Make a blob that is there one of the repository."""
        with self.lock:
            self.repositories.setdefault(repository, Repository()).blobs.add(digest)
            self._write(repository, "_blobs", digest, b"")

    def unlink(self, repository: str, digest: str) -> bool:
        """Take a blob out of a repository; whether it was there."""
        with self.lock:
            if digest not in self.repository(repository).blobs:
                return False
            self.repositories[repository].blobs.discard(digest)
            self._remove(repository, "_blobs", digest)
            return True

    def holder(self, digest: str) -> str | None:
        """A repository that has the blob."""
        with self.lock:
            return next((n for n, r in self.repositories.items() if digest in r.blobs), None)

    @contextlib.contextmanager
    def open_blob(self, digest: str) -> Iterator[tuple[IO[bytes], int]]:
        """A blob's bytes and their number."""
        if self.directory is None:
            data = self._memory[digest]
            yield io.BytesIO(data), len(data)
            return
        with _blob(self.directory, digest).open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size

    def repository(self, name: str) -> Repository:
        """The repository, or an empty one that is not kept."""
        with self.lock:
            return self.repositories.get(name) or Repository()

    def put_manifest(self, name: str, digest: str, stored: Stored, tag: str | None) -> None:
        """Keep a manifest, and point a tag at it."""
        with self.lock:
            repository = self.repositories.setdefault(name, Repository())
            if repository.manifests.get(digest) != stored:
                text = stored.media_type.encode() + b"\n" + stored.raw
                self._write(name, "_manifests", digest, text)
                repository.manifests[digest] = stored
            if tag is not None:
                self._write(name, "_tags", tag, digest.encode())
                repository.tags[tag] = digest

    def delete_manifest(self, name: str, reference: str) -> bool:
        """Delete a tag, or a manifest by its digest with all its tags; whether it was there."""
        with self.lock:
            repository = self.repository(name)
            gone = [tag for tag, digest in repository.tags.items() if reference in (tag, digest)]
            if not gone and reference not in repository.manifests:
                return False
            for tag in gone:
                self._remove(name, "_tags", tag)
                del repository.tags[tag]
            if repository.manifests.pop(reference, None) is not None:
                self._remove(name, "_manifests", reference)
            return True

    # A repository's name has no part that begins with "_": the folders below cannot be
    # taken for one. Colons of digests are left out, for the sake of other file systems.
    def _file(self, repository: str, kind: str, name: str) -> Path | None:
        if self.directory is None:
            return None
        folder = self.directory / "repositories" / repository / kind
        return folder / name.removeprefix("sha256:")

    def _write(self, repository: str, kind: str, name: str, data: bytes) -> None:
        if path := self._file(repository, kind, name):
            write_atomic(path, data)

    def _remove(self, repository: str, kind: str, name: str) -> None:
        if path := self._file(repository, kind, name):
            path.unlink(missing_ok=True)

    def _load(self, root: Path) -> None:
        for folder, _, files in os.walk(root):
            path = Path(folder)
            if path.name not in {"_blobs", "_manifests", "_tags"}:
                continue
            name = path.parent.relative_to(root).as_posix()
            repository = self.repositories.setdefault(name, Repository())
            for file in (entry for entry in files if not entry.startswith(".")):
                if path.name == "_blobs":
                    repository.blobs.add(f"sha256:{file}")
                elif path.name == "_tags":
                    repository.tags[file] = (path / file).read_text()
                else:
                    kind, _, raw = (path / file).read_bytes().partition(b"\n")
                    repository.manifests[f"sha256:{file}"] = Stored(kind.decode(), raw)


def _blob(directory: Path, digest: str) -> Path:
    return directory / "blobs" / digest.removeprefix("sha256:")
