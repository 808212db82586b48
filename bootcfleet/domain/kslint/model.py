"""What the rules about kickstarts see, and what they share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bootcfleet.domain.kickstartfile import (
    Kickstart,
    KickstartLine,
    KickstartSection,
    parse_kickstart,
)
from bootcfleet.domain.lint.model import Rules
from bootcfleet.domain.release import Release
from bootcfleet.domain.shell import ShellCommand

NOTES = "field note disk-images-and-kickstart §6"
#: The commands that name an image.
IMAGE_COMMANDS = ("ostreecontainer", "bootc")
#: Transports of images that lie on the medium or the machine.
LOCAL = ("oci", "oci-archive", "docker-archive", "docker-daemon", "containers-storage", "dir")
#: Transports that exist.
TRANSPORTS = ("registry", "docker", *LOCAL)
#: Mount points that Anaconda makes for an architecture's firmware, and what is no mount point.
_NO_FILESYSTEM = ("swap", "biosboot", "prepboot", "pv.", "raid.", "btrfs.")


@dataclass(frozen=True)
class KickstartSubject:
    """One kickstart to look at: its name in findings, its text, and the medium's release."""

    name: str
    text: str
    release: Release

    @cached_property
    def parsed(self) -> Kickstart:
        """Its commands and sections."""
        return parse_kickstart(self.text)

    @property
    def payloads(self) -> tuple[KickstartLine, ...]:
        """The commands that name the image."""
        return self.parsed.all(*IMAGE_COMMANDS)

    @property
    def has_includes(self) -> bool:
        """Whether a file is included, which may hold whatever is missing here."""
        return bool(self.parsed.includes)

    @property
    def offline(self) -> bool:
        """Whether the image is not fetched from a registry."""
        return bool(self.payloads) and all(transport(one) in LOCAL for one in self.payloads)

    @cached_property
    def mounts(self) -> tuple[tuple[str, KickstartLine], ...]:
        """The mount points that partitions and volumes are made for."""
        found = []
        for one in self.parsed.all("part", "partition", "logvol", "raid", "btrfs", "mount"):
            point = one.words[1] if one.name == "mount" and len(one.words) > 1 else one.operand
            if point and not point.startswith(_NO_FILESYSTEM) and point != "none":
                found.append((point, one))
        return tuple(found)

    def steps(
        self, *, chrooted: bool | None = None
    ) -> tuple[tuple[KickstartSection, ShellCommand, int], ...]:
        """(section, command, line) of the shell scripts; only those (not) within the new system."""
        return tuple(
            (section, command, section.line_of(command))
            for section in self.parsed.shells
            if chrooted is None or section.chrooted is chrooted
            for command in section.script.commands
        )


class KickstartRules(Rules[KickstartSubject]):
    """Rules about a kickstart."""


def transport(payload: KickstartLine) -> str:
    """The transport of an image's command; ``registry`` where nothing is said."""
    if payload.name == "ostreecontainer":
        return payload.value("--transport") or "registry"
    prefix, colon, _ = (payload.value("--source-imgref") or "").partition(":")
    return prefix if colon else "registry"


def references(subject: KickstartSubject) -> list[tuple[str, int]]:
    """The registry references that the installed host would follow, with their lines."""
    found = []
    for one in subject.payloads:
        if one.name == "bootc":
            target = one.value("--target-imgref") or ""
            source = one.value("--source-imgref") or ""
            if not target and transport(one) == "registry":
                target = source.removeprefix("registry:")
            found.append((target, one.line))
        elif transport(one) not in LOCAL:
            found.append((one.value("--url") or "", one.line))
    for _, command, line in subject.steps():
        if command.name == "bootc" and command.operands[:1] == ("switch",):
            kind = command.value("--transport")
            if kind in (None, "registry") and len(command.operands) > 1:
                found.append((command.operands[-1], line))
    return [(text, line) for text, line in found if text]
