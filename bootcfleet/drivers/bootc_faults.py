"""What a failed command on a host means.

The texts are those of bootc, skopeo, ostree, sudo and systemd (field notes
*bootc on a host* and *fleet rollouts*); bootc's exit code says no more than
"failed".
"""

from __future__ import annotations

import re

from bootcfleet.errors import HostFault


def _http(codes: str) -> str:
    """An HTTP status as registries and skopeo write it; a bare number is a size or a port."""
    return (
        rf"(?:status(?: code)?(?: from registry)?|statuscode|http):? (?:{codes})\b"
        rf"|\b(?:{codes}) \(?(?-i:[A-Z][a-z])"
    )


# The first pattern that is found decides, so the particular stand before the general.
_TEXTS: tuple[tuple[str, HostFault, str], ...] = (
    (
        r"\bbootc['’]?: (?:command )?not found|(?:command not found|Unknown command): bootc\b"
        r"|['‘]bootc['’]: No such file or directory",
        HostFault.NO_BOOTC,
        "bootc is not installed on it",
    ),
    (
        r"must be executed as the root user|requires root privileges",
        HostFault.NOT_ROOT,
        "bootc needs root rights there; let the user use sudo, or connect as root",
    ),
    (
        r"interactive authentication required|Call to Reboot failed: Access denied",
        HostFault.NOT_ROOT,
        "a reboot needs root rights there; let the user use sudo, or connect as root",
    ),
    (
        r"Operation inhibited by",
        HostFault.COMMAND_FAILED,
        "something on it holds reboots back: look with `systemd-inhibit --list` there",
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
    (
        r"No image source specified",
        HostFault.INCOMPATIBLE,
        "it follows no image yet: give it one with `bootcfleet fleet switch IMAGE`",
    ),
    (r"No rollback available", HostFault.NO_ROLLBACK, "it has no rollback deployment"),
    (
        r"No staged deployment found",
        HostFault.WRONG_DIGEST,
        "nothing is downloaded there by now: stage it again",
    ),
    (
        r"not soft-reboot capable|Unknown command verb '?soft-reboot",
        HostFault.INCOMPATIBLE,
        "it cannot be rebooted softly (another kernel, or a systemd before 254): reboot it fully",
    ),
    (
        r"rejected by policy|signature was required|Source image rejected"
        r"|specifies a default of .?insecureAcceptAnything",
        HostFault.UNTRUSTED,
        "the host does not trust the image's signature; look at /etc/containers/policy.json there",
    ),
    (
        r"manifest unknown|name unknown|NAME_UNKNOWN|MANIFEST_UNKNOWN|" + _http("404"),
        HostFault.IMAGE_NOT_FOUND,
        "the registry does not have that image",
    ),
    (
        r"no image found in (?:image index|manifest list)",
        HostFault.IMAGE_NOT_FOUND,
        "the image was not built for the host's architecture",
    ),
    (
        r"unauthorized|forbidden|authentication required|(?<!permission )denied: "
        r"|access to the resource is denied|" + _http("401|403"),
        HostFault.REGISTRY_REFUSED,
        "the registry refuses the host; look at /etc/ostree/auth.json there",
    ),
    (
        r"toomanyrequests|too many requests|" + _http("429"),
        HostFault.REGISTRY,
        "the registry limits how often it is asked: use smaller waves, or a mirror",
    ),
    (
        r"x509|certificate|HTTP response to HTTPS client",
        HostFault.REGISTRY_TLS,
        "the host does not trust the registry's TLS: look at /etc/containers/certs.d there, "
        "and at its clock",
    ),
    (
        r"pinging container registry|no such host|connection refused|i/o timeout"
        r"|Creating imgstorage|Fetching manifest|" + _http("50[0234]"),
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
    lines = [printable(line) for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    said = (errors or lines or ["no output"])[-1]
    return said[len("error:") :].strip() if errors else said


def printable(line: str) -> str:
    """A host's line without what a terminal would obey (escape sequences, control characters)."""
    plain = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", line)
    return "".join(one for one in plain if one.isprintable() or one == "\t").strip()
