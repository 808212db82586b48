"""Reads one layer as it streams by: what is in it, and copies of the few files that matter.

Nothing is unpacked: no root rights are needed, and memory holds names, never contents.
gzip, zstd and plain archives; hard links into an ostree repository (how Fedora's and RHEL's
bases are packed) stand for the files they are.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol, cast

import zstandard

from bootcfleet.domain.imagetree import Entry, Kind, normal
from bootcfleet.domain.reference import Digest
from bootcfleet.errors import FleetError

#: Where an ostree repository keeps the contents that other names link to.
OSTREE = "sysroot/ostree/"
_CHUNK = 1 << 20
_CAPABILITY = "SCHILY.xattr.security.capability"

_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.FIFOTYPE: Kind.FIFO,
}


class LayerError(FleetError):
    """A layer is not an archive, or not the one that its digest says."""


class Keep(Protocol):
    """Takes the content of a file, and gives the name that it is kept under."""

    def __call__(self, content: IO[bytes]) -> str:
        """Keep it."""
        ...


class _Checked(io.RawIOBase):
    """A stream that hashes what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self.hash.update(data)
        buffer[: len(data)] = data
        return len(data)


def read_layer(
    stream: IO[bytes], digest: Digest, *, wanted: Callable[[str], int], keep: Keep
) -> Iterator[Entry]:
    """The entries of a layer, from its blob.

    `wanted` says how large (bytes) a file at a path may be to be given to `keep`; 0
    for files that are of no interest. Raises `LayerError`, also at the very end when
    the bytes were not those of `digest`: what came before must not be used then.
    """
    checked = _Checked(stream)
    buffered: Any = io.BufferedReader(checked, _CHUNK)
    try:
        with tarfile.open(
            fileobj=_plain(buffered), mode="r|", bufsize=_CHUNK, errors="surrogateescape"
        ) as archive:
            yield from _entries(archive, wanted, keep)
        while buffered.read(_CHUNK):
            pass
    except (
        tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError,
        ValueError, OverflowError,
    ) as error:  # fmt: skip
        raise LayerError(f"the layer {digest} cannot be read: {error}") from error
    if checked.hash.hexdigest() != digest.value.removeprefix("sha256:"):
        raise LayerError(f"other bytes came than those of the layer {digest}")


def _plain(stream: Any) -> Any:
    """The stream without its compression, whatever the media type says (as podman reads it)."""
    start = stream.peek(4)[:4]
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=stream)
    if start == b"\x28\xb5\x2f\xfd":
        reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
        return io.BufferedReader(cast(io.RawIOBase, reader), _CHUNK)
    return stream


def _entries(archive: tarfile.TarFile, wanted: Callable[[str], int], keep: Keep) -> Iterator[Entry]:
    with tempfile.SpooledTemporaryFile(max_size=16 * _CHUNK) as spool:
        spooled = ""
        for member in archive:
            archive.members = []  # type: ignore[attr-defined] # it keeps them all otherwise
            kind, path = _KINDS.get(member.type), normal(member.name)
            if kind is None or not path:
                continue
            sha256, kept = "", ""
            if kind is Kind.FILE:
                content = cast(IO[bytes], archive.extractfile(member))
                sought = member.size and wanted(path) >= member.size
                objects = path.startswith(OSTREE)
                if sought or objects:
                    spool.seek(0)
                    spool.truncate()
                    spooled = path
                sha256 = _copy(content, spool if sought or objects else None)
                if sought:
                    spool.seek(0)
                    kept = keep(cast(IO[bytes], spool))
            link = member.linkname
            if kind is Kind.HARDLINK:
                link = normal(link)
                size = spool.seek(0, io.SEEK_END)
                if link == spooled and spooled.startswith(OSTREE) and 0 < size <= wanted(path):
                    spool.seek(0)
                    kept = keep(cast(IO[bytes], spool))
            elif kind in {Kind.CHARACTER, Kind.BLOCK}:
                link = f"{member.devmajor}:{member.devminor}"
            elif kind is not Kind.SYMLINK:
                link = ""
            yield Entry(
                path,
                kind,
                member.mode & 0o7777,
                member.uid,
                member.gid,
                member.size if kind is Kind.FILE else 0,
                sha256,
                link,
                _capability(member),
                kept,
            )


def _copy(source: IO[bytes], target: Any) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest()


def _capability(member: tarfile.TarInfo) -> str:
    value = member.pax_headers.get(_CAPABILITY, "")
    return value.encode("utf-8", "surrogateescape").hex()
