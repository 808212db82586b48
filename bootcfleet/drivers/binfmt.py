"""Whether this machine runs programs of another architecture: qemu-user by binfmt_misc.

Source: Linux kernel documentation, admin-guide/binfmt-misc; the handlers' names
are those that qemu's and Debian's packages register.
"""

from __future__ import annotations

from pathlib import Path

from bootcfleet.errors import ToolMissingError

#: What qemu calls each architecture (GOARCH name → handler).
_HANDLERS = {
    "amd64": "qemu-x86_64",
    "arm64": "qemu-aarch64",
    "ppc64le": "qemu-ppc64le",
    "s390x": "qemu-s390x",
    "riscv64": "qemu-riscv64",
}
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def require_emulation(platform: str, *, folder: Path = BINFMT) -> None:
    """See that programs for ``linux/ARCH`` run here, in containers too.

    Raises `ToolMissingError` that says what to install.
    """
    handler = _HANDLERS.get(platform.rpartition("/")[2], "")
    hint = (
        "install qemu's user emulation: apt-get install qemu-user-static binfmt-support, or "
        "dnf install qemu-user-static; or build on a machine of that architecture"
    )
    try:
        said = (folder / handler).read_text(encoding="utf-8") if handler else ""
    except OSError as error:
        raise ToolMissingError(
            f"{platform} cannot be built here: no {handler} in {folder}", hint=hint
        ) from error
    if not said.startswith("enabled"):
        raise ToolMissingError(f"{platform} cannot be built here: {handler} is disabled", hint=hint)
    flags = next((line for line in said.splitlines() if line.startswith("flags:")), "")
    if "F" not in flags.removeprefix("flags:"):
        # Without F the interpreter is looked for inside of the container, where it is not.
        raise ToolMissingError(
            f"{platform} cannot be built here: {handler} does not work in containers (flag F)",
            hint=hint,
        )
