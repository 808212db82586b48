"""known_hosts files, parsed once and looked up by name.

Source: sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT: plain, ``[host]:port``,
wildcard, negated and hashed names; markers ``@revoked`` and ``@cert-authority``.
Loading the file again for every connection costs a hundred times the connection
itself (field note *SSH fan-out*).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bootcfleet.drivers.sshconfig import matches_any


class Marker(StrEnum):
    """What a line says of its key."""

    NONE = ""
    REVOKED = "@revoked"
    AUTHORITY = "@cert-authority"


@dataclass(frozen=True)
class KnownKey:
    """One key of one line: where it stands (1-based), its type and its bytes."""

    file: str
    line: int
    key_type: str
    key: bytes
    marker: Marker = Marker.NONE

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


def fingerprint(key: bytes) -> str:
    """``SHA256:…`` as ssh-keygen prints it."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def lookup_name(host: str, port: int) -> str:
    """How a host stands in the file: the port is written when it is not 22."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


class KnownHosts:
    """The keys of one or more files.  May be used from many threads."""

    def __init__(self) -> None:
        self._plain: dict[str, list[tuple[int, KnownKey]]] = {}
        self._hashed: list[tuple[bytes, bytes, int, KnownKey]] = []
        self._patterns: list[tuple[tuple[str, ...], int, KnownKey]] = []
        self._found: dict[str, tuple[KnownKey, ...]] = {}
        self._count = 0
        self._lock = threading.Lock()

    @classmethod
    def load(cls, paths: Sequence[Path]) -> KnownHosts:
        """Read the files that exist; lines that cannot be read are passed over, as ssh does."""
        known = cls()
        for path in paths:
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            known.parse(text, str(path))
        return known

    def parse(self, text: str, file: str) -> None:
        """Take in the lines of a file."""
        for number, line in enumerate(text.split("\n"), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            marker = Marker.NONE
            if words[0].startswith("@"):
                try:
                    marker = Marker(words.pop(0))
                except ValueError:
                    continue
            if len(words) < 3:
                continue
            key = _decode(words[2])
            if key is not None and _type_of(key) == words[1]:
                self._add(words[0], KnownKey(file, number, words[1], key, marker))

    def _add(self, names: str, key: KnownKey) -> None:
        self._count += 1
        if names.startswith("|"):
            parts = names.split("|")
            salt, digest = (_decode(part) for part in [*parts, "", ""][2:4])
            if len(parts) == 4 and parts[1] == "1" and salt and digest:
                self._hashed.append((salt, digest, self._count, key))
            return
        listed = names.lower().split(",")
        if any(set(name) & set("*?!") for name in listed):
            self._patterns.append((tuple(listed), self._count, key))
            return
        for name in dict.fromkeys(listed):
            self._plain.setdefault(name, []).append((self._count, key))

    def find(self, name: str) -> tuple[KnownKey, ...]:
        """The keys of a name (``host`` or ``[host]:port``), in the order of the files.

        Revoked keys and certificate authorities are among them.
        """
        wanted = name.lower()
        with self._lock:
            if wanted not in self._found:
                found = sorted(self._look(wanted), key=lambda item: item[0])
                self._found[wanted] = tuple(key for _, key in found)
            return self._found[wanted]

    def _look(self, name: str) -> Iterable[tuple[int, KnownKey]]:
        yield from self._plain.get(name, ())
        encoded = name.encode()
        for salt, digest, order, key in self._hashed:
            if hmac.digest(salt, encoded, "sha1") == digest:
                yield order, key
        for patterns, order, key in self._patterns:
            if matches_any(name, patterns):
                yield order, key


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _type_of(key: bytes) -> str:
    """The type that a key names itself: a string with its length before it (RFC 4253, 6.6)."""
    length = int.from_bytes(key[:4], "big")
    return key[4 : 4 + length].decode("ascii", "replace")
