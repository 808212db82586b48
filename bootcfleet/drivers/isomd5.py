"""The MD5 that installer media carry of themselves, which ``rd.live.check`` compares.

It lies in the application-use field of the primary volume descriptor (ECMA-119 8.4.32) and is
of everything before the last 15 sectors, with that field blank. The format is isomd5sum's;
the tests hold every byte against implantisomd5 and checkisomd5.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from bootcfleet.errors import FleetError

_SECTOR = 2048
_DESCRIPTOR = 16 * _SECTOR
_FIELD = _DESCRIPTOR + 883
_FIELD_SIZE = 512
_SKIPPED = 15
_FRAGMENTS = 20
_DIGITS = 3
_FOUND = re.compile(rb"ISO MD5SUM = ([0-9a-f]{32});(?:.*?RHLISOSTATUS=([01]))?")
#: Bytes read at a time. Fragments end at these bounds, so it is part of the format.
_STEP = 16 * _SECTOR


def implanted(path: Path) -> tuple[str | None, bool]:
    """The MD5 that an ISO carries, if any, and its flag "supported"."""
    with path.open("rb") as stream:
        stream.seek(_FIELD)
        found = _FOUND.match(stream.read(_FIELD_SIZE))
    return (found[1].decode(), found[2] == b"1") if found else (None, False)


def implant(path: Path, *, supported: bool = False, told: Callable[[float], None]) -> str:
    """Write the MD5 into an ISO and return it; `told` hears how much is read, 0 to 1.

    `supported` is a flag of the medium that checkisomd5 shows.  Raises `FleetError` when it is
    no ISO.
    """
    with path.open("r+b") as stream:
        stream.seek(_DESCRIPTOR)
        head = stream.read(_SECTOR)
        if head[:6] != b"\x01CD001":
            raise FleetError(f"{path} has no primary volume descriptor: it is no ISO")
        total = int.from_bytes(head[84:88], "big") * _SECTOR - _SKIPPED * _SECTOR
        stream.seek(_FIELD)
        stream.write(b" " * _FIELD_SIZE)
        stream.seek(0)
        digest, sums = _read(stream.read, total, told)
        field = (
            f"ISO MD5SUM = {digest};SKIPSECTORS = {_SKIPPED};RHLISOSTATUS={int(supported)};"
            f"FRAGMENT SUMS = {sums};FRAGMENT COUNT = {_FRAGMENTS};"
            "THIS IS NOT THE SAME AS RUNNING MD5SUM ON THIS ISO!!"
        )
        stream.seek(_FIELD)
        stream.write(field.encode().ljust(_FIELD_SIZE))
        stream.flush()
        os.fsync(stream.fileno())
    return digest


def _read(
    read: Callable[[int], bytes], total: int, told: Callable[[float], None]
) -> tuple[str, str]:
    """The digest of `total` bytes, and the first digits of what it was after each fragment."""
    digest = hashlib.md5(usedforsecurity=False)
    fragment = max(1, total // (_FRAGMENTS + 1))
    sums, previous, offset = "", 0, 0
    while offset < total:
        chunk = read(min(_STEP, total - offset))
        if not chunk:
            break
        digest.update(chunk)
        current = offset // fragment
        if current != previous:
            # The first digit of a byte as it is printed without zeros before it.
            sums += "".join(f"{byte:x}"[0] for byte in digest.digest()[:_DIGITS])
            previous = current
            told(offset / total)
        offset += len(chunk)
    return digest.hexdigest(), sums
