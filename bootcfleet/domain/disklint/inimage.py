"""Rules about what the image itself says of its disks, and which of the two wins.

The image may have /usr/lib/bootc-image-builder/config.toml or .json, and disk.yaml in
/usr/lib/image-builder/bootc (looked at first) or /usr/lib/bootc-image-builder.
"""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.disklint.model import At, DiskRules, Subject, mapping, part, text
from bootcfleet.domain.disktype import Backend
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

_READ = ("filesystem", "disk")


@RULES.add(
    "DSK701",
    Severity.WARNING,
    "configuration of the image that is not used",
    reason="the image's own file systems count only where the user's configuration has none",
    source="bootc-image-builder genPartitionTable: embedded customizations",
    remedy="remove it from one of the two",
)
def shadowed(subject: Subject) -> Iterable[At]:
    """`filesystem` or `disk` here and in the image."""
    if subject.in_image.config is None or not subject.disks:
        return
    theirs = mapping(part(subject.in_image.config.data, ("customizations",)))
    mine = [key for key in _READ if subject.has(key)]
    other = [key for key in _READ if theirs.get(key)]
    if mine and other:
        file = subject.in_image.config.file
        yield At((mine[0],), f"is used, and {' and '.join(other)} of the image's {file} is not")


@RULES.add(
    "DSK702",
    Severity.WARNING,
    "key of the image's configuration that nobody reads",
    reason="of the configuration in the image only filesystem and disk are read",
    source="bootc-image-builder: SourceInfo.ImageCustomization",
    remedy="move it into config or config_file of the disk",
)
def not_read(subject: Subject) -> Iterable[At]:
    """Other customizations inside of the image."""
    if subject.in_image.config is None or subject.backend is Backend.BOOTC_INSTALL:
        return
    theirs = mapping(part(subject.in_image.config.data, ("customizations",)))
    for key in theirs:
        if key not in _READ:
            yield At((), f"the image's {subject.in_image.config.file} has {key}, which is not read")


@RULES.add(
    "DSK703",
    Severity.WARNING,
    "root file system that the image overrides",
    reason="with image-builder the file system of disk.yaml in the image wins over rootfs",
    source="image-builder: disk.yaml beats --bootc-default-fs",
    remedy="say the same in both, or remove one",
)
def rootfs(subject: Subject) -> Iterable[At]:
    """`rootfs` here, and another one in the image's disk.yaml."""
    document = subject.in_image.disk_yaml
    if document is None or not subject.rootfs or subject.backend is not Backend.IMAGE_BUILDER:
        return
    for kind, point in _file_systems(document.data):
        if point == "/" and kind and kind != subject.rootfs:
            message = f"the image's {document.file} has {kind} for /, which wins over rootfs"
            yield At((), f"{message}: {subject.rootfs}")


@RULES.add(
    "DSK704",
    Severity.ERROR,
    "LVM or LUKS in the image's disk.yaml",
    reason="the builders read them, but the disk does not boot",
    source="issue osbuild/images#2228",
    remedy="write disk with an lvm partition in the disk's config",
)
def lvm_in_image(subject: Subject) -> Iterable[At]:
    """disk.yaml with what does not work yet."""
    document = subject.in_image.disk_yaml
    if document is None or not subject.disks or subject.backend is Backend.BOOTC_INSTALL:
        return
    found = {one for one in _payloads(document.data) if one in ("lvm", "luks")}
    for one in sorted(found):
        yield At((), f"the image's {document.file} has {one}, which does not work yet")


def _file_systems(data: object) -> Iterable[tuple[str, str]]:
    """(kind, mount point) of every file system in a partition table, however deep."""
    if isinstance(data, dict):
        point = text(data, "mountpoint")
        if point:
            yield text(data, "type"), point
        for one in data.values():
            yield from _file_systems(one)
    elif isinstance(data, list):
        for one in data:
            yield from _file_systems(one)


def _payloads(data: object) -> Iterable[str]:
    if isinstance(data, dict):
        yield text(data, "payload_type")
        for one in data.values():
            yield from _payloads(one)
    elif isinstance(data, list):
        for one in data:
            yield from _payloads(one)
