"""Which release of which distribution: of a host by os-release(5), of an image by its labels.

Sources: the labels of the published images rhel-bootc, centos-bootc (``redhat.id``,
``redhat.version-id``) and fedora-bootc (``ostree.linux``, the kernel with its distribution tag).
Images that are built on them inherit the labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_TAG = re.compile(r"\.(el|fc)(\d{1,3})(?:[._]|$)")


@dataclass(frozen=True)
class OsRelease:
    """``ID`` and ``VERSION_ID`` of os-release, and the kernel; empty where they are not known."""

    id: str = ""
    version: str = ""
    kernel: str = ""

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> Self | None:
        """What an image's labels tell; None where they tell nothing."""
        found = cls(
            labels.get("redhat.id", ""),
            labels.get("redhat.version-id", ""),
            labels.get("ostree.linux", ""),
        )
        return found if found.version or found.tag else None

    @property
    def major(self) -> str:
        """The number before the first dot of the version."""
        return self.version.partition(".")[0]

    @property
    def tag(self) -> tuple[str, str] | None:
        """The distribution tag of the kernel: ``el`` and ``9``, ``fc`` and ``42``."""
        match = _TAG.search(self.kernel)
        return (match[1], match[2]) if match else None

    def jump(self, new: OsRelease) -> tuple[str, str] | None:
        """The two releases in words, where the new one is another major release.

        Both must say their version, or both their kernel's tag: else it is not known, and None.
        """
        if self.version and new.version:
            if self.major == new.major:
                return None
            names = self.id or "release", new.id or self.id or "release"
            return f"{names[0]} {self.version}", f"{names[1]} {new.version}"
        if self.tag is None or new.tag is None or self.tag == new.tag:
            return None
        return "".join(self.tag), "".join(new.tag)
