"""The builders of disks as programs: root's podman, its images, and what each builder can do.

Source: podman-info(1), podman-image-inspect(1), podman-run(1), and the field note *disk
images and kickstart*; checked with podman 4.3.1.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootcfleet.domain.diskargv import flags_of, probe_argv
from bootcfleet.domain.diskobserved import ImageState
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.drivers.command import CommandResult, Executor, OnLine, write_atomic
from bootcfleet.drivers.podman import PodmanError
from bootcfleet.errors import FleetError, ToolMissingError

#: Where the options of builders are remembered, below the state folder.
CACHE = "builders.json"
_TAIL = 15


@dataclass(frozen=True)
class PodmanInfo:
    """What ``podman info`` says of root's podman; `architecture` by Go's name."""

    version: str
    driver: str
    storage: str
    architecture: str


class RootPodman:
    """podman with root rights: where builders find images."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def info(self) -> PodmanInfo | None:
        """What it says of itself, or None where it cannot be asked."""
        try:
            result = self._root("info", "--format", "json", timeout=60)
            body = json.loads(result.stdout) if result.ok else {}
        except (ToolMissingError, ValueError):
            return None
        store = body.get("store") or {}
        if "graphRoot" not in store:
            return None
        return PodmanInfo(
            str((body.get("version") or {}).get("Version", "")),
            str(store.get("graphDriverName", "")),
            str(store["graphRoot"]),
            str((body.get("host") or {}).get("arch", "")),
        )

    def has(self, image: str) -> bool:
        """Whether root's storage has an image."""
        try:
            return self._root("image", "exists", image, timeout=60).ok
        except ToolMissingError:
            return False

    def state(self, image: str) -> ImageState | None:
        """An image in root's storage, or None where it is not there."""
        body = self._inspect(image)
        if body is None:
            return None
        labels = tuple(sorted((body.get("Labels") or {}).items()))
        rootfs, asked = self._rootfs(image)
        return ImageState(
            id="sha256:" + str(body.get("Id", "")).removeprefix("sha256:"),
            size=int(body.get("Size") or 0),
            architecture=str(body.get("Architecture") or ""),
            labels=labels,
            digests=tuple(body.get("RepoDigests") or ()),
            rootfs=rootfs,
            asked=asked,
        )

    def digest(self, image: str) -> str | None:
        """The registry's digest of an image, else the local one; None where it is not there."""
        body = self._inspect(image)
        if body is None:
            return None
        name = image.partition("@")[0].rpartition("/")
        bare = f"{name[0]}/{name[2].partition(':')[0]}"
        own = [one for one in body.get("RepoDigests") or () if one.startswith(f"{bare}@")]
        if "@" in image and image in own:
            return image.partition("@")[2]
        return own[0].partition("@")[2] if own else str(body.get("Digest") or "") or None

    def pull(self, image: str, platform: str | None, on_line: OnLine | None = None) -> None:
        """Pull an image into root's storage.  Raises `PodmanError`."""
        words = ["--platform", platform] if platform else []
        self._checked("pull", image, self._root("pull", *words, image, on_line=on_line))

    def transfer(self, image: str, on_line: OnLine | None = None) -> None:
        """Copy an image from the user's own storage to root's.  Raises `PodmanError`.

        By a file: `podman image scp` asks for a login of root in some versions.
        """
        with tempfile.TemporaryDirectory(prefix="bootcfleet-transfer-", dir="/var/tmp") as folder:
            # The user's podman writes into it where this process is root.
            Path(folder).chmod(0o777)
            archive = f"{folder}/image.tar"
            argv = [*_as_user(), "podman", "save", "--format", "oci-archive", "-o", archive]
            self._checked("save", image, self._executor.run([*argv, image], on_line=on_line))
            self._checked("load", image, self._root("load", "-i", archive, on_line=on_line))

    def user_has(self, image: str) -> bool:
        """Whether the storage of the person who runs this has the image, apart from root's."""
        if os.geteuid() == 0 and not _as_user():
            return False
        with contextlib.suppress(ToolMissingError):
            argv = [*_as_user(), "podman", "image", "exists", image]
            return self._executor.run(argv, timeout=60).ok
        return False

    def remove(self, container: str) -> None:
        """End and remove a container, whatever state it is in."""
        with contextlib.suppress(FleetError):
            self._root("rm", "--force", "--ignore", "--time", "5", "--volumes", container)

    def _rootfs(self, image: str) -> tuple[str | None, bool]:
        """The root file system that the image asks for, and whether it could be asked."""
        result = self._root(
            *("run", "--rm", "--network=none", "--pull=never", "--entrypoint", "bootc", image),
            *("install", "print-configuration"),
            timeout=120,
        )
        if not result.ok:
            return None, False
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            body = json.loads(result.stdout)
            found = ((body.get("filesystem") or {}).get("root") or {}).get("type")
            # Older versions of bootc had it flat.
            found = found or body.get("root-fs-type") or body.get("rootfs")
            return (str(found) if found else None), True
        return None, False

    def _inspect(self, image: str) -> dict[str, Any] | None:
        try:
            result = self._root("image", "inspect", image, timeout=60)
            found = json.loads(result.stdout)[0] if result.ok else None
        except (ToolMissingError, ValueError, LookupError):
            return None
        return found if isinstance(found, dict) else None

    def _root(
        self, *words: str, timeout: float | None = None, on_line: OnLine | None = None
    ) -> CommandResult:
        return self._executor.run(
            ["podman", *words], as_root=True, timeout=timeout, on_line=on_line
        )

    def _checked(self, what: str, image: str, result: CommandResult) -> None:
        if not result.ok:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            raise PodmanError(
                f"root's podman could not {what} {image}",
                hint="log in as root, if the registry wants it: sudo podman login REGISTRY",
                details=lines[-_TAIL:],
            )


def _as_user() -> list[str]:
    """How to be the person who called sudo; empty where this process is that person."""
    user = os.environ.get("SUDO_USER", "")
    return (
        ["sudo", "-n", "-u", user, "--"] if os.geteuid() == 0 and user not in ("", "root") else []
    )


class BuilderProbe:
    """Which options a builder has: asked once for each digest, then remembered in a file."""

    def __init__(self, executor: Executor, state: Path) -> None:
        self._executor = executor
        self._file = state / CACHE

    def flags(self, request: DiskRequest, digest: str | None) -> frozenset[str] | None:
        """The long options of its ``build``, or None where it cannot be asked."""
        known = self._known()
        key = digest or ""
        if key and key in known:
            return frozenset(known[key])
        result = self._executor.run(probe_argv(request), as_root=not request.native, timeout=120)
        # Some versions print the help as an error.
        flags = flags_of(result.stdout) or flags_of(result.stderr)
        if not flags:
            return None
        if key:
            known[key] = sorted(flags)
            write_atomic(self._file, (json.dumps(known, indent=2, sort_keys=True) + "\n").encode())
        return flags

    def _known(self) -> dict[str, list[str]]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return {
                    str(key): [str(one) for one in value]
                    for key, value in found.items()
                    if isinstance(value, list)
                }
        return {}
