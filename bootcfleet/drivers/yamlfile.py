"""Reads YAML with the line of every value, and refuses what a configuration never needs.

Aliases are allowed but their expansion is bounded (a "YAML bomb" of nested
aliases is refused), duplicate keys are errors, and tags beyond YAML's core are
refused (PyYAML's safe schema).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bootcfleet.domain.document import Document
from bootcfleet.domain.document import Path as ValuePath
from bootcfleet.errors import ConfigError

#: Far above any real project or inventory; a file beyond it is a mistake or an attack.
MAX_BYTES = 16 * 1024 * 1024
MAX_VALUES = 2_000_000
#: How many more values aliases may make of a document than are written in it.
MAX_ALIASED = 10_000
MAX_DEPTH = 60

_COLLECTIONS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.  Raises `ConfigError` that says what to do."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"is larger than {MAX_BYTES // 2**20} MiB", file=str(path))
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError as error:
        raise ConfigError("does not exist", file=str(path)) from error
    except IsADirectoryError as error:
        raise ConfigError("is a directory, not a file", file=str(path)) from error
    except PermissionError as error:
        raise ConfigError("may not be read by this user", file=str(path)) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"is not UTF-8 (byte 0x{error.object[error.start]:02x})",
            file=str(path),
            line=line,
            hint=f"convert it: iconv -f LATIN1 -t UTF-8 {path.name}",
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error


def load(path: Path) -> Document:
    """Read and parse the YAML file at `path`.  Raises `ConfigError`."""
    return parse(read_text(path), str(path))


def parse(text: str, file: str) -> Document:
    """Parse YAML text; an empty text is an empty mapping.  Raises `ConfigError`."""
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(file, {}, {(): 1})
        reader = _Reader(file, loader)
        data = reader.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            f"is not valid YAML: {error.problem or error.context}",
            file=file,
            line=mark.line + 1 if mark else None,
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"is not valid YAML: {error}", file=file) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply", file=file) from error
    finally:
        loader.dispose()
    return Document(file, data, reader.lines)


class _Reader:
    """Walks composed nodes into plain data and remembers each value's line."""

    def __init__(self, file: str, loader: Any) -> None:
        self.file = file
        self.loader = loader
        self.lines: dict[ValuePath, int] = {}
        self._values = 0
        self._seen: set[int] = set()
        self._repeated = 0

    def value(self, node: yaml.Node, path: ValuePath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._values += 1
        if id(node) in self._seen:
            self._repeated += 1
        self._seen.add(id(node))
        if self._repeated > MAX_ALIASED or self._values > MAX_VALUES:
            raise ConfigError(
                "expands to too many values through aliases (a YAML bomb?)",
                file=self.file,
                line=line,
                hint="write the values out, or use fewer aliases",
            )
        if len(path) > MAX_DEPTH:
            raise ConfigError("is nested too deeply", file=self.file, line=line)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            raise ConfigError(
                f"is not valid YAML: the tag {node.tag} is not known", file=self.file, line=line
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, (*path, index)) for index, one in enumerate(node.value)]
        return self.loader.construct_object(node, deep=True)

    def _mapping(self, node: yaml.MappingNode, path: ValuePath) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                parts = self.value(value_node, path)
                for part in parts if isinstance(parts, list) else [parts]:
                    if not isinstance(part, dict):
                        raise ConfigError("<<: needs a mapping", file=self.file, line=line)
                    merged = {**part, **merged}
                continue
            key = self.loader.construct_object(key_node, deep=True)
            if isinstance(key, bool):
                raise ConfigError(
                    f"the key {key_node.value} is read as true or false",
                    file=self.file,
                    line=line,
                    hint=f"put it in quotes: '{key_node.value}'",
                )
            if not isinstance(key, str | int):
                raise ConfigError("a key must be a plain word", file=self.file, line=line)
            if key in result:
                raise ConfigError(f"the key {key!r} stands here twice", file=self.file, line=line)
            self.lines[(*path, key)] = line
            result[key] = self.value(value_node, (*path, key))
        return {**merged, **result}
