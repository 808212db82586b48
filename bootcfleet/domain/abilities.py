"""What a host's bootc can do, by its version.

Source: field note *bootc on a host*, which read bootc's tags one by one.  Asking a bootc for an
option that it does not have ends in a usage error, so only what is known to be there is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Self

#: The version in which each ability came.
SINCE: dict[str, tuple[int, int, int]] = {
    "format_version": (0, 1, 15),
    "progress_fd": (1, 1, 4),
    "clear_cached_update": (1, 1, 5),
    "rollback_apply": (1, 1, 7),
    "other_deployments": (1, 3, 0),
    "soft_reboot": (1, 7, 0),
    "download_only": (1, 12, 0),
    "usr_overlay_status": (1, 14, 0),
    "upgrade_tag": (1, 15, 0),
    "lockless_status": (1, 16, 7),
}

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(.*)", re.ASCII | re.DOTALL)
#: A version before the one that it names: "1.12.0-rc.1", "1.12.0~rc1".
_BEFORE = re.compile(r"[-.~]?(?:alpha|beta|rc|pre|dev)|~", re.IGNORECASE)


@dataclass(frozen=True)
class Abilities:
    """Which options a bootc has.  All False: nothing is known of it.

    `format_version`: ``status --format=json --format-version=1``; `progress_fd`: ``upgrade`` and
    ``switch --progress-fd``; `clear_cached_update`: ``internals ostree-container image
    clear-cached-update``; `rollback_apply`: ``rollback --apply``; `other_deployments`: ``status``
    lists them; `soft_reboot`: ``--soft-reboot`` of upgrade, switch and rollback; `download_only`:
    ``upgrade --download-only`` and ``--from-downloaded``; `usr_overlay_status`: ``status`` says
    whether ``/usr`` is unlocked; `upgrade_tag`: ``upgrade --tag``; `lockless_status`: ``status``
    takes no lock where ``/sysroot`` is read-only.
    """

    format_version: bool = False
    progress_fd: bool = False
    clear_cached_update: bool = False
    rollback_apply: bool = False
    other_deployments: bool = False
    soft_reboot: bool = False
    download_only: bool = False
    usr_overlay_status: bool = False
    upgrade_tag: bool = False
    lockless_status: bool = False

    @classmethod
    def of(cls, version: str) -> Self:
        """The abilities of a version as ``bootc --version`` says it; of an unknown one: none."""
        found = _VERSION.fullmatch(version.strip())
        if found is None:
            return cls()
        number = tuple(int(part or 0) for part in found.group(1, 2, 3))
        early = _BEFORE.match(found.group(4)) is not None
        if early:
            # Not yet the version that it names.
            number = (*number[:2], number[2] - 1)
        return cls(**{name: number >= since for name, since in SINCE.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Those that it has, for people and JSON."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name))


#: Of a bootc that nothing is known of.
NONE = Abilities()
