"""Rules about files, directories, sshd, Ignition and the boot loader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bootcfleet.domain.disklint.model import At, DiskRules, Subject, text
from bootcfleet.domain.disklint.storage import clean
from bootcfleet.domain.disktype import DiskType
from bootcfleet.domain.document import Path
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

_MODE = re.compile(r"0?[0-7]{3}")
_FILE_FOLDERS = ("/etc", "/root", "/usr/local/bin", "/usr/local/sbin")
_FILES_DENIED = ("/etc/fstab", "/etc/shadow", "/etc/passwd", "/etc/group")
_SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|AKIA[0-9A-Z]{16}|"
    r"(?i:password|passwd|secret|token)\s*[=:]\s*[\"']?[^\s\"'$<{]{6,}"
)


def _nodes(subject: Subject) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    for kind in ("files", "directories"):
        for path, one in subject.tables(kind):
            yield kind, path, one


def _read(subject: Subject) -> bool:
    """Whether a type is made that has files and directories at all."""
    return bool(subject.disks) or DiskType.PXE_TAR_XZ in subject.types


@RULES.add(
    "DSK501",
    Severity.ERROR,
    "path that the builder refuses",
    reason="files may be in /etc (but not fstab, shadow, passwd and group), /root, "
    "/usr/local/bin and /usr/local/sbin; directories only in /etc; the rest is the image's",
    source="osbuild OstreeCustomFilesPolicies, OstreeCustomDirectoriesPolicies",
    remedy="put it into the image's Containerfile",
)
def path_policy(subject: Subject) -> Iterable[At]:
    """Files and directories outside of the policy."""
    if not _read(subject):
        return
    for kind, path, one in _nodes(subject):
        name = text(one, "path")
        if not name.startswith("/") or name != clean(name):
            continue
        if kind == "directories":
            if not _below(name, "/etc"):
                yield At((*path, "path"), f"{name}: directories can only be in /etc")
        elif any(_below(name, denied) for denied in _FILES_DENIED):
            yield At((*path, "path"), f"{name} cannot be replaced")
        elif not any(_below(name, folder) for folder in _FILE_FOLDERS):
            message = f"{name}: files can only be in /etc, /root, /usr/local/bin and sbin"
            yield At((*path, "path"), message)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


@RULES.add(
    "DSK502",
    Severity.ERROR,
    "path that is no plain path",
    reason="a path begins with / and has no //, /./, /../ or / at its end",
    source='osbuild fsnode: "path must be absolute", "must be canonical"',
    remedy="write the plain path",
)
def plain_path(subject: Subject) -> Iterable[At]:
    """Relative paths, and those that are not canonical."""
    for _, path, one in _nodes(subject):
        name = one.get("path")
        if not isinstance(name, str):
            continue
        if not name.startswith("/"):
            yield At((*path, "path"), f"{name!r} is not absolute")
        elif name != clean(name):
            yield At((*path, "path"), f"{name!r} is not canonical", remedy=f"write {clean(name)!r}")


@RULES.add(
    "DSK503",
    Severity.ERROR,
    "mode that cannot be read",
    reason="a mode is text of three octal digits, with or without a 0 before them; setuid, "
    "setgid and sticky bits cannot be had",
    source='osbuild/blueprint: "must be an octal number", ^0?[0-7]{3}$',
    remedy="write it as '0644'",
)
def mode(subject: Subject) -> Iterable[At]:
    """Modes that are not three octal digits."""
    for _, path, one in _nodes(subject):
        value = one.get("mode")
        if isinstance(value, str) and value and not _MODE.fullmatch(value):
            yield At((*path, "mode"), f"{value!r} is not a mode")


@RULES.add(
    "DSK504",
    Severity.ERROR,
    "path that stands twice",
    reason="it can be made only once, and a file cannot be a directory too",
    source='osbuild/blueprint ValidateDirFileCustomizations: "duplicate files / directories"',
    remedy="remove one",
)
def same_path(subject: Subject) -> Iterable[At]:
    """The same path twice, and files that others are inside of."""
    seen: dict[str, str] = {}
    for kind, path, one in _nodes(subject):
        name = text(one, "path")
        if name and name in seen:
            yield At((*path, "path"), f"{name} is there already, in {seen[name]}")
        seen.setdefault(name, kind)
    files = [name for name, kind in seen.items() if kind == "files" and name]
    for _, path, one in _nodes(subject):
        name = text(one, "path")
        for file in files:
            if name.startswith(f"{file}/"):
                yield At((*path, "path"), f"{file} is a file, and {name} would be inside of it")


@RULES.add(
    "DSK505",
    Severity.WARNING,
    "secret in a file",
    reason="it is readable in this file, in the builder's manifest and on every disk",
    source="osbuild puts data into the manifest, beside the disk",
    remedy="deliver it at the first boot (systemd credentials, Ignition), or through a kickstart",
)
def secret(subject: Subject) -> Iterable[At]:
    """Private keys and passwords in files.  They are never repeated."""
    for path, one in subject.tables("files"):
        if _SECRET.search(text(one, "data")):
            yield At((*path, "data"), "looks like a secret")


@RULES.add(
    "DSK506",
    Severity.ERROR,
    "Ignition with a URL and without a configuration",
    reason="empty says that there is no configuration, and url where it is",
    source='osbuild/blueprint: "ignition.firstboot.url is mutually exclusive with '
    'ignition.firstboot.empty"',
    remedy="keep one",
)
def ignition(subject: Subject) -> Iterable[At]:
    """Ignition's `url` beside `empty`, or neither."""
    table = subject.table("ignition", "firstboot")
    if not subject.has("ignition", "firstboot"):
        return
    if table.get("empty") is True and text(table, "url"):
        yield At(("ignition", "firstboot"), "url and empty exclude each other")
    elif not text(table, "url") and table.get("empty") is not True:
        yield At(("ignition", "firstboot"), "needs url, or empty = true")


@RULES.add(
    "DSK507",
    Severity.WARNING,
    "sshd that lets root in with a password",
    reason="root's password is guessed at first, on every machine that the internet sees",
    source="sshd_config(5), PermitRootLogin",
    remedy='write permit_root_login = "prohibit-password", and use keys',
)
def root_login(subject: Subject) -> Iterable[At]:
    """Root logins with passwords."""
    table = subject.table("sshd")
    keys_only = table.get("password_authentication") is False
    if table.get("permit_root_login") in (True, "yes") and not keys_only:
        yield At(("sshd", "permit_root_login"), "root may log in with a password")


@RULES.add(
    "DSK508",
    Severity.ERROR,
    "value of permit_root_login that sshd does not have",
    reason="sshd refuses to start with it, so that nobody can log in",
    source="sshd_config(5), PermitRootLogin",
    remedy="write true, false, prohibit-password or forced-commands-only",
)
def root_login_value(subject: Subject) -> Iterable[At]:
    """Words that sshd does not know."""
    value = subject.table("sshd").get("permit_root_login")
    known = ("yes", "no", "prohibit-password", "without-password", "forced-commands-only")
    if isinstance(value, str) and value not in known:
        yield At(("sshd", "permit_root_login"), f"{value!r} is nothing that sshd knows")
