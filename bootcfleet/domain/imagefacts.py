"""What an image is to those who run it: packages, files, units, accounts, ports, arguments, labels.

Everything but packages and files is a name with a text, so that two images are compared in
one way.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.accounts import accounts, is_account_file
from bootcfleet.domain.firewall import is_firewall_file, open_ports
from bootcfleet.domain.imagetree import Entry, Tree
from bootcfleet.domain.package import Package
from bootcfleet.domain.unitfiles import is_unit, unit_states

#: Where bootc reads the kernel arguments of an image (bootc-kargs(8)).
KARGS = "usr/lib/bootc/kargs.d"
#: Where an RPM database may be, the likeliest first; the others link to it.
RPM_DATABASES = ("usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm")
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
#: Contents that ostree keeps once more under their names in the tree.
_HIDDEN = "sysroot/ostree/"
_SMALL = 1024 * 1024
_DATABASE = re.compile(rf"(?:{'|'.join(RPM_DATABASES)})/rpmdb\.sqlite(?:-wal)?")
_LARGE = 1024 * 1024 * 1024


def wanted_size(path: str) -> int:
    """How large (bytes) a file may be for its content to be kept; 0 for most."""
    if _DATABASE.fullmatch(path):
        return _LARGE
    known = (
        path in OS_RELEASE
        or is_unit(path)
        or is_account_file(path)
        or is_firewall_file(path)
        or _is_kargs(path)
    )
    return _SMALL if known else 0


def _is_kargs(path: str) -> bool:
    return posixpath.dirname(path) == KARGS and path.endswith(".toml")


@dataclass(frozen=True)
class ImageFacts:
    """One image.  `owners` names the package of a file (by real path), as far as one owns it."""

    packages: tuple[Package, ...]
    files: Mapping[str, Entry]
    owners: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=dict)
    kargs: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def image_facts(
    tree: Tree,
    config: bytes,
    read: Callable[[str], bytes | None],
    packages: tuple[Package, ...],
    owners: Mapping[str, str],
) -> ImageFacts:
    """The facts of a tree; `read` gives the content of a kept file."""
    body = _settings(config)
    users, groups = accounts(tree, read)
    ports = open_ports(tree, read)
    ports |= {f"EXPOSE {port}": "declared" for port in _object(body.get("ExposedPorts"))}
    labels = _object(body.get("Labels"))
    return ImageFacts(
        packages,
        {path: one for path, one in tree.entries.items() if not path.startswith(_HIDDEN)},
        {tree.real(path): name for path, name in owners.items()},
        unit_states(tree, read),
        users,
        groups,
        ports,
        kernel_arguments(tree, read),
        {str(key): str(value) for key, value in labels.items()},
    )


def kernel_arguments(tree: Tree, read: Callable[[str], bytes | None]) -> dict[str, str]:
    """The kernel arguments of kargs.d, each with the files that it comes from."""
    found: dict[str, list[str]] = {}
    for name in tree.names(KARGS):
        if not name.endswith(".toml"):
            continue
        try:
            body = tomllib.loads((read(f"{KARGS}/{name}") or b"").decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
            found.setdefault(f"({name} is not readable)", []).append(name)
            continue
        machines = _list(body.get("match-architectures"))
        where = f"{name} ({', '.join(map(str, machines))})" if machines else name
        for argument in _list(body.get("kargs")):
            found.setdefault(str(argument), []).append(where)
    return {argument: ", ".join(places) for argument, places in found.items()}


def _settings(config: bytes) -> Mapping[str, Any]:
    try:
        return _object(_object(json.loads(config)).get("config"))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
