"""Text from hosts, registries and files, made safe to show: nothing in it is obeyed."""

from __future__ import annotations

import re

#: Escape sequences of a terminal (ECMA-48): CSI, OSC with its end, and those of two characters.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[0-Z\\-~])")

#: What else a terminal obeys, or cannot be written as UTF-8; not tabs and ends of lines.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """`text` with its lines and tabs, and nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    plain = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", plain)


def printable(text: str) -> str:
    """`text` with its spaces, but without whatever would be obeyed; ends of lines are spaces."""
    if text.isprintable():
        # Nearly all lines of a thousand journals.
        return text
    plain = _ESCAPES.sub("", text).expandtabs(4)
    return "".join(
        one if one.isprintable() else " " if one in "\r\n" else "\N{REPLACEMENT CHARACTER}"
        for one in plain
    )


def one_line(text: str, most: int | None = None) -> str:
    """`text` on one line, without escape sequences, control characters and changes of direction.

    Escape sequences vanish, runs of white space become one space, and whatever else is not
    printable becomes U+FFFD.  More than `most` characters are cut, with an ellipsis as the last.
    """
    if most is not None and len(text) > 8 * most:
        text = text[: 8 * most] + "…"
    words = " ".join(_ESCAPES.sub("", text).split())
    plain = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in words)
    if most is not None and len(plain) > most:
        return plain[: max(0, most - 1)] + "…"
    return plain
