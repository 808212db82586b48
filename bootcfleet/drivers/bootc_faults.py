"""What a failed command on a host means.

The texts are those of bootc, skopeo, ostree and sudo (field notes *bootc on a
host* and *fleet rollouts*); bootc's exit code says no more than "failed".
"""

from __future__ import annotations

import re

from bootcfleet.errors import HostFault

# The first pattern that is found decides, so the particular stand before the general.
_TEXTS: tuple[tuple[str, HostFault, str], ...] = (
    (
        r"bootc: (?:command )?not found|No such file or directory.*\bbootc\b"
        r"|sudo: bootc: command not found",
        HostFault.NO_BOOTC,
        "bootc is not installed on it",
    ),
    (
        r"must be executed as the root user|requires root privileges",
        HostFault.NOT_ROOT,
        "bootc needs root rights there; let the user use sudo, or connect as root",
    ),
    (
        r"requires an ostree-booted host|System not booted via bootc|not deployed via bootc"
        r"|Detected container",
        HostFault.NOT_BOOTC_BOOTED,
        "the system is not booted by bootc",
    ),
    (
        r"No space left on device|min-free-space",
        HostFault.NO_SPACE,
        "its disk is full; look at `df -h /sysroot /var`, remove old images",
    ),
    (
        r"local rpm-ostree modifications",
        HostFault.INCOMPATIBLE,
        "packages are layered with rpm-ostree; `rpm-ostree reset` removes them",
    ),
    (r"No rollback available", HostFault.NO_ROLLBACK, "it has no rollback deployment"),
    (
        r"manifest unknown|name unknown|NAME_UNKNOWN|MANIFEST_UNKNOWN|\b404\b"
        r"|No image source specified",
        HostFault.IMAGE_NOT_FOUND,
        "the registry does not have that image",
    ),
    (
        r"unauthorized|authentication required|\b401\b|\b403\b|denied: |Forbidden",
        HostFault.REGISTRY,
        "the registry refuses the host; look at /etc/ostree/auth.json there",
    ),
    (
        r"x509|certificate|toomanyrequests|\b429\b|\b50[0234]\b|pinging container registry"
        r"|no such host|connection refused|i/o timeout|Creating imgstorage|Fetching manifest",
        HostFault.REGISTRY,
        "the host cannot use the registry; try `skopeo inspect docker://IMAGE` on it",
    ),
)


def classify(exit_code: int, output: str) -> tuple[HostFault, str | None]:
    """The fault that a failed command's output names, and what to do about it."""
    for pattern, fault, hint in _TEXTS:
        if re.search(pattern, output, re.IGNORECASE):
            return fault, hint
    if exit_code == 127:
        return HostFault.NO_BOOTC, "bootc is not installed on it"
    return HostFault.COMMAND_FAILED, None


def last_error(output: str) -> str:
    """The line that says why: bootc's ``error:`` line, or else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    return (errors or lines or ["no output"])[-1].removeprefix("error:").strip()
