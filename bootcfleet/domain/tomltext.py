"""Data as TOML the way people write blueprints: ``[[customizations.user]]`` and not in one line.

The values are written by tomli_w; it alone would put short tables into a list in one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w


def toml_text(data: Mapping[str, Any]) -> str:
    """The data as TOML.  There is no null in it."""
    # A kickstart is read by people; but tomli_w's lines would lose a carriage return.
    lossless = "\\r" not in json.dumps(data, default=str)
    return "\n".join(_tables(data, "", "", lossless))


def _tables(table: Mapping[str, Any], name: str, header: str, lines: bool) -> Iterator[str]:
    """Each table as text that ends with a line break."""
    inner = {key: one for key, one in table.items() if _is_tables(one)}
    plain = {key: one for key, one in table.items() if key not in inner}
    if plain or (header and not inner) or header.startswith("[["):
        yield header + tomli_w.dumps(plain, multiline_strings=lines)
    for key, one in inner.items():
        path = f"{name}.{_key(key)}" if name else _key(key)
        if isinstance(one, Mapping):
            yield from _tables(one, path, f"[{path}]\n", lines)
        else:
            for item in one:
                yield from _tables(item, path, f"[[{path}]]\n", lines)


def _is_tables(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(x, Mapping) for x in value)


def _key(key: str) -> str:
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")
