"""Finds the disk that a word means: a file, a build's folder, or a disk of the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootcfleet.domain.diskresult import DiskResult
from bootcfleet.domain.disktype import DiskType
from bootcfleet.domain.qemuargs import Arch
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.checkstatus import repository_image
from bootcfleet.ops.disklist import read_result
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.render import ProjectImages

#: What qemu boots, the best first.
_BOOTABLE = (DiskType.QCOW2, DiskType.RAW, DiskType.AMI, DiskType.VMDK, DiskType.VHD)
_ARCH = {
    "amd64": Arch.X86_64,
    "x86_64": Arch.X86_64,
    "arm64": Arch.AARCH64,
    "aarch64": Arch.AARCH64,
}


@dataclass(frozen=True)
class FoundDisk:
    """A file; the project's image and the architecture where artifacts.json says them."""

    path: Path
    image: str | None = None
    arch: Arch | None = None


def find_disk(word: str, loaded: LoadedProject | None) -> FoundDisk:
    """What to boot.  Raises `UsageError` when it is not there, or has no disk to boot."""
    place = Path(word)
    if not place.exists() and loaded is not None:
        place = loaded.root / "disks" / word
    if not place.exists():
        raise UsageError(
            f"there is no disk {word!r}",
            hint="name a file, or build it: bootcfleet disk build; see bootcfleet disk list",
        )
    try:
        folder, result = read_result(place)
    except FleetError:
        if place.is_dir():
            raise
        # A disk from somewhere else has nothing beside it.
        return FoundDisk(place)
    if place.is_dir():
        made = {one.type: folder / one.path for one in result.artifacts}
        path = next((made[kind] for kind in _BOOTABLE if kind in made), None)
        if path is None:
            raise UsageError(
                f"{folder} has no disk that qemu boots, only {', '.join(made) or 'nothing'}",
                hint="build one more: bootcfleet disk build … --type qcow2",
            )
    else:
        path = place
        if place.resolve() not in [(folder / one.path).resolve() for one in result.artifacts]:
            return FoundDisk(place)
    return FoundDisk(path, _image(result, loaded), _ARCH.get(result.platform.rpartition("/")[2]))


def _image(result: DiskResult, loaded: LoadedProject | None) -> str | None:
    if loaded is None:
        return None
    spec = loaded.project.disks.get(result.name)
    if spec is not None:
        return spec.image.partition(":")[0]
    if result.name in loaded.project.images:
        return result.name
    try:
        return repository_image(ProjectImages.open(loaded, LocalExecutor()), result.image)
    except FleetError:
        return None
