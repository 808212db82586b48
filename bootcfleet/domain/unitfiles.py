"""Which systemd units an image has, and whether each starts, as ``systemctl is-enabled`` says it.

Source: systemd.unit(5) (unit load path, [Install]), systemctl(1) (is-enabled). Links for units
in ``/usr/lib`` are the vendor's and make no unit "enabled"; the tests ask the real systemctl.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

from bootcfleet.domain.imagetree import Kind, Tree

#: Where units lie, the first deciding (what exists at build time alone).
FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system")
_SUFFIXES = ("service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice")
_UNIT = re.compile(rf"[A-Za-z0-9:_.\\@-]+\.(?:{'|'.join(_SUFFIXES)})")
_INSTALL = re.compile(r"^\[Install\]\s*$", re.MULTILINE)
_WANTING = re.compile(
    r"^(?:WantedBy|RequiredBy|UpheldBy|Alias|Also|DefaultInstance)\s*=", re.MULTILINE
)
_ALSO_ALONE = re.compile(r"^(?:WantedBy|RequiredBy|UpheldBy|Alias)\s*=", re.MULTILINE)


def is_unit(path: str) -> bool:
    """Whether a path is that of a unit file or a link in its place."""
    folder, name = posixpath.split(path)
    return folder in FOLDERS and _UNIT.fullmatch(name) is not None


def unit_states(tree: Tree, read: Callable[[str], bytes | None]) -> dict[str, str]:
    """Every unit with its state: enabled, disabled, static, masked, alias, indirect, linked."""
    wanted = _wanted(tree)
    states = {}
    for folder in reversed(FOLDERS):
        for name in tree.names(folder):
            if is_unit(posixpath.join(folder, name)):
                states[name] = _state(tree, read, folder, name, wanted)
    return states


def _wanted(tree: Tree) -> set[str]:
    """The units that links of the administrator want, and the templates of instances."""
    found = set()
    for name in tree.names(FOLDERS[0]):
        path = posixpath.join(FOLDERS[0], name)
        if name.endswith((".wants", ".requires", ".upholds")):
            links = tree.names(path)
        else:
            entry = tree.get(path)
            linked = entry is not None and entry.kind is Kind.SYMLINK
            # An alias: the link's name is the other name, its target the unit.
            links = (posixpath.basename(entry.link),) if entry and linked else ()
            links = tuple(one for one in links if one != name)
        for link in links:
            found.add(link)
            found.add(re.sub(r"@[^@]*\.", "@.", link))
    return found


def _state(
    tree: Tree, read: Callable[[str], bytes | None], folder: str, name: str, wanted: set[str]
) -> str:
    path = posixpath.join(folder, name)
    entry = tree.get(path)
    if entry is None:
        return "unknown"
    if entry.kind is Kind.SYMLINK:
        if entry.link == "/dev/null":
            return "masked"
        if folder == FOLDERS[0] and posixpath.basename(entry.link) == name:
            return "enabled" if name in wanted else "linked"
        return "alias"
    if entry.kind is Kind.FILE and entry.size == 0:
        return "masked"
    if name in wanted:
        return "enabled"
    text = (read(path) or b"").decode("utf-8", "replace")
    install = _INSTALL.search(text)
    if install is None or not _WANTING.search(text, install.end()):
        return "static"
    return "disabled" if _ALSO_ALONE.search(text, install.end()) else "indirect"
