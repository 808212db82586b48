"""The packages in an RPM database that was taken out of an image (``rpmdb.sqlite``).

Read here and not by ``rpm -qa``: a controller need not have rpm, and an rpm that is older than
the image's may refuse its database. All bootc bases have the SQLite form.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bootcfleet.domain.package import Package, header_files, parse_header
from bootcfleet.errors import FleetError


class RpmDatabaseError(FleetError):
    """The file is not an RPM database that can be read."""


@dataclass(frozen=True)
class Installed:
    """The packages by name, and for each path that one owns the name of that package."""

    packages: tuple[Package, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)


def read_packages(database: Path) -> Installed:
    """Every package.  The file's ``-wal`` is read with it, and may be worked in.

    Raises `RpmDatabaseError`, `HeaderError`.
    """
    try:
        connection = sqlite3.connect(database)
        try:
            blobs = [row[0] for row in connection.execute("SELECT blob FROM Packages")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise RpmDatabaseError(f"the image's RPM database cannot be read: {error}") from error
    packages, owners = [], {}
    for blob in blobs:
        if isinstance(blob, bytes):
            package = parse_header(blob)
            packages.append(package)
            owners.update(dict.fromkeys(header_files(blob), package.name))
    packages.sort(key=lambda one: (one.name, one.arch, one.evr))
    return Installed(tuple(packages), owners)
