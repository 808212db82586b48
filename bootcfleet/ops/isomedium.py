"""An installer ISO read: its label, its boot menus, also those in EFI system partitions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootcfleet.domain.isomenu import KICKSTART_PATH, MenuKind, boot_lines
from bootcfleet.domain.isoreport import AppendedPartition, IsoReport
from bootcfleet.drivers.isomd5 import implanted
from bootcfleet.drivers.isotool import IsoTool, copy_partition, is_iso, missing_bytes
from bootcfleet.errors import FleetError, UsageError


@dataclass(frozen=True)
class EfiImage:
    """An EFI system partition of a medium: a file of it, or a partition behind the files."""

    where: str
    path: str | None = None
    partition: AppendedPartition | None = None


@dataclass(frozen=True)
class Menu:
    """A boot menu as it is; with `image` it lies in that EFI system partition."""

    path: str
    kind: MenuKind
    text: str
    image: EfiImage | None = None

    @property
    def where(self) -> str:
        """Its place in words."""
        return f"{self.path} in {self.image.where}" if self.image else self.path

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, with the arguments of every entry."""
        return {
            "path": self.path,
            "image": self.image.where if self.image else None,
            "kind": self.kind.value,
            "entries": [line.text for line in boot_lines(self.text, self.kind)],
        }


@dataclass(frozen=True)
class Medium:
    """An ISO with its menus, as far as they boot something.

    `checksum` is the MD5 that it carries of itself, `supported` a flag beside that.
    """

    path: Path
    report: IsoReport
    architecture: str | None
    menus: tuple[Menu, ...]
    checksum: str | None
    supported: bool

    @property
    def kickstarts(self) -> tuple[str, ...]:
        """The kickstarts that the menus name, each once."""
        lines = (line for menu in self.menus for line in boot_lines(menu.text, menu.kind))
        return tuple(dict.fromkeys(name for line in lines for name in line.kickstarts))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "iso": str(self.path),
            "volume_id": self.report.volume_id,
            "architecture": self.architecture,
            "boots": self.report.boots,
            "checksum": self.checksum,
            "kickstarts": list(self.kickstarts),
            "kickstart_file": KICKSTART_PATH in self.report.files,
            "menus": [menu.to_json() for menu in self.menus],
        }


def inspect_iso(iso: Path, tool: IsoTool) -> Medium:
    """Read an ISO's menus, also those in its EFI system partitions.  Raises `FleetError`."""
    iso = iso.resolve()
    if not iso.is_file():
        raise UsageError(f"{iso} is not a file", hint="download the boot ISO of the release")
    try:
        known = is_iso(iso)
    except OSError as error:
        raise UsageError(f"{iso} cannot be read: {error.strerror}") from error
    if not known:
        raise FleetError(f"{iso} is no ISO 9660 image", hint="is it the download that was meant?")
    if missing := missing_bytes(iso):
        raise FleetError(
            f"{iso} is {missing} bytes shorter than it says itself",
            hint="download it again, and compare its checksum",
        )
    report = tool.report(iso)
    with tempfile.TemporaryDirectory(prefix="bootcfleet-iso-") as folder:
        work = Path(folder)
        paths = sorted(path for path in report.files if MenuKind.of(path))
        wanted = {path: work / f"menu{number}" for number, path in enumerate(paths)}
        if "/.discinfo" in report.files:
            wanted["/.discinfo"] = work / "discinfo"
        tool.extract(iso, wanted)
        menus = [_menu(path, wanted[path], None) for path in paths]
        for image in _efi_images(report):
            menus += _menus_of(image, iso, work, tool)
        architecture = report.architecture
        if (work / "discinfo").exists():
            lines = (work / "discinfo").read_text("utf-8", "replace").splitlines()
            architecture = lines[2].strip() if len(lines) > 2 else architecture
    booting = (menu for menu in menus if boot_lines(menu.text, menu.kind))
    return Medium(iso, report, architecture, tuple(booting), *implanted(iso))


def _efi_images(report: IsoReport) -> tuple[EfiImage, ...]:
    files = [EfiImage(path, path=path) for path in report.efi_images]
    partitions = [EfiImage(f"partition {one.number}", partition=one) for one in report.appended]
    return (*files, *partitions)


def _menus_of(image: EfiImage, iso: Path, work: Path, tool: IsoTool) -> list[Menu]:
    local = work / "image"
    fetch_image(image, iso, local, tool)
    menus = []
    for path in tool.fat_files(local):
        if MenuKind.of(path):
            target = work / "menu"
            tool.fat_read(local, path, target)
            menus.append(_menu(path, target, image))
            target.unlink()
    local.unlink()
    return menus


def fetch_image(image: EfiImage, iso: Path, target: Path, tool: IsoTool) -> None:
    """Copy an EFI system partition out of an ISO."""
    if image.path is not None:
        tool.extract(iso, {image.path: target})
    elif image.partition is not None:
        copy_partition(iso, image.partition, target)


def _menu(path: str, file: Path, image: EfiImage | None) -> Menu:
    kind = MenuKind.of(path)
    assert kind is not None  # noqa: S101 - callers choose by it
    # Undecodable bytes and line ends come back as they were.
    return Menu(path, kind, file.read_bytes().decode("utf-8", "surrogateescape"), image)
