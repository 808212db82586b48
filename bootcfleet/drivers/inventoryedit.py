"""Adds a host to an inventory.yaml by inserting lines: everything else stays as it is, to the byte.

A library that reads YAML and writes it again keeps comments, but lays the file out
anew; a person who looks at the difference would see it everywhere. So the place is
found by PyYAML's marks, the lines are put in, and the result is read back and compared
before it is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import ConfigError, FleetError


def add_host(path: Path, name: str, host: Mapping[str, Any], comment: str) -> None:
    """Add a host at the end of ``hosts:``.

    Raises `ConfigError` for a file that cannot be read or has it already,
    `FleetError` when the place for it is not found or the file cannot be written.
    """
    text = yamlfile.read_text(path)
    made = with_host(text, name, host, comment, file=str(path))
    real = path.resolve()
    try:
        write_atomic(real, made.encode(), mode=real.stat().st_mode & 0o777)
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}") from error


def with_host(text: str, name: str, host: Mapping[str, Any], comment: str, *, file: str) -> str:
    """The text with the host in it.  Raises as `add_host`."""
    before = yamlfile.parse(text, file).data
    hosts = before.get("hosts")
    if isinstance(hosts, dict) and name in hosts:
        raise ConfigError(f"has a host {name!r} already", file=file)
    made = _insert(text, name, host, comment)
    wanted = {**before, "hosts": {**(hosts or {}), name: dict(host)}}
    try:
        right = yamlfile.parse(made, file).data == wanted
    except ConfigError:
        right = False
    if not right:
        raise FleetError(
            f"{file}: the place for a new host under hosts: was not found",
            hint="write hosts: as a block, each host on lines of its own",
            details=[f"{json.dumps(name)}: {json.dumps(host)}"],
        )
    return made


def _insert(text: str, name: str, host: Mapping[str, Any], comment: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += newline
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found = next(((key, value) for key, value in pairs if key.value == "hosts"), None)
    if found is None:
        block = ["hosts:", *_block(name, host, comment, 2)]
        return "".join(lines) + "".join(line + newline for line in block)
    key, value = found
    if isinstance(value, yaml.MappingNode) and value.flow_style and value.value:
        at = value.end_mark.index - 1
        inner = text[value.start_mark.index + 1 : at].rstrip()
        comma = "" if inner.endswith(",") else ","
        entry = f"{json.dumps(name)}: {json.dumps(host)}"
        head = text[: value.start_mark.index + 1] + inner
        return f"{head}{comma} {entry}{text[at:]}"
    if isinstance(value, yaml.MappingNode) and value.value:
        indent = value.value[0][0].start_mark.column
        row = _end_of(value, lines, indent)
    else:
        # "hosts:", "hosts: {}" or "hosts: null": nobody is there yet.
        indent = key.start_mark.column + 2
        row = key.start_mark.line + 1
        if value.end_mark.index > value.start_mark.index:
            line = lines[value.start_mark.line]
            start, end = value.start_mark.column, value.end_mark.column
            lines[value.start_mark.line] = line[:start].rstrip() + line[end:]
    block = [line + newline for line in _block(name, host, comment, indent)]
    return "".join([*lines[:row], *block, *lines[row:]])


def _end_of(value: yaml.MappingNode, lines: list[str], indent: int) -> int:
    """The row after the last host, with the comments that belong to it."""
    row = _last_row(value) + 1
    while row < len(lines):
        line = lines[row].rstrip()
        stripped = line.lstrip()
        if not stripped.startswith("#") or len(line) - len(stripped) <= indent:
            break
        row += 1
    return row


def _last_row(node: yaml.Node) -> int:
    """The row (from 0) on which a node really ends; a block's own mark is at what follows it."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return max(_last_row(one) for one in node.value[-1])
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_row(node.value[-1])
    mark = node.end_mark
    # A text in a block (|) ends at the beginning of the next line.
    return mark.line - 1 if mark.column == 0 and mark.line > node.start_mark.line else mark.line


def _block(name: str, host: Mapping[str, Any], comment: str, indent: int) -> list[str]:
    first = " " * indent
    lines = [f"{first}{_key(name)}:", f"{first}  # {comment}"]
    return lines + _lines(host, indent + 2)


def _lines(value: Mapping[str, Any], indent: int) -> list[str]:
    lines = []
    for key, one in value.items():
        if isinstance(one, Mapping) and one:
            lines += [f"{' ' * indent}{_key(key)}:", *_lines(one, indent + 2)]
        else:
            # JSON is YAML, and its quotes keep 52:54:00:12:34:56 from being a number.
            lines.append(f"{' ' * indent}{_key(key)}: {json.dumps(one, ensure_ascii=False)}")
    return lines


def _key(name: str) -> str:
    """A key that YAML reads as text; host names like 10 or no need quotes."""
    plain = isinstance(yaml.safe_load(name), str) and yaml.safe_load(name) == name
    return name if plain and not set(name) & set(":#{}[],&*!|>'\"%@`") else json.dumps(name)
