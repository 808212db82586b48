"""What was observed before a build of disks, what was agreed to, and how findings look."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootcfleet.domain.diskargv import STORAGE
from bootcfleet.domain.diskrequest import DiskRequest, SpaceNeed, space_need


class Level(StrEnum):
    """How a finding ends: an error stops, `confirm` asks, a warning and a note are said."""

    ERROR = "error"
    CONFIRM = "confirm"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class PreflightFinding:
    """One finding: `check` is a stable word, `remedy` the command that mends it."""

    check: str
    level: Level
    message: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """The finding as JSON-ready data."""
        return {
            "check": self.check,
            "level": self.level.value,
            "message": self.message,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class ImageState:
    """The image in root's storage; `rootfs` is what ``bootc install print-configuration`` says.

    `asked` is whether it could be asked (a foreign architecture cannot).
    """

    id: str
    size: int
    architecture: str
    labels: tuple[tuple[str, str], ...] = ()
    digests: tuple[str, ...] = ()
    rootfs: str | None = None
    asked: bool = True


@dataclass(frozen=True)
class DiskFacts:
    """What was observed on this machine; None is what could not be observed.

    `free_store` and `free_output` are bytes; `reflink` is whether copies in the output
    folder share blocks; `emulation` says why the architecture does not run here.
    """

    root: bool = True
    sudo: bool = False
    podman: str | None = "4.3.1"
    qemu_img: bool = True
    native: str | None = None
    storage_driver: str | None = "overlay"
    storage: str = STORAGE
    image: ImageState | None = None
    user_has_image: bool = False
    installer: bool = True
    machine: str = "amd64"
    emulation: str | None = None
    selinux: str = "disabled"
    osbuild_selinux: bool = False
    free_store: int | None = None
    free_output: int | None = None
    one_filesystem: bool = False
    reflink: bool = False
    loop: bool = True
    builder: bool = True
    builder_flags: frozenset[str] | None = None
    credentials: bool = True
    credentials_open: bool = False
    bucket: str | None = None
    role: str | None = None
    aws_asked: bool = False


@dataclass(frozen=True)
class Consent:
    """What was said on the command line to what would be asked or refused."""

    pull: bool = False
    transfer: bool = False
    wipe_disks: bool = False


def space(request: DiskRequest, facts: DiskFacts) -> SpaceNeed | None:
    """What the build needs, or None as long as the image's size is not known."""
    if facts.image is None:
        return None
    return space_need(request, facts.image.size, reflink=facts.reflink and facts.one_filesystem)


def space_json(request: DiskRequest, facts: DiskFacts) -> dict[str, Any] | None:
    """The estimate as JSON-ready data."""
    need = space(request, facts)
    if need is None:
        return None
    return {
        "store": need.store,
        "output": need.output,
        "free_store": facts.free_store,
        "free_output": facts.free_output,
    }


def human(size: int) -> str:
    """A size for people: 3.4 GiB."""
    number = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
