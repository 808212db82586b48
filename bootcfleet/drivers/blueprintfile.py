"""Reads a blueprint (config.toml, config.json) with the line of every value.

The data is what tomllib and json make of the file, so that their verdict on the
syntax is the one that is given; the lines come from tree-sitter's grammar of TOML
and from PyYAML (JSON is YAML).  Where the lines cannot be had, the data still is.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import tree_sitter
import tree_sitter_toml

from bootcfleet.domain.document import Document
from bootcfleet.domain.document import Path as ValuePath
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_LANGUAGE = tree_sitter.Language(tree_sitter_toml.language())


def load(path: Path) -> Document:
    """Read the blueprint at `path`, by its ending.  Raises `ConfigError`."""
    text = yamlfile.read_text(path)
    if path.suffix == ".json":
        return parse_json(text, str(path))
    if path.suffix == ".toml":
        return parse_toml(text, str(path))
    raise ConfigError("is neither .toml nor .json", file=str(path))


def parse_toml(text: str, file: str) -> Document:
    """Parse TOML.  Raises `ConfigError` with the line."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "it looks like JSON: call it config.json" if text.lstrip()[:1] == "{" else None
        message, _, place = str(error).partition(" (at line ")
        line = int(place.split(",")[0]) if place[:1].isdigit() else len(text.splitlines())
        raise ConfigError(
            f"is not valid TOML: {message}", file=file, line=line, hint=hint
        ) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", file=file) from error
    lines: dict[ValuePath, int] = {(): 1}
    _toml_lines(tree_sitter.Parser(_LANGUAGE).parse(text.encode()).root_node, lines)
    return Document(file, data, lines)


def _toml_lines(root: tree_sitter.Node, lines: dict[ValuePath, int]) -> None:
    _pairs(root, (), lines)
    seen: dict[ValuePath, int] = {}
    for node in root.children:
        if node.type not in ("table", "table_array_element"):
            continue
        key = next((one for one in node.children if one.type.endswith("_key")), None)
        if key is None:
            continue
        path: ValuePath = ()
        words = _words(key)
        for number, word in enumerate(words):
            path = (*path, word)
            lines.setdefault(path, _line(node))
            if number < len(words) - 1 and path in seen:
                path = (*path, seen[path])
        if node.type == "table_array_element":
            seen[path] = seen.get(path, -1) + 1
            path = (*path, seen[path])
        lines.setdefault(path, _line(node))
        _pairs(node, path, lines)


def _pairs(node: tree_sitter.Node, at: ValuePath, lines: dict[ValuePath, int]) -> None:
    for pair in node.children:
        if pair.type != "pair":
            continue
        path = at
        for word in _words(pair.children[0]):
            path = (*path, word)
            lines.setdefault(path, _line(pair))
        _value(pair.children[-1], path, lines)


def _value(node: tree_sitter.Node, at: ValuePath, lines: dict[ValuePath, int]) -> None:
    if node.type == "inline_table":
        _pairs(node, at, lines)
    elif node.type == "array":
        items = [one for one in node.named_children if one.type != "comment"]
        for number, item in enumerate(items):
            lines.setdefault((*at, number), _line(item))
            _value(item, (*at, number), lines)


def _words(key: tree_sitter.Node) -> list[str]:
    """The parts of a key: bare, quoted or dotted."""
    if key.type == "dotted_key":
        return [word for part in key.named_children for word in _words(part)]
    text = (key.text or b"").decode()
    return [next(iter(tomllib.loads(f"{text} = 0")))] if key.type == "quoted_key" else [text]


def _line(node: tree_sitter.Node) -> int:
    return node.start_point.row + 1


class _NoNumberError(ValueError):
    """NaN and Infinity, which Python takes and the builders do not."""


def _no_number(word: str) -> None:
    raise _NoNumberError(word)


def parse_json(text: str, file: str) -> Document:
    """Parse JSON.  Raises `ConfigError` with the line; a key that stands twice is an error."""
    try:
        data = json.loads(text, parse_constant=_no_number)
        # Half of a surrogate pair can be written in JSON, and in no file.
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("is not valid JSON: half of a surrogate pair", file=file) from error
    except _NoNumberError as error:
        raise ConfigError(f"is not valid JSON: {error} is no number of JSON", file=file) from error
    except json.JSONDecodeError as error:
        hint = "it looks like TOML: call it config.toml" if text.lstrip()[:1] not in "{[" else None
        message = "something stands after its end" if error.msg == "Extra data" else error.msg
        raise ConfigError(
            f"is not valid JSON: {message}", file=file, line=error.lineno, hint=hint
        ) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", file=file) from error
    if not isinstance(data, dict):
        raise ConfigError("is not a JSON object", file=file, line=1)
    try:
        # Unlike JSON, YAML allows no tab between values, and knows no surrogate pairs.
        plain = _PAIR.sub(lambda pair: json.loads(f'"{pair[0]}"'), text.replace("\t", " "))
        lines = yamlfile.parse(plain, file).lines
    except ConfigError as error:
        if "stands here twice" in error.message:
            raise
        lines = {(): 1}
    return Document(file, data, lines)
