"""Rules about partition tables: plain, LVM and btrfs.

Source of all: osbuild/blueprint, disk_customizations.go, Validate and ValidateLayoutConstraints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bootcfleet.domain.disklint.model import At, DiskRules, Subject, tables, text
from bootcfleet.domain.document import Path
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

#: Keys of each type of partition, beside those of all.
_OF_TYPE = {
    "plain": {"mountpoint", "label", "fs_type"},
    "lvm": {"name", "logical_volumes"},
    "btrfs": {"subvolumes"},
}
_OF_ALL = {"type", "minsize", "part_type", "part_label", "part_uuid"}
_HEX = "[0-9a-fA-F]"
_UUID = re.compile(rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}")
_DOS_TYPE = re.compile(rf"{_HEX}{{2}}")
_DOS_MOST = 4
_LABEL_MOST = 36


def _partitions(subject: Subject) -> list[tuple[Path, Mapping[str, Any], str]]:
    return [
        (path, one, text(one, "type") or "plain")
        for path, one in subject.tables("disk", "partitions")
    ]


@RULES.add(
    "DSK320",
    Severity.ERROR,
    "more partitions than a dos table has",
    reason="a dos table has four; those of the boot loader count too",
    source='osbuild/blueprint: "dos" partition table type only supports up to 4 partitions',
    remedy="use type: gpt, or put file systems on LVM",
)
def dos_full(subject: Subject) -> Iterable[At]:
    """More than four partitions in a dos table."""
    count = len(_partitions(subject))
    if text(subject.table("disk"), "type") == "dos" and count > _DOS_MOST:
        yield At(("disk", "partitions"), f"a dos table has at most 4 partitions, not {count}")


@RULES.add(
    "DSK321",
    Severity.ERROR,
    "sector size that is no power of two",
    reason="disks have sectors of 512 or 4096 bytes",
    source='osbuild/blueprint: "sector_size must be a power of 2"',
    remedy="write 512 or 4096",
)
def sector_size(subject: Subject) -> Iterable[At]:
    """Sector sizes that no disk has."""
    value = subject.table("disk").get("sector_size")
    if isinstance(value, int) and value != 0 and (value < 0 or value & (value - 1)):
        yield At(("disk", "sector_size"), f"{value} is not a power of two")


@RULES.add(
    "DSK322",
    Severity.ERROR,
    "more than one volume group or btrfs volume",
    reason="the builders make one LVM volume group or one btrfs volume",
    source='osbuild/blueprint: "btrfs and lvm partitioning cannot be combined", "multiple … are '
    'not yet supported"',
    remedy="keep one, with more volumes in it",
)
def one_volume(subject: Subject) -> Iterable[At]:
    """LVM with btrfs, or more than one of either."""
    first = ""
    for path, _, kind in _partitions(subject):
        if kind in ("lvm", "btrfs"):
            if first == kind:
                what = "LVM volume group" if kind == "lvm" else "btrfs volume"
                yield At(path, f"there can be only one {what}")
            elif first:
                yield At(path, "LVM and btrfs exclude each other")
            first = first or kind


@RULES.add(
    "DSK323",
    Severity.ERROR,
    "key of another type of partition",
    reason="the builders read only the keys of the partition's type, and stop at others",
    source='osbuild/blueprint: "error decoding partition with type"',
    remedy="correct type, or remove the key",
)
def other_keys(subject: Subject) -> Iterable[At]:
    """Keys that belong to another type."""
    for path, one, kind in _partitions(subject):
        if kind not in _OF_TYPE:
            continue
        for key in one:
            owners = [name for name, keys in _OF_TYPE.items() if key in keys]
            if owners and kind not in owners:
                message = f"{key} belongs to a partition of type {owners[0]}, and this is {kind}"
                yield At((*path, key), message)


@RULES.add(
    "DSK324",
    Severity.ERROR,
    "partition or volume without what it needs",
    reason="a file system needs mountpoint and fs_type; swap and none have no mount point; a "
    "btrfs volume needs subvolumes",
    source='osbuild/blueprint: "mountpoint is empty", "unknown or invalid filesystem type", '
    '"mountpoint for swap partition must be empty", "btrfs volume requires subvolumes"',
    remedy="add or remove the key",
)
def incomplete(subject: Subject) -> Iterable[At]:
    """File systems without mount point or kind, swap with one, empty volumes."""
    for path, one, kind in _partitions(subject):
        if kind == "plain":
            yield from _file_system(path, one)
        elif kind == "lvm":
            for inner, volume in tables(one, ("logical_volumes",)):
                yield from _file_system((*path, *inner), volume)
        elif kind == "btrfs" and not one.get("subvolumes"):
            yield At(path, "a btrfs volume needs subvolumes")


def _file_system(path: Path, table: Mapping[str, Any]) -> Iterable[At]:
    kind = text(table, "fs_type")
    if kind in ("swap", "none"):
        if table.get("mountpoint"):
            yield At((*path, "mountpoint"), f"{kind} has no mount point")
        return
    if "mountpoint" not in table:
        yield At(path, "a file system needs mountpoint")
    if "fs_type" not in table:
        yield At(path, "a file system needs fs_type: ext4, xfs or vfat")


@RULES.add(
    "DSK325",
    Severity.ERROR,
    "name that stands twice",
    reason="volumes are found by their names",
    source='osbuild/blueprint: "duplicate LVM logical volume name", "duplicate btrfs subvolume '
    'name", "btrfs subvolume with empty name"',
    remedy="choose another name",
)
def names(subject: Subject) -> Iterable[At]:
    """Names of volumes that are empty or not unique."""
    for path, one, _ in _partitions(subject):
        for key, what in (("logical_volumes", "logical volume"), ("subvolumes", "subvolume")):
            seen: set[str] = set()
            for inner, volume in tables(one, (key,)):
                name = volume.get("name")
                if name == "" and key == "subvolumes":
                    yield At((*path, *inner, "name"), "a subvolume needs a name")
                if isinstance(name, str) and name:
                    if name in seen:
                        yield At((*path, *inner, "name"), f"there is a {what} {name!r} already")
                    seen.add(name)


@RULES.add(
    "DSK326",
    Severity.ERROR,
    "identification that the table does not have",
    reason="gpt has UUIDs and labels of at most 36 characters, dos two hexadecimal digits and "
    "no labels or UUIDs",
    source="osbuild/blueprint ValidatePartitionTypeID, ValidatePartitionID, ValidatePartitionLabel",
    remedy="correct or remove it",
)
def identification(subject: Subject) -> Iterable[At]:
    """part_type, part_uuid and part_label that do not fit the table."""
    table = text(subject.table("disk"), "type")
    for path, one, _ in _partitions(subject):
        if (kind := text(one, "part_type")) and (wrong := _wrong_type(kind, table)):
            yield At((*path, "part_type"), wrong)
        if number := text(one, "part_uuid"):
            if table == "dos":
                yield At((*path, "part_uuid"), "partitions of a dos table have no UUID")
            elif not _UUID.fullmatch(number):
                yield At((*path, "part_uuid"), f"{number!r} is not a UUID")
        if label := text(one, "part_label"):
            if table == "dos":
                yield At((*path, "part_label"), "partitions of a dos table have no label")
            elif len(label.encode("utf-16-le", "surrogatepass")) // 2 > _LABEL_MOST:
                yield At((*path, "part_label"), "is longer than 36 characters")


def _wrong_type(kind: str, table: str) -> str:
    is_uuid, is_dos = bool(_UUID.fullmatch(kind)), bool(_DOS_TYPE.fullmatch(kind))
    if table == "gpt" and not is_uuid:
        return f"{kind!r} is not a UUID, as a gpt table has"
    if table == "dos" and not is_dos:
        return f"{kind!r} is not two hexadecimal digits, as a dos table has"
    return "" if is_uuid or is_dos else f"{kind!r} is neither a UUID nor two hexadecimal digits"
