"""What a request's path asks for.  Whatever is not named here does not exist.

==============================  ==================================================
``/ks``                         the kickstart, by Anaconda's provisioning headers
``/ks/KEY[/TOKEN]``             the same by name, MAC address or serial number
``/installed[/TOKEN]``          a machine's `%post` calls back (POST)
``/ipxe``                       iPXE's first script: chains to the next
``/ipxe/MAC``                   iPXE's menu of a machine
``…/grub.cfg[-01-MAC]``         GRUB's menu, wherever GRUB was loaded from
``/boot/ARCH/PATH``             a file of the boot directory
``/host/NAME/boot/ARCH/PATH``   the same, and it is known who asks
==============================  ==================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from bootcfleet.domain.boothost import normal_mac

#: Longer paths are in no installation tree.
_LONGEST = 2048
_GRUB = re.compile(r"grub\.cfg(?:-(.+))?")


@dataclass(frozen=True)
class IndexRoute:
    """The page that says what this is."""


@dataclass(frozen=True)
class KickstartRoute:
    """A kickstart; without `key` by headers."""

    key: str | None
    token: str | None


@dataclass(frozen=True)
class InstalledRoute:
    """The callback of an installed machine; without `token` it is in a header."""

    token: str | None


@dataclass(frozen=True)
class IpxeRoute:
    """An iPXE script; without `mac` the one that chains on."""

    mac: str | None


@dataclass(frozen=True)
class GrubRoute:
    """GRUB's configuration; without `mac` the one for everybody."""

    mac: str | None


@dataclass(frozen=True)
class FileRoute:
    """A file of the boot directory of `arch`, for the machine `host` if the URL names one."""

    arch: str
    parts: tuple[str, ...]
    host: str | None = None


Route = IndexRoute | KickstartRoute | InstalledRoute | IpxeRoute | GrubRoute | FileRoute


def split_path(raw: str) -> tuple[str, ...] | None:
    """The decoded parts of a request's path; None for one that no honest client sends.

    Each part is decoded once.  A part that is ``..`` or has a slash, a backslash or
    a control character in it is refused, never repaired.
    """
    path = raw.partition("?")[0]
    if not path.startswith("/") or len(path) > _LONGEST:
        return None
    parts = []
    for piece in path.split("/"):
        try:
            part = unquote_to_bytes(piece).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if part in ("", "."):
            continue  # GRUB and iPXE write // where a prefix ends with a slash
        if part == ".." or set(part) & {"/", "\\"} or not part.isprintable():
            return None
        parts.append(part)
    return tuple(parts)


def route(parts: tuple[str, ...]) -> Route | None:
    """What the path's parts ask for; None for nothing that exists."""
    match parts:
        case ():
            return IndexRoute()
        case ("ks",):
            return KickstartRoute(None, None)
        case ("ks", key):
            return KickstartRoute(key, None)
        case ("ks", key, token):
            return KickstartRoute(key, token)
        case ("installed",):
            return InstalledRoute(None)
        case ("installed", token):
            return InstalledRoute(token)
        case ("ipxe",):
            return IpxeRoute(None)
        case ("ipxe", text):
            mac = normal_mac(text)
            return IpxeRoute(mac) if mac else None
    if found := _GRUB.fullmatch(parts[-1]):
        # Wherever GRUB was loaded from it looks there for its configuration; the tree's
        # own one would start the installer by hand.
        return _grub(found.group(1))
    match parts:
        case ("boot", arch, *rest) if rest:
            return FileRoute(arch, tuple(rest))
        case ("host", name, "boot", arch, *rest) if rest:
            return FileRoute(arch, tuple(rest), name)
    return None


def _grub(suffix: str | None) -> GrubRoute | None:
    if suffix is None:
        return GrubRoute(None)
    # grub.cfg-UUID and grub.cfg-C0A80001 are asked for as well: those are not there.
    mac = normal_mac(suffix)
    return GrubRoute(mac) if mac else None


def public_path(raw: str) -> str:
    """A path as it is logged: without the token, and without a query."""
    parts = split_path(raw)
    if parts is None:
        return ascii(raw.partition("?")[0][:200])
    secret = {"ks": 2, "installed": 1}.get(parts[0] if parts else "")
    if secret is not None and len(parts) > secret:
        parts = (*parts[:secret], "(token)")
    return "/" + "/".join(parts)
