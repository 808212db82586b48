"""Ansible's INI inventories: ``[group]``, ``[group:children]``, ``[group:vars]``."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

from bootcfleet.domain.ansible import Source, expand
from bootcfleet.errors import ConfigError

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]")


def read_ini(file: str, text: str) -> Source:
    """Read an INI inventory.  Raises `ConfigError` with the line."""
    source = Source(file)
    name, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            section = _SECTION.fullmatch(re.sub(r"\s+[#;].*$", "", line))
            if section is None or section[2] not in {None, "hosts", "children", "vars"}:
                raise ConfigError(
                    f"{line!r} is not a section",
                    file=file,
                    line=number,
                    hint="write [group], [group:children] or [group:vars]",
                )
            name, kind = section[1], section[2] or "hosts"
            source.group(name)
            continue
        try:
            _line(source, name, kind, line)
        except ConfigError as error:
            raise ConfigError(
                error.args[0].removeprefix(f"{file}: "), file=file, line=number, hint=error.hint
            ) from error
        except ValueError as error:
            raise ConfigError(f"cannot be read: {error}", file=file, line=number) from error
    return source


def _line(source: Source, name: str, kind: str, line: str) -> None:
    group = source.group(name)
    if kind == "vars":
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r} is not key=value")
        group.vars[key.strip()] = _value(value.strip())
        return
    words = shlex.split(line, comments=True)
    if kind == "children":
        group.children.append(words[0])
        return
    pattern, *pairs = words
    variables: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not key=value")
        variables[key] = _value(value)
    host, colon, port = pattern.rpartition(":")
    if colon and port.isdigit() and "[" not in port:
        pattern = host
        variables.setdefault("ansible_port", int(port))
    for one in expand(source.file, pattern):
        group.hosts.setdefault(one, {}).update(variables)


def _value(text: str) -> Any:
    """A Python literal, as Ansible reads it; anything else is the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
