"""Where and as whom to connect: an inventory's settings laid over ssh's configuration."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.knownhosts import lookup_name
from bootcfleet.drivers.sshconfig import Options, SshConfig, expand, local_user, tokens
from bootcfleet.errors import ConfigError

_USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_CONNECT_TIMEOUT = 15.0
_KEEPALIVE = 15


@dataclass(frozen=True)
class Jump:
    """A host to go through, as it was written: ``[user@]host[:port]``."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        text = f"{self.user}@{host}" if self.user else host
        return f"{text}:{self.port}" if self.port else text


@dataclass(frozen=True)
class Target:
    """Everything that is needed to connect to one host.

    `asked` is the name that was looked up in ssh's configuration, `known_as` the
    names under which host keys are looked up: the one to write, then one to fall
    back on.  `certified_as` is the name that a host certificate must be for.
    `identities` are key files in order; `only_identities` leaves other keys
    out.  `named_key` and `named_known_hosts` say that the inventory names them.
    `agent` is the agent's socket.  `jumps` are the hosts to go through, first hop
    first.  Seconds for both times; `keepalive_count` answers may stay out.
    """

    asked: str
    address: str
    port: int
    user: str
    known_as: tuple[str, ...]
    certified_as: str
    known_hosts: tuple[str, ...]
    named_known_hosts: bool
    identities: tuple[str, ...]
    certificates: tuple[str, ...]
    only_identities: bool
    named_key: bool
    agent: str | None
    jumps: tuple[Jump, ...]
    proxy_command: str | None
    connect_timeout: float
    keepalive: int
    keepalive_count: int

    def ssh_command(self, *options: str) -> str:
        """The ssh command line that goes where this goes, for hints."""
        words = ["ssh", *options]
        if self.named_known_hosts:
            words += ["-o", f"UserKnownHostsFile={self.known_hosts[0]}"]
        if self.jumps:
            words += ["-J", ",".join(map(str, self.jumps))]
        if self.port != 22:
            words += ["-p", str(self.port)]
        for identity in self.identities if self.named_key else ():
            words += ["-i", identity]
        return shlex.join([*words, f"{self.user}@{self.address}"])


def parse_jump(text: str) -> Jump:
    """Read ``[user@]host[:port]`` or ``ssh://[user@]host[:port]``.  Raises `ConfigError`."""
    match = re.fullmatch(
        r"(?:ssh://)?(?:([^@/\s]+)@)?(\[[0-9A-Fa-f:.%a-z]+\]|[^\[\]:@/\s-][^\[\]:@/\s]*)(?::(\d{1,5}))?/?",
        text.strip(),
    )
    if match is None or int(match.group(3) or 22) > 65535:
        raise ConfigError(
            f"the jump host {text!r} cannot be read", hint="write it as [user@]host[:port]"
        )
    user, host, port = match.groups()
    return Jump(host.strip("[]"), user, int(port) if port else None)


def parse_jumps(text: str | None) -> tuple[Jump, ...]:
    """A list of jumps as in ``ProxyJump``; ``none`` and None are no jump.  Raises `ConfigError`."""
    if text is None or text.strip().lower() == "none":
        return ()
    return tuple(parse_jump(part) for part in text.split(","))


def join(
    name: str,
    connection: Connection,
    config: SshConfig,
    *,
    execute: Callable[[str], bool] = lambda _command: False,
) -> Target:
    """What the inventory says of a host, over what ssh's configuration says of it.

    The configuration is asked for the inventory's `address` where it has one,
    else for the host's name: what `ssh` would be given.  Raises `ConfigError`
    for values that cannot be used.
    """
    asked = connection.address or name
    given = {"user": connection.user, "port": connection.port and str(connection.port)}
    options = config.lookup(asked, {k: v for k, v in given.items() if v}, execute=execute)
    port = int(options.number("port", 22))
    if not 0 < port < 65536:
        raise ConfigError(f"the port {port} of {asked} is not between 1 and 65535")
    known = tokens(asked, options)
    address = known["h"]
    alias = options.first("hostkeyalias")
    jumps, proxy = _way(connection, options, asked, address)
    identities = _paths(options.all("identityfile"), known)
    if connection.identity_file:
        identities = (str(Path(connection.identity_file).expanduser()),)
    return Target(
        asked=asked,
        address=address,
        port=port,
        user=options.first("user") or local_user(),
        known_as=(alias.lower(),) if alias else _names(address, port),
        certified_as=(alias or address).lower(),
        known_hosts=_known_hosts(connection, options, known),
        named_known_hosts=bool(connection.known_hosts),
        identities=identities,
        certificates=_paths(options.all("certificatefile"), known),
        only_identities=bool(connection.identity_file) or options.flag("identitiesonly"),
        named_key=bool(connection.identity_file),
        agent=_agent(options.first("identityagent"), known),
        jumps=jumps,
        proxy_command=expand(proxy, known) if proxy else None,
        connect_timeout=connection.connect_timeout
        or options.number("connecttimeout", _CONNECT_TIMEOUT),
        keepalive=int(options.number("serveraliveinterval", _KEEPALIVE)),
        keepalive_count=int(options.number("serveralivecountmax", 3)) or 3,
    )


def _names(address: str, port: int) -> tuple[str, ...]:
    """ssh takes a key that is written without the port as well, if it is the right one."""
    return tuple(dict.fromkeys((lookup_name(address, port), address.lower())))


def _way(
    connection: Connection, options: Options, asked: str, address: str
) -> tuple[tuple[Jump, ...], str | None]:
    """The jump hosts, or the command to go through.

    Of ProxyJump and ProxyCommand the one that is found first counts, also when
    it says none (ssh_config(5)); options are kept in the order of finding.
    """
    if connection.proxy_jump:
        return parse_jumps(connection.proxy_jump), None
    for keyword in options.found:
        if keyword == "proxycommand":
            command = options.first(keyword) or "none"
            return (), None if command.lower() == "none" else command
        if keyword == "proxyjump":
            jumps = parse_jumps(options.first(keyword))
            # `Host *` with ProxyJump also takes the jump host: not reached through itself.
            return () if jumps and jumps[-1].host in {asked, address} else jumps, None
    return (), None


def _known_hosts(
    connection: Connection, options: Options, known: dict[str, str]
) -> tuple[str, ...]:
    if connection.known_hosts:
        return (str(Path(connection.known_hosts).expanduser()),)
    user = options.all("userknownhostsfile") or _USER_KNOWN_HOSTS
    everybody = options.all("globalknownhostsfile") or _GLOBAL_KNOWN_HOSTS
    return _paths((*user, *everybody), known)


def _paths(values: tuple[str, ...], known: dict[str, str]) -> tuple[str, ...]:
    """Values that are paths, with home, environment and tokens in place; ``none`` is none."""
    return tuple(_path(value, known) for value in values if value.lower() != "none")


def _path(value: str, known: dict[str, str]) -> str:
    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match.group(1))
        if found is None:
            raise ConfigError(f"${{{match.group(1)}}} in {value!r} is not set")
        return found

    text = re.sub(r"\$\{(\w+)\}", variable, expand(value, known))
    return str(Path(text).expanduser())


def _agent(named: str | None, known: dict[str, str]) -> str | None:
    """The agent's socket (ssh_config(5), IdentityAgent).

    ``none`` switches it off; a name with $ before it is a variable's.
    """
    if named is None or named == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if named.lower() == "none":
        return None
    if named.startswith("$") and not named.startswith("${"):
        return os.environ.get(named[1:]) or None
    return _path(named, known)
