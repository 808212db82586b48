"""Large files: their size and digest, and that they are on the disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bootcfleet.errors import FleetError


def hash_file(path: Path) -> tuple[int, str]:
    """Size in bytes and sha256 (hex) of a file.  Raises `FleetError`."""
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return os.fstat(stream.fileno()).st_size, digest
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from error


def sync_file(path: Path) -> None:
    """Wait until a file or folder is on the disk.  Raises `FleetError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise FleetError(f"{path} cannot be written to the disk: {error.strerror}") from error
