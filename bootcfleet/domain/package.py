"""An installed RPM package, from its header in the RPM database.

Source: rpm's header format (``rpm-file-format``: index and store, big-endian) and tag
numbers (``rpmtag.h``); the tests compare with what the real rpm says of the same database.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.evr import Evr
from bootcfleet.errors import FleetError

#: A header is at most this large (bytes), as in rpm.
_MAX_HEADER = 256 * 1024 * 1024
_MAX_ENTRIES = 0x00FFFF

_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_SUMMARY, _SIZE, _VENDOR, _LICENSE, _URL = 1004, 1009, 1011, 1014, 1020
_ARCH, _SOURCE, _SHA256, _MODULE, _LONG_SIZE = 1022, 1044, 273, 5096, 5009
_FOLDER_OF, _FILES, _FOLDERS = 1116, 1117, 1118
_TEXTS = {_NAME, _VERSION, _RELEASE, _SUMMARY, _VENDOR, _LICENSE, _URL, _ARCH, _SOURCE,
          _SHA256, _MODULE}  # fmt: skip
_NUMBERS = {_EPOCH, _SIZE, _LONG_SIZE}
_INT32, _INT64, _STRING, _STRING_ARRAY, _I18N = 4, 5, 6, 8, 9


class HeaderError(FleetError):
    """The bytes are not the header of a package."""


@dataclass(frozen=True)
class Package:
    """One installed package; `arch` is empty for a key (``gpg-pubkey``), sizes are bytes.

    `sha256` is the digest of the package's header, which its signature covers.
    """

    name: str
    evr: Evr
    arch: str
    license: str = ""
    summary: str = ""
    vendor: str = ""
    url: str = ""
    source: str = ""
    sha256: str = ""
    module: str = ""
    size: int = 0

    @property
    def nevra(self) -> str:
        """The full name as rpm writes it, without an epoch of 0."""
        return f"{self.name}-{self.evr}" + (f".{self.arch}" if self.arch else "")

    @property
    def is_key(self) -> bool:
        """Whether this is a public key that was imported, not software."""
        return self.name == "gpg-pubkey"


def parse_header(blob: bytes) -> Package:
    """The package of a header as it lies in the database.  Raises `HeaderError`."""
    found = _tags(blob)
    if not found.get(_NAME) or _VERSION not in found or _RELEASE not in found:
        raise HeaderError("a header of the RPM database has no name, version or release")
    evr = Evr(int(found.get(_EPOCH, 0)), found[_VERSION], found[_RELEASE])
    return Package(
        found[_NAME],
        evr,
        _real(found.get(_ARCH, "")),
        found.get(_LICENSE, ""),
        found.get(_SUMMARY, ""),
        _real(found.get(_VENDOR, "")),
        found.get(_URL, ""),
        _real(found.get(_SOURCE, "")),
        found.get(_SHA256, ""),
        found.get(_MODULE, ""),
        int(found.get(_LONG_SIZE, found.get(_SIZE, 0))),
    )


def header_files(blob: bytes) -> tuple[str, ...]:
    """The absolute paths that a package owns, from its header.  Raises `HeaderError`."""
    try:
        lists = _lists(blob)
        folders, names = lists.get(_FOLDERS, ()), lists.get(_FILES, ())
        return tuple(
            str(folders[number]) + str(name)
            for number, name in zip(lists.get(_FOLDER_OF, ()), names, strict=True)
            if isinstance(number, int)
        )
    except (struct.error, ValueError, LookupError) as error:
        raise HeaderError("a file list of the RPM database is not readable") from error


def _lists(blob: bytes) -> Mapping[int, list[str | int]]:
    """The three lists that together are a package's files."""
    entries, length = struct.unpack_from(">II", blob)
    start = 8 + 16 * entries
    found: dict[int, list[str | int]] = {}
    for number in range(entries):
        tag, kind, offset, count = struct.unpack_from(">IIiI", blob, 8 + 16 * number)
        begin = start + _inside(offset, length) if tag in {_FOLDER_OF, _FILES, _FOLDERS} else 0
        if not begin or count > len(blob):
            continue
        if kind == _INT32:
            found[tag] = list(struct.unpack_from(f">{count}I", blob, begin))
        elif kind == _STRING_ARRAY:
            texts = blob[begin : start + length].split(b"\0", count)[:count]
            found[tag] = [one.decode("utf-8", "surrogateescape") for one in texts]
    return found


def _real(text: str) -> str:
    return "" if text == "(none)" else text


def _tags(blob: bytes) -> Mapping[int, Any]:
    """The wanted tags: texts (the first of a list) and numbers."""
    try:
        entries, length = struct.unpack_from(">II", blob)
        start = 8 + 16 * entries
        if entries > _MAX_ENTRIES or length > _MAX_HEADER or start + length > len(blob):
            raise HeaderError("a header of the RPM database is cut short")
        found: dict[int, Any] = {}
        for number in range(entries):
            tag, kind, offset, _ = struct.unpack_from(">IIiI", blob, 8 + 16 * number)
            if tag in _TEXTS and kind in {_STRING, _STRING_ARRAY, _I18N}:
                begin = start + _inside(offset, length)
                found[tag] = _text(blob[begin : blob.index(b"\0", begin)])
            elif tag in _NUMBERS and kind in {_INT32, _INT64}:
                form = ">I" if kind == _INT32 else ">Q"
                found[tag] = struct.unpack_from(form, blob, start + _inside(offset, length))[0]
    except (struct.error, ValueError) as error:
        raise HeaderError("a header of the RPM database is not readable") from error
    return found


def _inside(offset: int, length: int) -> int:
    if not 0 <= offset < length:
        raise ValueError(offset)
    return offset


def _text(raw: bytes) -> str:
    """Text for people: what would command a terminal is replaced."""
    text = raw.decode("utf-8", "replace")
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)
