"""What is in an image: from its registry, or from podman's storage when it was not pushed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bootcfleet.domain.download import human
from bootcfleet.domain.event import Emit, Event, ignore
from bootcfleet.domain.imagefacts import RPM_DATABASES, ImageFacts, image_facts, wanted_size
from bootcfleet.domain.imagetree import Kind
from bootcfleet.domain.reference import Digest, Platform
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.imagetree import (
    FolderSource,
    ImageSource,
    ImageTree,
    RegistrySource,
    read_image,
)
from bootcfleet.drivers.layercache import LayerCache
from bootcfleet.drivers.podman import Podman
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.rpmdb import Installed, RpmDatabaseError, read_packages
from bootcfleet.ops.download import PlatformImage, platform_image
from bootcfleet.ops.imagename import NamedImage
from bootcfleet.ops.project import LoadedProject, state_dir


@dataclass(frozen=True)
class Reader:
    """What is needed to look into images; `emit` hears of layers that are read."""

    client: RegistryClient
    executor: Executor
    cache: LayerCache
    platform: Platform
    emit: Emit = ignore

    @classmethod
    def of(
        cls,
        loaded: LoadedProject | None,
        client: RegistryClient,
        executor: Executor,
        platform: Platform,
        emit: Emit = ignore,
    ) -> Reader:
        """A reader that remembers layers below the project's state folder."""
        cache = LayerCache(state_dir(loaded) / "cache" / "layers", wanted_size)
        return cls(client, executor, cache, platform, emit)

    def on(self, platform: Platform) -> Reader:
        """The same reader for another platform."""
        return replace(self, platform=platform)


@dataclass(frozen=True)
class OpenedImage:
    """An image that was read; `remote` is its manifest in a registry, if it is in one."""

    digest: str
    remote: PlatformImage | None
    tree: ImageTree
    installed: Installed

    def facts(self) -> ImageFacts:
        """What there is to compare."""
        one = self.tree
        return image_facts(
            one.tree, one.config, one.read, self.installed.packages, self.installed.owners
        )


def open_image(reader: Reader, named: NamedImage) -> OpenedImage:
    """Read an image, fetching only layers that were never read before.

    Raises `RegistryError`, `LayerError`, `PodmanError`, `RpmDatabaseError`.
    """
    if named.ref is not None:
        remote = platform_image(reader.client, named.ref, reader.platform)
        source = RegistrySource(reader.client, remote.ref, remote.manifest)
        digest = (remote.index or remote.manifest).digest
        return _opened(reader, str(digest), remote, source)
    with _saved(reader, named.local or named.text) as folder:
        return _opened(reader, named.local or "", None, FolderSource(folder))


def _opened(
    reader: Reader, digest: str, remote: PlatformImage | None, source: ImageSource
) -> OpenedImage:

    def reading(layer: Digest, size: int) -> None:
        message = f"reading the layer {layer.short} ({human(size)})"
        data = {"layer": str(layer), "size": size}
        reader.emit(Event("image.layer.read", digest, message, data))

    tree = read_image(source, reader.cache, reading)
    return OpenedImage(digest, remote, tree, installed_packages(tree))


@contextmanager
def _saved(reader: Reader, image: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bootcfleet-save-", dir="/var/tmp") as folder:
        target = Path(folder) / "image"
        Podman(reader.executor).save(image, target)
        yield target


def installed_packages(image: ImageTree) -> Installed:
    """The packages of an image; none where it has no RPM database.

    Raises `RpmDatabaseError`, also for a database in one of the older forms.
    """
    for folder in RPM_DATABASES:
        path = f"{folder}/rpmdb.sqlite"
        entry = image.tree.get(image.tree.real(path))
        if entry is not None and entry.kind is Kind.FILE and entry.size:
            with image.extracted([path, f"{path}-wal"]) as work:
                return read_packages(work / "rpmdb.sqlite")
    for folder in RPM_DATABASES:
        for name in ("Packages", "Packages.db"):
            entry = image.tree.get(image.tree.real(f"{folder}/{name}"))
            if entry is not None and entry.size:
                raise RpmDatabaseError(
                    f"the image's RPM database /{folder}/{name} is not in the SQLite form",
                    hint="rebuild it in the image: rpmdb --rebuilddb",
                )
    return Installed()
