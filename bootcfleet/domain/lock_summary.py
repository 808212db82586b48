"""What a new lock moves, as Markdown for a merge request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bootcfleet.domain.lock import LockChange, Pin


def lock_markdown(
    change: LockChange, images: Mapping[str, Sequence[str]], failed: Mapping[str, str]
) -> str:
    """A table of what moved, and lists of what came, went, and could not be asked.

    `images` has the images that stand on each base; `failed` says why a base
    has no new pin.
    """
    parts = [f"## {_title(change)}"]
    if change.moved:
        rows = ["| base | digest | version | images to rebuild |", "|---|---|---|---|"]
        for old, new in change.moved:
            digest = f"{_code(old.digest.short)} → {_code(new.digest.short)}"
            if old.digest == new.digest:
                digest = f"{_code(new.digest.short)}, {_platforms(old)} → {_platforms(new)}"
            names = ", ".join(images.get(new.declared, ())) or "none"
            rows.append(f"| {_code(new.declared)} | {digest} | {_versions(old, new)} | {names} |")
        parts.append("\n".join(rows))
    lists = {
        "Added": [f"{_code(p.declared)} at {_code(p.digest.short)}{_of(p)}" for p in change.added],
        "Removed": [f"{_code(p.declared)}: no image declares it" for p in change.removed],
        "Not updated": [f"{_code(base)}: {_plain(why)}" for base, why in failed.items()],
    }
    for title, lines in lists.items():
        if lines:
            parts.append(f"### {title}\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts)


def _title(change: LockChange) -> str:
    if change.empty:
        return "No base moved"
    counts = [
        f"{len(pins)} {what}"
        for pins, what in ((change.moved, "moved"), (change.added, "added"))
        if pins
    ]
    counts += [f"{len(change.removed)} removed"] if change.removed else []
    return f"Bases: {', '.join(counts)}"


def _versions(old: Pin, new: Pin) -> str:
    if old.version == new.version:
        return _plain(new.version or "unknown")
    return f"{_plain(old.version or 'unknown')} → {_plain(new.version or 'unknown')}"


def _of(pin: Pin) -> str:
    return f", version {_plain(pin.version)}" if pin.version else ""


def _platforms(pin: Pin) -> str:
    return ", ".join(map(str, pin.platforms))


def _code(text: str) -> str:
    return f"`{text}`"


def _plain(text: str) -> str:
    """Text from outside as one line that is no markup: a label may hold anything."""
    line = "".join(char if char.isprintable() else " " for char in text)
    short = " ".join(line.split())[:100]
    return re.sub(r"([\\`*_{}\[\]()<>#|!~&@])", r"\\\1", short)
