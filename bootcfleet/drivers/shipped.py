"""Where the templates are that come with bootcfleet."""

from __future__ import annotations

from pathlib import Path

import bootcfleet
from bootcfleet.errors import FleetError


def shipped_dir(kind: str) -> Path:
    """The folder of shipped ``containerfiles`` or ``kickstarts``.

    In an installed package it is inside of it; in a checkout at the top.
    Raises `FleetError` for an installation without it.
    """
    package = Path(bootcfleet.__file__).parent
    for folder in (package / "shipped" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise FleetError(
        f"this installation of bootcfleet has no {kind}", hint="install it again with pip"
    )
