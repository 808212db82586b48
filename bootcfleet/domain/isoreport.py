"""What xorriso reports of an ISO: its volume id, its files, and how machines boot from it.

Source: xorriso(1), -pvd_info, -report_el_torito, -report_system_area, -find.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

_VOLUME = re.compile(r"^Volume Id    : (.*)$", re.MULTILINE)
_BOOT = re.compile(
    r"^El Torito boot img :\s+(\d+)\s+(\S+)\s+y\s+\S+\s+\S+\s+\S+\s+\S+\s+(\d+)", re.MULTILINE
)
_BOOT_PATH = re.compile(r"^El Torito img path :\s+(\d+)\s+(/.*)$", re.MULTILINE)
_SUMMARY = re.compile(r"^System area summary: (.*)$", re.MULTILINE)
_APPENDED = re.compile(
    r"^-append_partition (\d+) (\S+) --interval:imported_iso:(\d+)d-(\d+)d:", re.MULTILINE
)
#: UEFI's names of the boot loader on removable media.
_LOADERS = {
    "BOOTX64.EFI": "x86_64",
    "BOOTAA64.EFI": "aarch64",
    "BOOTRISCV64.EFI": "riscv64",
}


@dataclass(frozen=True)
class BootImage:
    """A boot image of the El Torito catalogue; without `path` it is no file of the ISO."""

    platform: str
    path: str | None
    sector: int


@dataclass(frozen=True)
class AppendedPartition:
    """A partition behind the files, where newer media have their EFI system partition.

    `start` and `size` are in bytes, `kind` is the type as ``-append_partition`` takes it.
    """

    number: int
    kind: str
    start: int
    size: int


@dataclass(frozen=True)
class IsoReport:
    """An ISO as xorriso sees it."""

    volume_id: str
    files: frozenset[str]
    boot_images: tuple[BootImage, ...]
    appended: tuple[AppendedPartition, ...]
    system_area: str

    @property
    def efi_images(self) -> tuple[str, ...]:
        """The files that are EFI system partitions, by the catalogue or by their name."""
        found = {one.path for one in self.boot_images if one.platform == "UEFI" and one.path}
        return tuple(sorted(found | (self.files & {"/images/efiboot.img"})))

    @property
    def efi_in_files(self) -> bool:
        """Whether a file of the ISO is what UEFI boots, and not a partition behind the files."""
        return any(one.platform == "UEFI" and one.path for one in self.boot_images)

    @property
    def unreachable_efi(self) -> bool:
        """Whether UEFI boots from something that is neither a file nor a partition."""
        starts = {one.start for one in self.appended}
        return any(
            one.platform == "UEFI" and one.path is None and one.sector * 2048 not in starts
            for one in self.boot_images
        )

    @property
    def architecture(self) -> str | None:
        """The machine that its UEFI boot loader is for."""
        names = {path.rpartition("/")[2].upper() for path in self.files}
        return next((arch for name, arch in _LOADERS.items() if name in names), None)

    @property
    def boots(self) -> dict[str, Any]:
        """How machines boot from it, JSON-ready and comparable between two ISOs."""
        return {
            "el_torito": [{"platform": one.platform, "path": one.path} for one in self.boot_images],
            "system_area": self.system_area,
            "partitions": [
                {"number": one.number, "type": one.kind, "size": one.size} for one in self.appended
            ],
        }


def parse_report(text: str) -> IsoReport:
    """Read xorriso's standard output.  Raises `ValueError` when it is not about an ISO."""
    volume = _VOLUME.search(text)
    if volume is None:
        raise ValueError("xorriso reports no volume")
    paths = dict(_BOOT_PATH.findall(text))
    files = [line for line in text.splitlines() if line.startswith("'/")]
    summary = _SUMMARY.search(text)
    return IsoReport(
        volume_id=volume[1].rstrip(),
        files=frozenset("".join(shlex.split(line)) for line in files),
        boot_images=tuple(
            BootImage(platform, paths.get(number), int(sector))
            for number, platform, sector in _BOOT.findall(text)
        ),
        appended=tuple(
            AppendedPartition(
                int(number), kind, int(first) * 512, (int(last) - int(first) + 1) * 512
            )
            for number, kind, first, last in dict.fromkeys(_APPENDED.findall(text))
        ),
        system_area=summary[1].strip() if summary else "",
    )
