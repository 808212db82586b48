"""Words, quotes and variables, as the instructions of a Containerfile have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_VARIABLE = re.compile(
    r"\\\$|\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+])([^}]*))?\})"
)


def split_words(text: str) -> tuple[str, ...]:
    """The words of a line, quotes and escapes kept as they are written."""
    return tuple(_words(text))


def _words(text: str) -> Iterator[str]:
    word, quote, place = "", "", 0
    while place < len(text):
        char = text[place]
        if char == "\\" and quote != "'" and place + 1 < len(text):
            word += text[place : place + 2]
            place += 2
            continue
        if char in "\"'" and quote in ("", char):
            quote = "" if quote else char
        if char.isspace() and not quote:
            if word:
                yield word
            word = ""
        else:
            word += char
        place += 1
    if word:
        yield word


def unquote(word: str) -> str:
    """A word without its quotes and escapes, as LABEL and ENV read it."""
    found, quote, place = "", "", 0
    while place < len(word):
        char = word[place]
        if char == "\\" and quote != "'" and place + 1 < len(word):
            following = word[place + 1]
            found += following if not quote or following in '"\\$' else char + following
            place += 2
            continue
        if char in "\"'" and quote in ("", char):
            quote = "" if quote else char
        else:
            found += char
        place += 1
    return found


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put values in for ``$NAME``, ``${NAME}``, ``${NAME:-word}`` and ``${NAME:+word}``.

    A name without value stays as it is written: what it will be is not known.
    """

    def one(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            return match[0]
        known, how, word = values.get(name), match[3], match[4] or ""
        if how in ("+", ":+"):
            return word if known or (known == "" and how == "+") else ""
        if how in ("-", ":-") and (known is None or (known == "" and how == ":-")):
            return word
        return match[0] if known is None else known

    return _VARIABLE.sub(one, text)
