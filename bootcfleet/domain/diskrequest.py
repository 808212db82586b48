"""What is asked for when a disk is built, with every default filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from bootcfleet.domain.disk_spec import AmiSpec
from bootcfleet.domain.disktype import Backend, BuilderRun, DiskType, builder_runs

GIB = 1024**3

#: The size of a disk of both builders where the configuration has no greater one (field note).
DEFAULT_DISK = 10 * GIB


@dataclass(frozen=True)
class DiskRequest:
    """One build of disks.

    `image` is the reference as the builder gets it: it becomes the source of ``bootc upgrade``
    on the machine.  `size` and `minsize` (of the configuration) are bytes, `config` is the
    blueprint's text and `config_format` ``toml`` or ``json``; `kargs` and `root_keys` are for
    bootc-install alone, which reads no blueprint.  `native` runs image-builder without a
    container.  `wipes` says why an installer clears all disks without a question, where it
    does; `aws_missing` are the options of an upload that are missing beside others.
    """

    name: str
    image: str
    types: tuple[DiskType, ...]
    backend: Backend
    builder: str
    platform: str
    native: bool = False
    rootfs: str | None = None
    size: int | None = None
    minsize: int = 0
    installer: str | None = None
    ami: AmiSpec | None = None
    env_file: str | None = None
    config: str | None = None
    config_format: str = "toml"
    kargs: tuple[str, ...] = ()
    root_keys: tuple[str, ...] = ()
    target_imgref: str | None = None
    wipes: str = ""
    aws_missing: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[BuilderRun, ...]:
        """As few runs as the backend allows.  Raises `UsageError`."""
        return builder_runs(self.types, self.backend)

    @property
    def architecture(self) -> str:
        """The architecture, by Go's name."""
        return self.platform.rpartition("/")[2]

    @property
    def config_hash(self) -> str | None:
        """The configuration's digest, or None where there is none."""
        parts = [self.config or "", *self.kargs, *self.root_keys]
        if not any(parts):
            return None
        return "sha256:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def builder_pinned(self) -> bool:
        """Whether a digest says which builder it is (there is none for bootc-install)."""
        return self.backend is Backend.BOOTC_INSTALL or self.native or "@sha256:" in self.builder


def disk_bytes(request: DiskRequest, container: int) -> int:
    """The apparent size of the disk, by the builders' rule: twice the container, or what is asked.

    An installer holds the container and Anaconda, about twice the container.
    """
    if request.types and all(not one.is_disk for one in request.types):
        return 2 * container
    if request.backend is Backend.BOOTC_INSTALL:
        return max(request.size or DEFAULT_DISK, 2 * container)
    return max(DEFAULT_DISK, request.size or 0, request.minsize, 2 * container)


@dataclass(frozen=True)
class SpaceNeed:
    """Bytes that a build needs: in the builder's store, and in the output folder."""

    store: int
    output: int


def space_need(request: DiskRequest, container: int, *, reflink: bool) -> SpaceNeed:
    """The notes' rule: three times the container and the disk; the disk again for each export.

    The export costs nothing where the file system shares blocks (`reflink`).
    """
    raw = disk_bytes(request, container)
    copies = len(_files(request.types))
    if request.backend is Backend.BOOTC_INSTALL:
        return SpaceNeed(0, raw * max(1, copies))
    return SpaceNeed(3 * container + raw, 0 if reflink else raw * copies)


def _files(types: Sequence[DiskType]) -> set[str]:
    return {one.output(Backend.BOOTC_IMAGE_BUILDER) for one in types}
