"""Which boot a host is in, soft reboots included.

A soft reboot restarts userspace under the kernel that runs, so that the kernel's boot id stays
(systemd-soft-reboot.service(8)).  What changes is systemd's ``SoftRebootsCount``, which systemd
has since 256 (its pull request 31980).  The two versions before it can reboot softly and do not
count; their time stamps of userspace outlive a soft reboot as well (the same pull request), but
``basic.target`` is stopped and reached anew, so that the time of that stands for the count.
Older ones have no soft reboot.  Seen so with soft reboots of systemd 254.26 and 257.13.

The marker is the boot id, and ``+N`` behind it where N is not 0.
"""

from __future__ import annotations

import re

BOOT_ID = "/proc/sys/kernel/random/boot_id"

#: As root it asks systemd itself, without the D-Bus daemon, which starts late and ends early.
ASK_SYSTEMD = ("systemctl", "show", "--property=Version", "--property=SoftRebootsCount")
#: The same question to a systemd that does not count.
ASK_BASIC = ("systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "basic.target")

#: The systemd versions with soft reboots and without a count of them.
_UNCOUNTED = (254, 255)
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\s*\Z")


def kernel_boot_id(text: str) -> str | None:
    """The boot id in what the kernel's file holds, or None when it is none.

    What a shell's profile said before it is passed over.
    """
    found = _ID.search(text)
    return found.group().strip() if found else None


def kernel_part(marker: str) -> str:
    """The kernel's boot id in a marker."""
    return marker.partition("+")[0]


def with_count(boot_id: str, count: int) -> str:
    """The marker of a boot after `count` soft reboots."""
    return f"{boot_id}+{count}" if count else boot_id


def soft_reboots(shown: str) -> int | None:
    """The soft reboots of this boot in the answer to `ASK_SYSTEMD`.

    None: this systemd does not count them, ask `ASK_BASIC`.  Raises `ValueError` when systemd has
    not answered.
    """
    said = _properties(shown)
    if (count := said.get("SoftRebootsCount", "")).isdecimal():
        return int(count)
    version = re.match(r"v?(\d{1,6})", said["Version"]) if said.get("Version") else None
    if version is None:
        raise ValueError("systemctl show does not name systemd's version")
    return None if int(version.group(1)) in _UNCOUNTED else 0


def userspace_start(shown: str) -> int:
    """When this userspace came up, in the answer to `ASK_BASIC` (microseconds).

    Raises `ValueError` while it is still coming up.
    """
    moment = _properties(shown).get("ActiveEnterTimestampMonotonic", "")
    if not moment.isdecimal() or moment == "0":
        raise ValueError("basic.target has not been reached")
    return int(moment)


def _properties(shown: str) -> dict[str, str]:
    lines = (line.partition("=") for line in shown.splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}
