"""The file tree of an image from a registry, or from a folder that podman or skopeo wrote.

From a registry, only layers that were never read before are fetched, in parts: a part that
fails is asked for again, and no blob is ever held as a whole.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from bootcfleet.domain.image import Manifest, ManifestError, sha256
from bootcfleet.domain.imagetree import Tree, flatten
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.layercache import Layer, LayerCache
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError

#: How much of a blob is asked for at once (bytes).
PART = 16 * 1024 * 1024
#: Layers that are read at the same time: the work between the parts is decompression.
_PARALLEL = 4


class ImageSource(Protocol):
    """Somewhere that an image's manifest, configuration and layers come from."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of one platform's image."""
        ...

    def config(self) -> bytes:
        """The configuration."""
        ...

    def open(self, digest: Digest, size: int) -> IO[bytes]:
        """A layer's blob as it is stored."""
        ...


class RegistrySource:
    """An image in a registry; `ref` names the repository."""

    def __init__(self, client: RegistryClient, ref: ImageRef, manifest: Manifest) -> None:
        self._client, self._ref = client, ref
        self.manifest = manifest

    def config(self) -> bytes:
        """The configuration.  Raises `RegistryError`."""
        return self._client.blob(self._ref, self.manifest.config_digest)

    def open(self, digest: Digest, size: int) -> IO[bytes]:
        """A layer's blob, fetched as it is read."""
        parts = _Parts(lambda start: self._client.blob_part(self._ref, digest, start, PART), size)
        return cast(IO[bytes], io.BufferedReader(parts, 1 << 20))


class FolderSource:
    """An image in a folder, as ``podman save --format docker-dir`` and ``skopeo copy … dir:``
    write it.  Raises `FleetError` when it is not one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self.manifest = Manifest.of((folder / "manifest.json").read_bytes())
        except OSError as error:
            raise FleetError(f"{folder} is not a copy of an image") from error

    def config(self) -> bytes:
        """The configuration."""
        return self._path(self.manifest.config_digest).read_bytes()

    def open(self, digest: Digest, size: int) -> IO[bytes]:  # noqa: ARG002 - the file knows its size
        """A layer's file."""
        return self._path(digest).open("rb")

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest.value.removeprefix("sha256:")


class _Parts(io.RawIOBase):
    """A blob of `size` bytes that is fetched part by part as it is read."""

    def __init__(self, fetch: Callable[[int], bytes], size: int) -> None:
        self._fetch, self._size = fetch, size
        self._position = 0
        self._part = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part and self._position < self._size:
            data = self._fetch(self._position)
            if not data:
                return 0
            self._part = memoryview(data)
            self._position += len(data)
        taken = min(len(buffer), len(self._part))
        buffer[:taken] = self._part[:taken]
        self._part = self._part[taken:]
        return taken


@dataclass(frozen=True)
class ImageTree:
    """An image laid open: its tree, and the contents of the files that were kept."""

    manifest: Manifest
    config: bytes
    tree: Tree
    layers: Mapping[str, Layer]

    def read(self, path: str) -> bytes | None:
        """The content of a kept file, symbolic links followed; None when there is none."""
        entry = self.tree.get(self.tree.real(path))
        if entry is None or not entry.kept:
            return None
        buffer = io.BytesIO()
        self._copy(entry.kept, buffer)
        return buffer.getvalue()

    @contextmanager
    def extracted(self, paths: list[str]) -> Iterator[Path]:
        """A folder for a while, with the kept files among `paths` under their own names."""
        with tempfile.TemporaryDirectory(prefix="bootcfleet-image-") as folder:
            for path in paths:
                entry = self.tree.get(self.tree.real(path))
                if entry is not None and entry.kept:
                    with (Path(folder) / Path(path).name).open("wb") as target:
                        self._copy(entry.kept, target)
            yield Path(folder)

    def _copy(self, kept: str, target: IO[bytes]) -> None:
        digest, _, name = kept.partition("/")
        self.layers[digest].copy(name, target)


#: Called before a layer is fetched: its digest, and its size in bytes.
OnLayer = Callable[[Digest, int], None]


def read_image(
    source: ImageSource, cache: LayerCache, on_layer: OnLayer = lambda _digest, _size: None
) -> ImageTree:
    """Read an image's layers, those that the cache does not have from the source.

    `on_layer` is called for each of these, from several threads.
    Raises `LayerError`, `RegistryError`, `ManifestError`.
    """
    config = source.config()
    if sha256(config) != source.manifest.config_digest:
        raise ManifestError(f"other bytes than the configuration of {source.manifest.digest}")
    wanted = dict(source.manifest.layers)

    def layer(digest: Digest) -> Layer:
        known = cache.get(digest)
        if known is None:
            on_layer(digest, wanted[digest])
            with source.open(digest, wanted[digest]) as stream:
                known = cache.read(digest, stream)
        return known

    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = dict(zip(wanted, pool.map(layer, wanted), strict=True))
    order = [found[digest] for digest, _ in source.manifest.layers]
    tree = flatten(one.entries for one in order)
    return ImageTree(source.manifest, config, tree, {str(d): one for d, one in found.items()})
