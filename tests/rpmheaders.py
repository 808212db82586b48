"""RPM headers and databases made by hand, for tests that need no rpm."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path


def header(*tags: tuple[int, int, int, bytes], count: int = 1) -> bytes:
    """A header of tags (number, type, count, data)."""
    index, store = b"", b"\0"
    for tag, kind, number, data in tags:
        index += struct.pack(">IIiI", tag, kind, len(store), number)
        store += data
    return struct.pack(">II", len(tags), len(store)) + index + store


def package(name: str, version: str = "1.0", release: str = "1", **texts: str) -> bytes:
    """A header of a package; `texts` are license, vendor, url, arch, source, summary, epoch."""
    numbers = {
        "license": 1014, "vendor": 1011, "url": 1020, "arch": 1022, "source": 1044,
        "summary": 1004, "sha256": 273,
    }  # fmt: skip
    tags = [(1000, 6, 1, name), (1001, 6, 1, version), (1002, 6, 1, release)]
    tags += [(numbers[key], 6, 1, text) for key, text in texts.items() if key != "epoch"]
    found = [(tag, kind, count, text.encode() + b"\0") for tag, kind, count, text in tags]
    if "epoch" in texts:
        found.insert(0, (1003, 4, 1, struct.pack(">I", int(texts["epoch"]))))
    return header(*found)


def database(path: Path, blobs: Sequence[object]) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(b,) for b in blobs])
    connection.close()
    return path
