"""Tokens: a file with secrets is given once, and a callback is believed once.

Only a token's SHA-256 is kept; the token itself stands in the URL of one machine's
menu, or in its kickstart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TokenUse(StrEnum):
    """What a token is for."""

    KICKSTART = "kickstart"
    INSTALLED = "installed"


@dataclass(frozen=True)
class Token:
    """What is known of a token that was given out."""

    digest: str
    use: TokenUse
    host: str
    expires: datetime
    used: datetime | None = None


def token_digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def token_problem(
    token: Token | None, use: TokenUse, host: str | None, now: datetime
) -> str | None:
    """Why a token is not good for `use` by `host` (None: whoever it is for) now, or None."""
    if token is None:
        return "no such token was given"
    if token.use is not use:
        return f"it is a token for {token.use}, not for {use}"
    if host is not None and token.host != host:
        return "it is another machine's token"
    if token.used is not None:
        return f"it was used at {token.used:%Y-%m-%d %H:%M:%S} UTC; each is good for one time"
    if now >= token.expires:
        return f"it expired at {token.expires:%Y-%m-%d %H:%M:%S} UTC"
    return None
