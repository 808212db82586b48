"""What a gate says: whether something may go on, and why not."""

from __future__ import annotations

from dataclasses import dataclass
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
