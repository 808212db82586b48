"""What an installed machine says in its callback: a line for its name, and its SSH host keys.

The body is text, one thing a line, so that a shell can write it::

    hostname web1
    mac 52:54:00:12:34:56
    ssh-ed25519 AAAAC3Nza… root@web1
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from bootcfleet.domain.boothost import clean_serial, normal_mac
from bootcfleet.domain.inventory import host_name_problem

#: A machine has four keys of some hundred bytes.
MAX_BODY = 64 * 1024
_MAX_KEYS = 16
#: What sshd's host keys can be (sshd_config(5), HostKeyAlgorithms); DSA is gone from OpenSSH.
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Callback:
    """What the machine says: keys as ``TYPE BASE64``."""

    hostname: str | None = None
    macs: tuple[str, ...] = ()
    serial: str | None = None
    keys: tuple[str, ...] = ()


def parse_callback(body: bytes) -> Callback:
    """Read a callback.  Raises `ValueError` for a line that is none of it."""
    hostname = serial = None
    macs: list[str] = []
    keys: list[str] = []
    for number, line in enumerate(body.decode("utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if words[0] == "hostname" and len(words) == 2:
            hostname = words[1]
            if problem := host_name_problem(hostname):
                raise ValueError(f"line {number}: {problem}")
        elif words[0] == "serial":
            serial = clean_serial(" ".join(words[1:]))
        elif words[0] == "mac" and len(words) == 2 and (mac := normal_mac(words[1])):
            macs.append(mac)
        elif words[0] in KEY_TYPES and len(words) >= 2:
            keys.append(_key(words[0], words[1], number))
        else:
            raise ValueError(f"line {number} is no host name, MAC address or SSH host key")
    if len(keys) > _MAX_KEYS:
        raise ValueError(f"more than {_MAX_KEYS} host keys")
    return Callback(hostname, tuple(dict.fromkeys(macs)), serial, tuple(dict.fromkeys(keys)))


def _key(kind: str, text: str, number: int) -> str:
    problem = f"line {number} is no {kind} key"
    if not _BASE64.fullmatch(text):
        raise ValueError(problem)
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(problem) from error
    # A key names its own type (RFC 4253, 6.6), and has a body after it.
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != kind.encode() or len(blob) < 4 + length + 32:
        raise ValueError(problem)
    return f"{kind} {text}"
