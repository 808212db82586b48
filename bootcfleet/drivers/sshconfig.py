"""``~/.ssh/config`` as admins write it, with Include, and what an inventory lays over it.

Source: ssh_config(5).  paramiko reads the file but not its Include lines, so
these are put in place first.
"""

from __future__ import annotations

import getpass
import glob
import re
from dataclasses import dataclass
from pathlib import Path

import paramiko

from bootcfleet.domain.inventory import Connection
from bootcfleet.errors import ConfigError

#: ssh's own limit (READCONF_MAX_DEPTH).
_MAX_DEPTH = 16


@dataclass(frozen=True)
class Target:
    """Where and as whom to connect, once configuration and inventory are joined.

    `alias` is the name under which host keys are looked up.  `jumps` are the
    hosts to go through, first hop first.  `identities` are key files to try;
    `only_identities` leaves the agent's other keys out.
    """

    address: str
    port: int
    user: str
    alias: str
    identities: tuple[str, ...]
    certificates: tuple[str, ...]
    only_identities: bool
    jumps: tuple[str, ...]
    proxy_command: str | None
    known_hosts: tuple[str, ...]
    connect_timeout: float
    keepalive: int


def read_config(path: Path, *, required: bool = False) -> paramiko.SSHConfig:
    """Read a configuration file with everything that it includes.

    Raises `ConfigError` when it cannot be parsed, or is `required` and not there.
    """
    try:
        return paramiko.SSHConfig.from_text("\n".join(_expand(path, 0, required)))
    except paramiko.ConfigParseError as error:
        raise ConfigError(f"is not a valid ssh configuration: {error}", file=str(path)) from error


def _expand(path: Path, depth: int, required: bool) -> list[str]:
    if depth > _MAX_DEPTH:
        raise ConfigError("includes itself, or too many files in a row", file=str(path))
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if required:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
        return []
    lines: list[str] = []
    block = "Host *"
    for line in text.splitlines():
        word = re.match(r"\s*(\w+)", line)
        keyword = word.group(1).lower() if word else ""
        if keyword in {"host", "match"}:
            block = line.strip()
        if keyword != "include":
            lines.append(line)
            continue
        for pattern in re.split(r"[\s=]+", line.strip())[1:]:
            for name in _included(pattern.strip('"')):
                lines += _expand(name, depth + 1, required=False)
                # What follows belongs to the block that the Include stood in, not to the last
                # Host of the included file.
                lines.append(block)
    return lines


def _included(pattern: str) -> list[Path]:
    """Files of an Include: relative ones stand in ~/.ssh."""
    path = Path(pattern).expanduser()
    if not path.is_absolute():
        path = Path.home() / ".ssh" / path
    return [Path(name) for name in sorted(glob.glob(str(path)))]  # noqa: PTH207 - ssh uses glob(3)


def join(name: str, connection: Connection, config: paramiko.SSHConfig) -> Target:
    """What the inventory says of a host, over what ssh's configuration says of it.

    Raises `ConfigError` for values that cannot be used.
    """
    asked = connection.address or name
    found = config.lookup(asked)

    def number(key: str, default: float) -> float:
        try:
            return float(found.get(key, default))
        except ValueError as error:
            raise ConfigError(f"{key} {found[key]!r} of {asked} is not a number") from error

    identities = tuple(found.get("identityfile", ()))
    only = found.get("identitiesonly", "no").lower() == "yes"
    if connection.identity_file:
        identities, only = (connection.identity_file,), True
    jump = connection.proxy_jump or found.get("proxyjump", "none")
    proxy = found.get("proxycommand", "none")
    files = (
        (connection.known_hosts,)
        if connection.known_hosts
        else tuple(found.get("userknownhostsfile", "~/.ssh/known_hosts").split())
        + tuple(found.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split())
    )
    address = found.get("hostname", asked)
    return Target(
        address=address,
        port=connection.port or int(number("port", 22)),
        user=connection.user or found.get("user") or getpass.getuser(),
        alias=found.get("hostkeyalias") or (address if connection.address else asked),
        identities=identities,
        certificates=tuple(found.get("certificatefile", ())),
        only_identities=only,
        jumps=() if jump.lower() == "none" else tuple(j.strip() for j in jump.split(",")),
        proxy_command=None if proxy.lower() == "none" or connection.proxy_jump else proxy,
        known_hosts=files,
        connect_timeout=connection.connect_timeout or number("connecttimeout", 15),
        keepalive=int(number("serveraliveinterval", 15)),
    )
