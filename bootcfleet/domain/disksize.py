"""Sizes as blueprints write them: bytes, or a number with a unit.

Source: the grammar of osbuild's datasizes package; there is no "10G" and no "10 gb".
"""

from __future__ import annotations

import re
from fractions import Fraction

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(kB|KiB|MB|MiB|GB|GiB|TB|TiB)?", re.ASCII)

_FACTORS = {
    "kB": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "GB": 10**9,
    "GiB": 2**30,
    "TB": 10**12,
    "TiB": 2**40,
}
_UNITS = ", ".join(_FACTORS)


def parse_size(value: int | str) -> int:
    """The size in bytes.  Raises `ValueError` that says how to write it."""
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{value} is less than nothing")
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a size: {_advice(value)}")
    number, unit = match.groups()
    return int(Fraction(number) * _FACTORS.get(unit, 1))


def _advice(value: str) -> str:
    """What is most likely meant, or the whole grammar."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT])(i?)[bB]?\s*", value, re.ASCII)
    if match is None:
        return f"bytes, or a number and one of {_UNITS}"
    number, letter, _ = match.groups()
    binary, decimal = f"{letter.upper()}iB", f"{'k' if letter in 'kK' else letter.upper()}B"
    return f"write '{number} {binary}' or '{number} {decimal}'"
