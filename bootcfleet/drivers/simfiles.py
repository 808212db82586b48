"""Files that are written on a simulated host, so that what was put there can be read again."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import SimHost

#: Stands in the script of `SshExecutor.put`, and in nothing else that is sent.
PUT = ".bootcfleet.XXXXXXXX"

_FOLDERS = frozenset({"/etc", "/etc/systemd", "/etc/systemd/system", "/var", "/var/lib", "/run"})
#: Who may write without root rights.
_OPEN = ("/tmp/", "/var/tmp/")  # noqa: S108 - of a simulated host


def put(host: SimHost, path: str, data: bytes, *, root: bool) -> Said:
    """Write a file as a whole, in a folder that is there."""
    folder = posixpath.dirname(path)
    if not (root or path.startswith(_OPEN)):
        return Said("", f"mktemp: failed to create file via template '{folder}/…'\n", 1)
    with host.lock:
        if not (is_folder(host, folder) or path.startswith(_OPEN)):
            return Said("", f"mktemp: {folder}: No such file or directory\n", 1)
        host.files[path] = data
    return Said()


def change(host: SimHost, verb: str, paths: Sequence[str], *, force: bool, root: bool) -> Said:
    """``mkdir -p``, ``rm`` and ``rmdir``.  A folder is a name that ends with a slash."""
    for path in paths:
        if not (root or path.startswith(_OPEN)):
            return Said("", f"{verb}: {path}: Permission denied\n", 1)
        with host.lock:
            folder = path.rstrip("/") + "/"
            if verb == "mkdir":
                host.files[folder] = b""
            elif verb == "rm" and host.files.pop(path, None) is None and not force:
                return Said("", f"rm: cannot remove '{path}': No such file or directory\n", 1)
            elif verb == "rmdir":
                if any(name.startswith(folder) and name != folder for name in host.files):
                    return Said("", f"rmdir: failed to remove '{path}': Directory not empty\n", 1)
                if host.files.pop(folder, None) is None:
                    return Said("", f"rmdir: failed to remove '{path}': No such file\n", 1)
    return Said()


def is_folder(host: SimHost, path: str) -> bool:
    """Whether a folder is there."""
    return path in _FOLDERS or f"{path}/" in host.files
