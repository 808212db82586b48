"""A rollout's lock on a host: who has it, since when and until when.

Times are those of the host's own clock, and what is *now* is the host's, too: a controller whose
clock is off judges a lock no differently.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: What may name a rollout in a lock: it is compared on the host as it stands in the file.
_ROLLOUT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Seconds since the epoch that can be shown as a date.
_LATEST = 253_402_300_799


@dataclass(frozen=True)
class LockHolder:
    """A lock as it was read.

    `owner` is ``user@machine``, `controller` the machine that took it last.  `taken`, `expires` and
    `now` (when it was read) are seconds since the epoch by the host's clock.  A lock that cannot
    be read has no rollout; nothing is known of its age, so it is no stale one.
    """

    owner: str
    rollout: str
    controller: str
    taken: int
    expires: int
    now: int

    @property
    def readable(self) -> bool:
        """Whether the file says who has it."""
        return bool(self.rollout)

    @property
    def stale(self) -> bool:
        """Whether it has expired: its rollout was killed, and nobody resumed it."""
        return self.readable and self.now >= self.expires

    @property
    def title(self) -> str:
        """Who has it, since when and until when, for people."""
        if not self.readable:
            return "a lock that cannot be read"
        ends = "expired" if self.stale else "until"
        return (
            f"rollout {self.rollout} of {self.owner} (on {self.controller}), "
            f"since {clock(self.taken)}, {ends} {clock(self.expires)}"
        )

    def to_json(self) -> dict[str, Any]:
        """The lock as a JSON object; times are ISO 8601, null where they are not known."""
        return {
            "owner": self.owner or None,
            "rollout": self.rollout or None,
            "controller": self.controller or None,
            "taken": _iso(self.taken) if self.readable else None,
            "expires": _iso(self.expires) if self.readable else None,
            "stale": self.stale,
        }


def check_rollout(rollout: str) -> str:
    """The id of a rollout as it may stand in a lock.  Raises `ValueError`."""
    if not _ROLLOUT.fullmatch(rollout):
        raise ValueError(f"{rollout!r} cannot name a rollout")
    return rollout


def read_lock(text: str, now: int) -> LockHolder:
    """The lock of a file's text, as the host has it at `now`; see `LockHolder.readable`."""
    try:
        body = json.loads(text)
        rollout = check_rollout(body["rollout"])
        taken, expires = body["taken"], body["expires"]
        if not all(type(one) is int and 0 <= one <= _LATEST for one in (taken, expires)):
            raise ValueError("times are seconds since the epoch")
    except (ValueError, KeyError, TypeError, RecursionError):
        return LockHolder("", "", "", 0, 0, now)
    owner, controller = (_plain(body.get(key)) for key in ("owner", "controller"))
    return LockHolder(owner, rollout, controller, taken, expires, now)


def clock(seconds: int) -> str:
    """A moment of the host's clock, for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _plain(value: object) -> str:
    """Text from a host's file, without what a terminal would obey."""
    text = value if isinstance(value, str) else ""
    return "".join(one for one in text[:256] if one.isprintable()) or "somebody"
