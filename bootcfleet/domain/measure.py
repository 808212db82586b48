"""Sizes and times as short words, for tables and views."""

from __future__ import annotations

from datetime import timedelta

from bootcfleet.domain.gate import span as whole_span


def size(number: float) -> str:
    """Bytes in the largest binary unit: ``842 B``, ``1.4 MiB``."""
    for unit, one in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(number) >= one:
            return f"{number / one:.1f} {unit}"
    return f"{number:.0f} B"


def clock(seconds: float) -> str:
    """A length of time as on a stop watch: ``0:07``, ``12:05``, ``3:04:09``."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def about(seconds: float) -> str:
    """An estimate in one unit, rounded up: ``30 s``, ``8 min``, ``3 h``."""
    if seconds < 90:
        return f"{max(0, -(-int(seconds) // 10) * 10)} s"
    if seconds < 5400:
        return f"{-(-int(seconds) // 60)} min"
    return f"{seconds / 3600:.1f} h"


def span(seconds: float) -> str:
    """A length of time in its largest two units: ``1 h 5 min``, ``42 s``, ``0.8 s``."""
    if 0 < seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    return whole_span(timedelta(seconds=round(seconds)))
