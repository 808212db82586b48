"""known_hosts files, parsed once and looked up by name.

Source: sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT: plain, ``[host]:port``,
wildcard, negated and hashed names; markers ``@revoked`` and ``@cert-authority``.
Loading the file again for every connection costs a hundred times the connection
itself (field note *SSH fan-out*).
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class KnownKey:
    """One key of one line: where it stands, its type and its bytes."""

    file: str
    line: int
    key_type: str
    key: bytes
    marker: str = ""

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
    return host if port == 22 else f"[{host}]:{port}"


@dataclass
class KnownHosts:
    """The keys of one or more files."""

    files: tuple[str, ...] = ()
    _plain: dict[str, list[KnownKey]] = field(default_factory=dict)
    _hashed: list[tuple[bytes, bytes, KnownKey]] = field(default_factory=list)
    _patterns: list[tuple[list[str], KnownKey]] = field(default_factory=list)

    @classmethod
    def load(cls, paths: list[Path]) -> KnownHosts:
        """Read the files that exist; lines that cannot be read are passed over, as ssh does."""
        known = cls(tuple(str(path) for path in paths))
        for path in paths:
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            known.parse(text, str(path))
        return known

    def parse(self, text: str, file: str) -> None:
        """Take in the lines of a file."""
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            marker = words.pop(0) if words[0].startswith("@") else ""
            if len(words) < 3:
                continue
            try:
                key = base64.b64decode(words[2], validate=True)
            except (binascii.Error, ValueError):
                continue
            self._add(words[0], KnownKey(file, number, words[1], key, marker))

    def _add(self, names: str, key: KnownKey) -> None:
        if names.startswith("|1|"):
            parts = names.split("|")
            if len(parts) == 4:
                try:
                    salt, digest = base64.b64decode(parts[2]), base64.b64decode(parts[3])
                except (binascii.Error, ValueError):
                    return
                self._hashed.append((salt, digest, key))
            return
        listed = names.split(",")
        if any(set(name) & set("*?!") for name in listed):
            self._patterns.append((listed, key))
            return
        for name in listed:
            self._plain.setdefault(name.lower(), []).append(key)

    def find(self, host: str, port: int) -> list[KnownKey]:
        """The keys of a host, in the order of the files; certificate authorities among them."""
        name = lookup_name(host, port).lower()
        found = list(self._plain.get(name, ()))
        for salt, digest, key in self._hashed:
            made = hmac.new(salt, name.encode(), hashlib.sha1).digest()
            if hmac.compare_digest(made, digest):
                found.append(key)
        for patterns, key in self._patterns:
            if _matches(name, patterns):
                found.append(key)
        return sorted(found, key=lambda key: (self.files.index(key.file), key.line))


def _matches(name: str, patterns: list[str]) -> bool:
    """Whether a pattern list takes the name; a negated pattern that matches decides at once."""
    hit = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        # fnmatch reads brackets as a set of characters; in this file they surround a host.
        plain = pattern.lstrip("!").lower().replace("[", "[[]")
        if fnmatch.fnmatchcase(name, plain):
            if negated:
                return False
            hit = True
    return hit
