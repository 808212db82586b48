"""What an image opens to the network: firewalld's zones with their services and ports.

Source: firewalld.zone(5), firewalld.service(5), firewalld.conf(5): a file in /etc replaces the
one of its name in /usr/lib.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from xml.etree import ElementTree

from bootcfleet.domain.imagetree import Tree

_BASES = ("etc/firewalld", "usr/lib/firewalld")
_CONF = "etc/firewalld/firewalld.conf"
_DEFAULT = re.compile(r"^\s*DefaultZone\s*=\s*(\S+)", re.MULTILINE)
Read = Callable[[str], bytes | None]


def is_firewall_file(path: str) -> bool:
    """Whether a file says what is open."""
    folder, name = posixpath.split(path)
    base, kind = posixpath.split(folder)
    known = base in _BASES and kind in {"zones", "services"} and name.endswith(".xml")
    return known or path == _CONF


def open_ports(tree: Tree, read: Read) -> dict[str, str]:
    """What each zone opens, as ``ZONE: SERVICE`` → its ports and ``ZONE: PORT/PROTOCOL`` → open."""
    found = {}
    conf = (read(_CONF) or b"").decode("utf-8", "replace")
    zones = _files(tree, "zones")
    if zones:
        default = _DEFAULT.search(conf)
        found["default zone"] = default[1] if default else "public"
    services = _files(tree, "services")
    for zone, path in zones.items():
        body = _parse(read(path))
        if body is None:
            found[zone] = "not readable"
            continue
        if target := body.get("target"):
            found[f"{zone}: target"] = target
        for element in body.findall("service"):
            name = element.get("name", "")
            definition = _parse(read(services[name])) if name in services else None
            ports = _ports(definition) if definition is not None else []
            found[f"{zone}: {name}"] = " ".join(ports) or "open"
        for port in _ports(body):
            found[f"{zone}: {port}"] = "open"
        if rules := len(body.findall("rule")):
            found[f"{zone}: rich rules"] = str(rules)
    return found


def _files(tree: Tree, kind: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for base in _BASES:
        folder = posixpath.join(base, kind)
        for name in tree.names(folder):
            if name.endswith(".xml"):
                files.setdefault(name.removesuffix(".xml"), posixpath.join(folder, name))
    return dict(sorted(files.items()))


def _parse(data: bytes | None) -> ElementTree.Element | None:
    # A declaration of entities is the one danger of XML, and no file of firewalld has one.
    if data is None or b"<!ENTITY" in data:
        return None
    try:
        return ElementTree.fromstring(data)  # noqa: S314 - see above
    except ElementTree.ParseError:
        return None


def _ports(element: ElementTree.Element) -> list[str]:
    return [
        f"{one.get('port')}/{one.get('protocol', 'tcp')}"
        for one in element.findall("port")
        if one.get("port")
    ]
