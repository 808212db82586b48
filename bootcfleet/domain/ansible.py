"""Ansible's inventories (INI, YAML, and the JSON of an executable), read into ours.

Source: Ansible's documentation, *How to build your inventory* and *Developing
dynamic inventory*.  Connection variables become our connection; every other
variable that is a plain value becomes a label, where its text can be one, and
all of them stay available as ``vars``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.inventory import (
    Connection,
    Host,
    Inventory,
    host_name_problem,
    label_problem,
)
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import ConfigError, FleetError

_CONNECTION = {
    "ansible_host": "address",
    "ansible_ssh_host": "address",
    "ansible_port": "port",
    "ansible_ssh_port": "port",
    "ansible_user": "user",
    "ansible_ssh_user": "user",
    "ansible_ssh_private_key_file": "identity_file",
    "ansible_private_key_file": "identity_file",
    "ansible_become": "become",
    "ansible_ssh_timeout": "connect_timeout",
    "ansible_timeout": "connect_timeout",
}

#: More hosts than this from one file is a range with a typing mistake.
MAX_HOSTS = 200_000


@dataclass
class Group:
    """A group while it is read."""

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)


@dataclass
class Source:
    """All groups of an inventory, by name; ``all`` and ``ungrouped`` are Ansible's own."""

    file: str
    groups: dict[str, Group] = field(default_factory=dict)

    def group(self, name: str) -> Group:
        """The group, made when it is new."""
        return self.groups.setdefault(name, Group())


def to_inventory(source: Source) -> Inventory:
    """Join groups, children and variables as Ansible does: a child's word over its parents'.

    Raises `ConfigError` for circles of groups and names that cannot be hosts.
    """
    parents: dict[str, list[str]] = {}
    for name, group in source.groups.items():
        for child in group.children:
            source.groups.setdefault(child, Group())
            parents.setdefault(child, []).append(name)
    depth = {name: _depth(source, name, parents, ()) for name in source.groups}
    order: dict[str, None] = {}
    direct: dict[str, list[str]] = {}
    own: dict[str, dict[str, Any]] = {}
    for name, group in source.groups.items():
        for host, variables in group.hosts.items():
            if problem := host_name_problem(host):
                raise ConfigError(problem, file=source.file)
            order[host] = None
            direct.setdefault(host, []).append(name)
            own.setdefault(host, {}).update(variables)
    hosts = []
    for host in order:
        member: set[str] = set()
        todo = list(direct[host])
        while todo:
            if (one := todo.pop()) not in member:
                member.add(one)
                todo += parents.get(one, [])
        merged: dict[str, Any] = dict(source.groups.get("all", Group()).vars)
        # Ansible: parents before children, then by name.
        for name in sorted(member - {"all"}, key=lambda name: (depth[name], name)):
            merged |= source.groups[name].vars
        merged |= own[host]
        hosts.append(_host(source.file, host, member - {"all", "ungrouped"}, merged))
    groups = tuple(name for name in source.groups if name not in {"all", "ungrouped"})
    return Inventory(tuple(hosts), groups)


def _depth(
    source: Source, name: str, parents: Mapping[str, list[str]], below: tuple[str, ...]
) -> int:
    if name in below:
        circle = " → ".join((*below[below.index(name) :], name))
        raise ConfigError(f"its groups go in a circle: {circle}", file=source.file)
    ups = parents.get(name, [])
    return 1 + max((_depth(source, up, parents, (*below, name)) for up in ups), default=0)


def _host(file: str, name: str, groups: set[str], variables: Mapping[str, Any]) -> Host:
    settings: dict[str, Any] = {}
    labels: dict[str, str] = {}
    image: ImageRef | None = None
    for key, value in variables.items():
        if key in _CONNECTION:
            settings[_CONNECTION[key]] = value
        elif key == "bootcfleet_image":
            try:
                image = ImageRef.parse(str(value))
            except FleetError as error:
                raise ConfigError(error.message, file=file, field=name) from error
        elif key in {"ansible_ssh_common_args", "ansible_ssh_extra_args"}:
            settings["proxy_jump"] = _jump(str(value)) or settings.get("proxy_jump")
        elif not key.startswith("ansible_") and isinstance(value, str | int | float | bool):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if label_problem(key, text) is None:
                labels[key] = text
    try:
        settings |= {"port": int(settings["port"])} if "port" in settings else {}
        for key in ("connect_timeout",):
            settings |= {key: float(settings[key])} if key in settings else {}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"port or timeout is not a number: {error}", file=file, field=name) from (
            error
        )
    if "become" in settings:
        settings["become"] = str(settings["become"]).lower() in {"true", "yes", "1"}
    plain = {key: value for key, value in variables.items() if not key.startswith("ansible_")}
    connection = Connection().over(settings)
    return Host(name, frozenset(groups), labels, connection, image, (), plain)


def _jump(arguments: str) -> str | None:
    """The jump host among ssh's arguments: ``-J host`` or ``-o ProxyJump=host``."""
    try:
        words = shlex.split(arguments)
    except ValueError:
        return None
    for position, word in enumerate(words):
        following = words[position + 1] if position + 1 < len(words) else ""
        if word == "-J":
            return following
        option = following if word == "-o" else word.removeprefix("-o")
        if match := re.fullmatch(r"ProxyJump[= ](\S+)", option, re.IGNORECASE):
            return match.group(1)
    return None


def read_tree(file: str, data: Any) -> Source:
    """The YAML form: groups with ``hosts``, ``children`` and ``vars``.  Raises `ConfigError`."""
    source = Source(file)
    if not isinstance(data, Mapping):
        raise ConfigError("is not an inventory: groups are expected at the top", file=file)
    for name, body in data.items():
        _read_group(source, str(name), body, 0)
    return source


def _read_group(source: Source, name: str, body: Any, depth: int) -> None:
    if depth > 50:
        raise ConfigError("groups are nested too deeply", file=source.file, field=name)
    group = source.group(name)
    if body is None:
        return
    if not isinstance(body, Mapping):
        raise ConfigError("a group has hosts, children and vars", file=source.file, field=name)
    for key, value in body.items():
        parts = value or {}
        if key not in {"hosts", "children", "vars"}:
            raise ConfigError(
                f"unknown key {key!r} in group {name}",
                file=source.file,
                field=f"{name}.{key}",
                hint="a group of an Ansible inventory has hosts, children and vars",
            )
        if not isinstance(parts, Mapping):
            raise ConfigError("must be a mapping", file=source.file, field=f"{name}.{key}")
        if key == "vars":
            group.vars |= {str(k): v for k, v in parts.items()}
        elif key == "hosts":
            for pattern, variables in parts.items():
                for host in expand(source.file, str(pattern)):
                    group.hosts.setdefault(host, {}).update(variables or {})
        else:
            for child, inner in parts.items():
                group.children.append(str(child))
                _read_group(source, str(child), inner, depth + 1)


def read_list(file: str, data: Any) -> Source:
    """The JSON of ``--list``: groups, and ``_meta.hostvars``.  Raises `ConfigError`."""
    source = Source(file)
    if not isinstance(data, Mapping):
        raise ConfigError("its --list is not a JSON object", file=file)
    meta = data.get("_meta") or {}
    variables = meta.get("hostvars") or {} if isinstance(meta, Mapping) else {}
    for name, body in data.items():
        if name == "_meta":
            continue
        group = source.group(str(name))
        if isinstance(body, list):
            body = {"hosts": body}
        if not isinstance(body, Mapping):
            raise ConfigError("a group is a list or an object", file=file, field=str(name))
        for host in body.get("hosts") or ():
            group.hosts[str(host)] = dict(variables.get(host) or {})
        group.children += [str(child) for child in body.get("children") or ()]
        group.vars |= dict(body.get("vars") or {})
    return source


def expand(file: str, pattern: str) -> list[str]:
    """``web[01:20:2].example.com`` and ``db-[a:c]`` as names.  Raises `ConfigError`."""
    match = re.search(r"\[(\w+):(\w+)(?::(\d+))?\]", pattern)
    if match is None:
        return [pattern]
    first, last, step = match[1], match[2], int(match[3] or 1)
    if first.isdigit() and last.isdigit():
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        numbers = range(int(first), int(last) + 1, step or 1)
        if len(numbers) > MAX_HOSTS:
            raise ConfigError(f"{pattern} is more than {MAX_HOSTS} hosts", file=file)
        middle = [str(number).zfill(width) for number in numbers]
    elif len(first) == len(last) == 1 and first.isalpha() and last.isalpha():
        middle = [chr(code) for code in range(ord(first), ord(last) + 1, step or 1)]
    else:
        middle = []
    if not middle:
        raise ConfigError(f"the range in {pattern!r} is empty", file=file)
    head, tail = pattern[: match.start()], pattern[match.end() :]
    found = [name for part in middle for name in expand(file, head + part + tail)]
    if len(found) > MAX_HOSTS:
        raise ConfigError(f"{pattern} is more than {MAX_HOSTS} hosts", file=file)
    return found
