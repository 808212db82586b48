"""Rules about file systems and mount points."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bootcfleet.domain.disklint.model import (
    At,
    DiskRules,
    Subject,
    tables,
    text,
)
from bootcfleet.domain.document import Path
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

#: Below /var, what a bootc image needs for itself or has as a link to elsewhere.
_VAR_DENIED = ("home", "lock", "mail", "mnt", "roothome", "run", "srv", "usrlocal")

#: Links of a bootc image into /var, and what of it is never a disk's own.
_NOT_MOUNTABLE = {
    "/home": "is a link to /var/home in bootc images",
    "/root": "is a link to /var/roothome in bootc images",
    "/srv": "is a link to /var/srv in bootc images",
    "/mnt": "is a link to /var/mnt in bootc images",
    "/opt": "is a link to /var/opt in many bootc images",
    "/usr": "is the image's own and replaced with it",
    "/etc": "belongs to the deployment",
    "/sysroot": "is the root file system itself",
    "/ostree": "is a link into /sysroot",
}


def mounts(subject: Subject) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Everything of `disk` that may have a mount point: plain partitions, volumes, subvolumes."""
    for path, one in subject.tables("disk", "partitions"):
        yield path, one
        for key in ("logical_volumes", "subvolumes"):
            for inner, volume in tables(one, (key,)):
                yield (*path, *inner), volume


def _mountpoints(subject: Subject) -> Iterator[tuple[Path, str]]:
    for path, table in (*subject.tables("filesystem"), *mounts(subject)):
        if isinstance(table.get("mountpoint"), str) and table.get("fs_type") not in _UNMOUNTED:
            yield (*path, "mountpoint"), table["mountpoint"]


_UNMOUNTED = ("swap", "none")


@RULES.add(
    "DSK301",
    Severity.ERROR,
    "disk and filesystem together",
    reason="both say what the partitions are",
    source='bootc-image-builder: "cannot combine disk and filesystem customizations"',
    remedy="write only disk, with a partition for each file system",
)
def disk_and_filesystem(subject: Subject) -> Iterable[At]:
    """`disk` beside `filesystem`."""
    if subject.disks and "disk" in subject.data and "filesystem" in subject.data:
        yield At(("disk",), "disk and filesystem exclude each other")


@RULES.add(
    "DSK302",
    Severity.ERROR,
    "mount point that is no plain path",
    reason="a mount point begins with / and has no //, /./, /../ or / at its end",
    source='osbuild/blueprint validateMountpoint: "is not a canonical path"',
    remedy="write the plain path",
)
def canonical(subject: Subject) -> Iterable[At]:
    """Mount points that are relative or not canonical."""
    for path, point in _mountpoints(subject):
        if point == "":
            yield At(path, "is empty")
        elif not point.startswith("/"):
            yield At(path, f"{point!r} is not absolute", remedy=f"write {clean('/' + point)!r}")
        elif point != clean(point):
            yield At(path, f"{point!r} is not canonical", remedy=f"write {clean(point)!r}")


def clean(path: str) -> str:
    """The path as Go's filepath.Clean has it."""
    found = posixpath.normpath(path)
    return found.removeprefix("/") if found.startswith("//") else found


@RULES.add(
    "DSK303",
    Severity.ERROR,
    "mount point that the builder refuses",
    reason="of a bootc image only /, /boot and directories of /var that are nobody's own can "
    "be file systems; with a btrfs root only / and /boot",
    source="bootc-image-builder, mountpointPolicy and mountpointMinimalPolicy",
    remedy="use /, /boot, or a directory of /var such as /var/lib or /var/data",
)
def policy(subject: Subject) -> Iterable[At]:
    """Mount points of `filesystem` outside of the policy."""
    if not subject.disks:
        return
    for path, table in subject.tables("filesystem"):
        point = text(table, "mountpoint")
        if not point.startswith("/") or point != clean(point) or point in ("/", "/boot"):
            continue
        at = (*path, "mountpoint")
        if subject.rootfs == "btrfs":
            message = f"{point} cannot be a file system of its own beside a btrfs root"
            yield At(at, message, remedy="use only / and /boot, or disk with btrfs subvolumes")
        elif denied := _denied(point):
            yield At(at, denied)


def _denied(point: str) -> str:
    """Why the builder refuses a mount point; empty when it does not."""
    top, _, below = point.removeprefix("/").partition("/")
    if top != "var":
        return f"{point} is not allowed"
    if not below:
        return "/var is not allowed; only directories in it are"
    first = below.partition("/")[0]
    return f"/var/{first} and what is in it is not allowed" if first in _VAR_DENIED else ""


@RULES.add(
    "DSK304",
    Severity.ERROR,
    "mount point that stands twice",
    reason="only one file system can be there",
    source='osbuild/blueprint: "duplicate mountpoint"',
    remedy="remove one",
)
def twice(subject: Subject) -> Iterable[At]:
    """A mount point that is there already."""
    seen: set[tuple[str | int, str]] = set()
    for path, point in _mountpoints(subject):
        if (path[0], point) in seen:
            yield At(path, f"{point} has a file system already")
        seen.add((path[0], point))


@RULES.add(
    "DSK305",
    Severity.WARNING,
    "mount point that the image does not have",
    reason="the builder makes the partition, but in a bootc image the path is a link, or is "
    "replaced with every update",
    source="bootc documentation, Filesystem; the builder's policy covers only filesystem",
    remedy="mount the directory of /var that it leads to, or a directory of your own in /var",
)
def links(subject: Subject) -> Iterable[At]:
    """Partitions at paths that are links or the image's own."""
    for path, table in mounts(subject):
        point = text(table, "mountpoint")
        for known, why in _NOT_MOUNTABLE.items():
            if point == known or point.startswith(f"{known}/"):
                yield At((*path, "mountpoint"), f"{known} {why}")


@RULES.add(
    "DSK306",
    Severity.WARNING,
    "partitions without a root, or a small one",
    reason="with disk the root file system does not grow beyond its minsize; updates need room "
    "for a second deployment",
    source="bootc-image-builder, calcRequiredDirectorySizes; issue "
    'osbuild/bootc-image-builder#1179 ("min-free-space-percent would be exceeded")',
    remedy="add a partition for / with a minsize that leaves room for two deployments",
)
def no_root(subject: Subject) -> Iterable[At]:
    """`disk` without a root."""
    if not subject.disks or not subject.has("disk"):
        return
    if not subject.has("disk", "partitions"):
        yield At(("disk",), "has no partitions: the root is made as small as it may be")
    elif all(text(table, "mountpoint") != "/" for _, table in mounts(subject)):
        message = "has no partition for /: the builder makes one, twice as large as the image"
        yield At(("disk",), message, Severity.INFO)


@RULES.add(
    "DSK307",
    Severity.ERROR,
    "file system that cannot be at its mount point",
    reason="/boot is read by the boot loader before LVM is there, and is xfs or ext4; "
    "/boot/efi is vfat and on a partition",
    source='osbuild/blueprint: "unsupported filesystem type", "invalid mountpoint for logical '
    'volume"',
    remedy="make it a plain partition with fs_type xfs or ext4 (/boot/efi: vfat)",
)
def boot(subject: Subject) -> Iterable[At]:
    """/boot and /boot/efi on what they cannot be on."""
    for path, table in mounts(subject):
        point, kind = text(table, "mountpoint"), text(table, "fs_type")
        inside = path[-2]
        if point in ("/boot", "/boot/efi") and inside == "logical_volumes":
            yield At((*path, "mountpoint"), f"{point} cannot be a logical volume")
        elif point == "/boot/efi" and inside == "subvolumes":
            yield At((*path, "mountpoint"), f"{point} cannot be a subvolume")
        elif point == "/boot" and kind not in ("", "xfs", "ext4") and kind not in _UNMOUNTED:
            yield At((*path, "fs_type"), f"/boot cannot be {kind}; it is xfs or ext4")
        elif point == "/boot/efi" and kind not in ("", "vfat") and kind not in _UNMOUNTED:
            yield At((*path, "fs_type"), f"/boot/efi cannot be {kind}; it is vfat")
