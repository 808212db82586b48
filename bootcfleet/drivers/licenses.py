"""License texts of RPM packages as SPDX expressions, by the list of SPDX's identifiers."""

from __future__ import annotations

import functools
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9.+() -]+")


def spdx_expression(text: str) -> str | None:
    """The text as a valid SPDX expression, in its usual form; None where it is none.

    Fedora's and RHEL's packages name SPDX identifiers since 2022; older ones have names
    like ``GPLv2+``, whose meaning nobody should guess.
    """
    if "Ref-" in text or not _PLAIN.fullmatch(text):
        # LicenseRef-… is valid only next to its text, which a package does not carry. Other
        # characters are in no expression, and the library trips over some of them.
        return None
    try:
        found = _licensing().parse(text, validate=True, strict=True)
    except Exception:  # noqa: BLE001 - IndexError and AttributeError too: it trips over "()"
        return None
    return str(found) if found is not None else None


@functools.cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing  # type: ignore[import-untyped]

    return get_spdx_licensing()
