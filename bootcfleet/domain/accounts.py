"""The users and groups that an image brings: passwd and group files, and sysusers.d.

Source: passwd(5), group(5), sysusers.d(5); ``/usr/lib/passwd`` is nss-altfiles', which ostree
systems have.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Iterator

from bootcfleet.domain.imagetree import Tree

_PASSWD = ("etc/passwd", "usr/lib/passwd")
_GROUP = ("etc/group", "usr/lib/group")
_SYSUSERS = ("etc/sysusers.d", "usr/lib/sysusers.d")
Read = Callable[[str], bytes | None]


def is_account_file(path: str) -> bool:
    """Whether a file says something about users or groups."""
    folder, name = posixpath.split(path)
    return path in _PASSWD + _GROUP or (folder in _SYSUSERS and name.endswith(".conf"))


def accounts(tree: Tree, read: Read) -> tuple[dict[str, str], dict[str, str]]:
    """Users and groups by name, each with what identifies it; never a password."""
    users: dict[str, str] = {}
    groups: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    for path in _PASSWD:
        for fields in _table(read(path), 7):
            name, _, uid, gid, _, home, shell = fields[:7]
            users.setdefault(name, f"uid {uid}, gid {gid}, home {home}, shell {shell}")
    for path in _GROUP:
        for fields in _table(read(path), 4):
            groups.setdefault(fields[0], f"gid {fields[2]}")
            members.setdefault(fields[0], set()).update(one for one in fields[3].split(",") if one)
    for kind, name, number, home, shell in _sysusers(tree, read):
        if kind == "m":
            members.setdefault(number, set()).add(name)
        elif kind == "g":
            groups.setdefault(name, f"gid {number}")
        else:
            uid, _, gid = number.partition(":")
            gid = gid or uid
            users.setdefault(name, f"uid {uid}, gid {gid}, home {home}, shell {shell}")
            groups.setdefault(name, f"gid {gid}")
    for name, people in members.items():
        if people:
            groups[name] = f"{groups.get(name, 'gid automatic')}: {', '.join(sorted(people))}"
    return users, groups


def _table(data: bytes | None, columns: int) -> Iterator[list[str]]:
    for line in (data or b"").decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) >= columns and not line.startswith(("#", "+", "-")):
            yield fields


def _sysusers(tree: Tree, read: Read) -> Iterator[tuple[str, str, str, str, str]]:
    """The lines of sysusers.d: type, name, id (or group), home, shell."""
    files: dict[str, str] = {}
    for folder in _SYSUSERS:  # a file in /etc replaces the one of its name
        for name in tree.names(folder):
            files.setdefault(name, posixpath.join(folder, name))
    for _, path in sorted(files.items()):
        for line in (read(path) or b"").decode("utf-8", "replace").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                continue
            if len(words) < 2 or words[0].rstrip("!") not in {"u", "g", "m"}:
                continue
            words += ["-"] * (6 - len(words))
            kind, name, number, _, home, shell = words[:6]
            shown = "automatic" if number == "-" or number.startswith("/") else number
            default = "/sbin/nologin" if kind.startswith("u") and shell == "-" else shell
            yield kind.rstrip("!"), name, shown, "/" if home == "-" else home, default
