"""Ansible's INI inventories: ``[group]``, ``[group:children]``, ``[group:vars]``."""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from typing import Any

from bootcfleet.domain.ansible import OWN_GROUPS, Source, expand
from bootcfleet.domain.document import did_you_mean
from bootcfleet.errors import ConfigError

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]")


def read_ini(file: str, text: str) -> Source:
    """Read an INI inventory.  Raises `ConfigError` with the line."""
    source = Source(file)
    # Groups that have a section of their own, and where others are only named.
    declared: set[str] = set(OWN_GROUPS)
    named: dict[str, int] = {}
    name, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            name, kind = _section(file, number, line)
            source.group(name)
            if kind == "vars":
                named.setdefault(name, number)
            else:
                declared.add(name)
            continue
        try:
            _line(source, name, kind, line, number)
        except ConfigError as error:
            message = error.message.removeprefix(f"{file}: ")
            raise ConfigError(message, file=file, line=number, hint=error.hint) from error
        except ValueError as error:
            raise ConfigError(f"cannot be read: {error}", file=file, line=number) from error
        if kind == "children":
            named.setdefault(source.groups[name].children[-1], number)
    for group, number in named.items():
        if group not in declared:
            raise ConfigError(
                f"there is no group {group!r}",
                file=file,
                line=number,
                hint=did_you_mean(group, declared - OWN_GROUPS) or f"write a section [{group}]",
            )
    return source


def _section(file: str, number: int, line: str) -> tuple[str, str]:
    section = _SECTION.fullmatch(re.sub(r"(?<=\])\s*[#;].*$", "", line))
    if section is None or section[2] not in {None, "hosts", "children", "vars"}:
        raise ConfigError(
            f"{line!r} is not a section",
            file=file,
            line=number,
            hint="write [group], [group:children] or [group:vars]",
        )
    return section[1], section[2] or "hosts"


def _line(source: Source, name: str, kind: str, line: str, number: int) -> None:
    group = source.group(name)
    if kind == "vars":
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r} is not key=value")
        group.vars[key.strip()] = _value(value.strip())
        return
    words = shlex.split(line, comments=True)
    if not words or not words[0]:
        raise ValueError("there is no name")
    if kind == "children":
        if len(words) > 1:
            raise ValueError(f"{words[1]!r} after the group {words[0]!r}")
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
    if colon and re.fullmatch(r"[0-9]+", port) and host.count("[") == host.count("]"):
        pattern = host
        variables.setdefault("ansible_port", port)
    for one in expand(source.file, pattern):
        source.add_host(name, one, variables, number)


def _value(text: str) -> Any:
    """A Python literal, as Ansible reads it; anything else is the text itself."""
    try:
        with warnings.catch_warnings():
            # Text that is nearly a literal ('a\\d') is not worth a warning to a user.
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
