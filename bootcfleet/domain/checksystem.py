"""Reads what the probe brings: sysusers.d, /proc/net, kargs.d, repository files."""

from __future__ import annotations

import configparser
import ipaddress
import re
import shlex
import tomllib
from collections.abc import Iterable
from typing import NamedTuple

from bootcfleet.domain.checkfacts import Answer


class Problem(NamedTuple):
    """One difference, in words."""

    expected: str
    found: str


#: States of a socket in /proc/net: a listening TCP socket, an unconnected UDP one.
_LISTENING = {"tcp": "0A", "udp": "07"}
_SOCKET = re.compile(
    r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2})\b"
)
_TRUE = frozenset({"1", "yes", "true", "on", "enabled"})


def declared(files: Iterable[bytes], kind: str) -> frozenset[str]:
    """The users (`kind` u) or groups (g) that sysusers.d(5) files declare.

    A user's line makes its group, too, unless it names another one.
    """
    found = set()
    for data in files:
        for line in data.decode("utf-8", "backslashreplace").splitlines():
            words = _words(line)
            if len(words) < 2:
                continue
            what = words[0].rstrip("!+-=~^$")
            if what == kind or (kind == "g" and what == "u"):
                found.add(words[1])
            elif what == "m" and len(words) > 2:
                # "m" makes what is not there yet, both the user and the group.
                found.add(words[1] if kind == "u" else words[2])
    return frozenset(found)


def _words(line: str) -> list[str]:
    if line.lstrip().startswith("#"):
        return []
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def listeners(answer: Answer, protocol: str, port: int) -> tuple[str, ...]:
    """The addresses on which something listens at a port, from /proc/net/PROTOCOL{,6}."""
    found = []
    for key in (protocol, f"{protocol}6"):
        for line in (answer.text(key) or "").splitlines():
            match = _SOCKET.match(line)
            if match and match[3] == _LISTENING[protocol] and int(match[2], 16) == port:
                found.append(_address(match[1]))
    return tuple(dict.fromkeys(found))


def _address(text: str) -> str:
    """An address of /proc/net: words of four bytes, each in the byte order of the machine.

    All machines that bootc runs on but s390x are little-endian.
    """
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def command_line(text: str) -> list[str]:
    """The arguments of /proc/cmdline; space in double quotes does not end one."""
    return re.findall(r'(?:"[^"]*"|[^\s"])+', text)


def kernel_arguments(answer: Answer) -> tuple[list[str], str]:
    """The arguments of all kargs.d files for this machine, and what is wrong with a file."""
    machine = answer.text("machine") or ""
    found: list[str] = []
    for data in answer.all("toml"):
        try:
            body = tomllib.loads(data.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            return [], str(error)
        arguments, architectures = body.get("kargs", []), body.get("match-architectures", [machine])
        if not isinstance(arguments, list) or not isinstance(architectures, list):
            return [], "kargs and match-architectures must be lists"
        if machine in architectures:
            found += [str(one) for one in arguments]
    return found, ""


def repositories(answer: Answer) -> tuple[dict[str, bool], str]:
    """Every repository and whether it is enabled (dnf.conf(5): it is where nothing is said)."""
    found: dict[str, bool] = {}
    for data in answer.all("repo"):
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        try:
            parser.read_string(data.decode("utf-8", "backslashreplace"))
        except configparser.Error as error:
            return {}, str(error).splitlines()[0]
        for name in parser.sections():
            value = parser.get(name, "enabled", fallback="1")
            found[name] = (value or "").strip().lower() in _TRUE
    return found, ""
