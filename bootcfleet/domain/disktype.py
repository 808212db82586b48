"""The kinds of disk image, what makes them, where each tool puts them, and which go together.

Facts from the code of bootc-image-builder @2cc5e958 and osbuild/image-builder @a1f35083.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bootcfleet.domain.document import did_you_mean
from bootcfleet.errors import UsageError


class Backend(StrEnum):
    """What makes a disk image."""

    BOOTC_IMAGE_BUILDER = "bootc-image-builder"
    IMAGE_BUILDER = "image-builder"
    BOOTC_INSTALL = "bootc-install"


class DiskType(StrEnum):
    """A kind of disk image or installer, by the name that the builders give it."""

    QCOW2 = "qcow2"
    AMI = "ami"
    VMDK = "vmdk"
    VHD = "vhd"
    GCE = "gce"
    OVA = "ova"
    RAW = "raw"
    ANACONDA_ISO = "anaconda-iso"
    BOOTC_INSTALLER = "bootc-installer"
    PXE_TAR_XZ = "pxe-tar-xz"

    @classmethod
    def parse(cls, text: str) -> DiskType:
        """The type of that name (``iso`` is BIB's other name of anaconda-iso).

        Raises `UsageError` for an unknown one.
        """
        word = {"iso": "anaconda-iso"}.get(text, text)
        if word not in list(cls):
            known = ", ".join(cls)
            raise UsageError(
                f"there is no disk type {text!r}",
                hint=did_you_mean(text, list(cls)) or f"known: {known}",
            )
        return cls(word)

    @property
    def is_iso(self) -> bool:
        """Whether it is an installer that boots from a CD or stick."""
        return self in _ISO

    @property
    def is_disk(self) -> bool:
        """Whether it is the disk of a machine: it has partitions, and boots as it is."""
        return self not in _ISO and self is not DiskType.PXE_TAR_XZ

    @property
    def extension(self) -> str:
        """How the file's name ends, with the dot."""
        return _EXTENSION[self]

    @property
    def qemu_format(self) -> str | None:
        """The name that qemu-img has for the format; None for what it cannot convert to."""
        return _QEMU.get(self)

    def output(self, backend: Backend, name: str = "disk") -> str:
        """The file, relative to the output folder.

        bootc-image-builder chooses the name; image-builder takes `name` (``--output-name``, with
        a folder for each type as ``--output-dir``).  `bootc install` writes a raw disk, and what
        is converted from it is laid out as bootc-image-builder does.
        Raises `UsageError` for a type that the backend does not make.
        """
        if self not in SUPPORTED[backend]:
            raise UsageError(_refusal(self, backend), hint=_instead(self))
        if backend is Backend.IMAGE_BUILDER:
            return f"{self.value}/{name}{self.extension}"
        return _BIB_OUTPUT[self]


_ISO = frozenset({DiskType.ANACONDA_ISO, DiskType.BOOTC_INSTALLER})

_BIB_OUTPUT = {
    DiskType.QCOW2: "qcow2/disk.qcow2",
    DiskType.AMI: "image/disk.raw",
    DiskType.RAW: "image/disk.raw",
    DiskType.VMDK: "vmdk/disk.vmdk",
    DiskType.VHD: "vpc/disk.vhd",
    DiskType.GCE: "gce/image.tar.gz",
    DiskType.OVA: "archive/image.ova",
    DiskType.ANACONDA_ISO: "bootiso/install.iso",
    DiskType.BOOTC_INSTALLER: "bootiso/install.iso",
    # Builders before the merge unpacked it into bootc-pxe-tree/ instead.
    DiskType.PXE_TAR_XZ: "xz/pxe.tar.xz",
}

#: Where builders of other ages put the same type; looked at when `output` is not there.
OLDER_OUTPUT = {DiskType.PXE_TAR_XZ: "bootc-pxe-tree"}

_EXTENSION = {
    DiskType.QCOW2: ".qcow2",
    DiskType.AMI: ".raw",
    DiskType.RAW: ".raw",
    DiskType.VMDK: ".vmdk",
    DiskType.VHD: ".vhd",
    DiskType.GCE: ".tar.gz",
    DiskType.OVA: ".ova",
    DiskType.ANACONDA_ISO: ".iso",
    DiskType.BOOTC_INSTALLER: ".iso",
    DiskType.PXE_TAR_XZ: ".tar.xz",
}

_QEMU = {
    DiskType.RAW: "raw",
    DiskType.QCOW2: "qcow2",
    DiskType.VMDK: "vmdk",
    DiskType.VHD: "vpc",
}

#: What each backend makes.
SUPPORTED: dict[Backend, frozenset[DiskType]] = {
    Backend.BOOTC_IMAGE_BUILDER: frozenset(DiskType),
    # "please consider switching to bootc-installer or use bootc-image-builder"
    Backend.IMAGE_BUILDER: frozenset(DiskType) - {DiskType.ANACONDA_ISO},
    Backend.BOOTC_INSTALL: frozenset(_QEMU),
}


def unsupported(types: Iterable[DiskType], backend: Backend) -> tuple[str, ...]:
    """A sentence for each type that the backend does not make."""
    return tuple(_refusal(one, backend) for one in types if one not in SUPPORTED[backend])


def _refusal(type_: DiskType, backend: Backend) -> str:
    return f"{backend} does not make {type_}"


def _instead(type_: DiskType) -> str:
    able = [backend for backend in Backend if type_ in SUPPORTED[backend]]
    return "use " + " or ".join(f"--backend {one}" for one in able)


def mixed(types: Sequence[DiskType]) -> bool:
    """Whether disks stand beside installers or a PXE tree, which no run makes together.

    bootc-image-builder refuses ISOs beside disks; a PXE tree beside disks passes its check, and
    then only the first type is made.
    """
    return len({_alone(one) for one in types}) > 1


def _alone(type_: DiskType) -> str:
    return "disk" if type_.is_disk else type_.value


@dataclass(frozen=True)
class BuilderRun:
    """One run of a builder: the types to name on its command line, and those that it makes.

    `named` lacks a type that is the same file as another: raw is left out beside ami.
    """

    named: tuple[DiskType, ...]
    makes: tuple[DiskType, ...]


def builder_runs(types: Iterable[DiskType], backend: Backend) -> tuple[BuilderRun, ...]:
    """As few runs as the backend allows; each type once, in a safe order.

    With ``--type raw --type ami`` and an upload, bootc-image-builder panics after the build: it
    counts both types but only one export.  So ami is named first, and raw is not named beside it
    (both are image/disk.raw).  Each installer and PXE tree is a run of its own, and so is each
    type with image-builder.  `bootc install` makes one raw disk, from which the rest is converted.
    Raises `UsageError` for a type that the backend does not make.
    """
    wanted = list(dict.fromkeys(types))
    for one in wanted:
        if one not in SUPPORTED[backend]:
            raise UsageError(_refusal(one, backend), hint=_instead(one))
    match backend:
        case Backend.IMAGE_BUILDER:
            return tuple(BuilderRun((one,), (one,)) for one in wanted)
        case Backend.BOOTC_INSTALL:
            return (BuilderRun((DiskType.RAW,), tuple(wanted)),) if wanted else ()
        case Backend.BOOTC_IMAGE_BUILDER:
            disks = sorted(
                (one for one in wanted if one.is_disk), key=lambda one: one is not DiskType.AMI
            )
            named = [one for one in disks if not (one is DiskType.RAW and DiskType.AMI in disks)]
            runs = [BuilderRun(tuple(named), tuple(disks))] if disks else []
            others = [one for one in wanted if not one.is_disk]
            return (*runs, *(BuilderRun((one,), (one,)) for one in others))
