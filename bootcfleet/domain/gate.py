"""What a gate says: whether something may go on, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True)
class GateResult:
    """One gate's answer: `message` is a sentence for people, `hint` what to run next."""

    name: str
    ok: bool
    message: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON-ready data."""
        return {"gate": self.name, "ok": self.ok, "message": self.message, "hint": self.hint}


def span(length: timedelta) -> str:
    """A length of time in its largest two units."""
    seconds = max(0, int(length.total_seconds()))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
