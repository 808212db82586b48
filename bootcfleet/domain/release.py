"""Which installer reads a kickstart: the release of the medium, and what its Anaconda knows.

Sources: pykickstart's handlers (3.78: ``ostreecontainer`` in F38 and RHEL9, ``bootc`` in F43,
RHEL10 and RHEL11); field note disk-images-and-kickstart §6; Anaconda's release note *Add bootc
kickstart command support* (rhinstaller/anaconda#6298) and Fedora Magazine of December 2025, which
put ``bootc`` into Rawhide after Fedora 43 was out; seen on 10.2 media (Rocky Linux).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from bootcfleet.errors import UsageError

_FORM = re.compile(r"(rhel|centos-stream|fedora)([0-9]{1,3})(?:\.([0-9]{1,2}))?")
#: The first release with ``ostreecontainer``, and the first whose pykickstart has ``bootc``.
_FIRST = {"rhel": 9, "centos-stream": 9, "fedora": 38}
_BOOTC = {"rhel": 10, "centos-stream": 10, "fedora": 43}
#: The first release of which every medium has ``bootc``.
_BOOTC_ALWAYS = {"rhel": 11, "centos-stream": 11, "fedora": 44}
#: The first minor release of RHEL 10 whose media have it.
_BOOTC_RHEL10 = 2


class InvalidReleaseError(UsageError, ValueError):
    """A release that cannot be; a ValueError too, for pydantic's validators."""


class Verb(StrEnum):
    """The command of a kickstart that names the image."""

    OSTREECONTAINER = "ostreecontainer"
    BOOTC = "bootc"


@dataclass(frozen=True, order=True)
class Release:
    """The release of an installation medium, such as ``rhel9``, ``rhel10.1`` or ``fedora43``."""

    family: str
    major: int
    minor: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a release.  Raises `InvalidReleaseError`, also for one without images at all."""
        match = _FORM.fullmatch(text)
        if match is None or (match[3] is not None and match[1] != "rhel"):
            raise InvalidReleaseError(
                f"{text!r} is not a release",
                hint="write rhel9, rhel10 (or rhel10.1), centos-stream9, centos-stream10, fedora43",
            )
        family, major = match[1], int(match[2])
        if major < _FIRST[family]:
            raise InvalidReleaseError(
                f"the installer of {text} cannot install an image",
                hint=f"{family}{_FIRST[family]} is the first whose Anaconda has ostreecontainer",
            )
        return cls(family, major, int(match[3]) if match[3] else None)

    def __str__(self) -> str:
        return f"{self.family}{self.major}" + ("" if self.minor is None else f".{self.minor}")

    @property
    def handler(self) -> str:
        """The name of pykickstart's version for it: ``RHEL9``, ``F43``."""
        return f"F{self.major}" if self.family == "fedora" else f"RHEL{self.major}"

    @property
    def enterprise(self) -> bool:
        """Whether it is RHEL or CentOS Stream, whose Anaconda makes no btrfs (before 11)."""
        return self.family != "fedora"

    @property
    def default_verb(self) -> Verb:
        """The verb that every medium of this release understands, the newer one where it does.

        RHEL 10, CentOS Stream 10 and Fedora 43 media differ: only later ones know
        ``bootc``, and a kickstart with an unknown command stops the installation.
        """
        always = self.major >= _BOOTC_ALWAYS[self.family]
        return Verb.BOOTC if always else Verb.OSTREECONTAINER

    def verb_problem(self, verb: Verb) -> str | None:
        """Why this release's installer cannot be given a verb, or None."""
        old = self.major < _BOOTC[self.family]
        if (self.family, self.major) == ("rhel", 10) and self.minor is not None:
            old = self.minor < _BOOTC_RHEL10
        if verb is Verb.BOOTC and old:
            return f"the installer of {self} does not know the command bootc"
        return None


#: The releases that the shipped kickstarts are rendered and checked for.
SHIPPED_RELEASES = ("rhel9", "rhel10", "centos-stream9", "centos-stream10", "fedora43", "fedora44")
