"""Ansible's inventories, joined into ours: groups, children and variables.

Source: Ansible's documentation, *How to build your inventory* (formats, ranges,
precedence of variables, ``ansible_group_priority``).  The forms are read by
`ansible_ini` and `ansible_tree`; what a host's variables mean here is
`ansible_vars`.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.ansible_vars import host_of
from bootcfleet.domain.inventory import Host, Inventory, host_name_problem
from bootcfleet.errors import ConfigError

#: More hosts than this from one pattern is a range with a typing mistake.
MAX_HOSTS = 200_000

#: Groups that every inventory has, and that no selector needs to know.
OWN_GROUPS = frozenset({"all", "ungrouped"})


@dataclass
class Group:
    """A group while it is read."""

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    vars: dict[str, Any] = field(default_factory=dict)


@dataclass
class Source:
    """All groups of an inventory, by name, and the line where each host first stands."""

    file: str
    groups: dict[str, Group] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def group(self, name: str) -> Group:
        """The group, made when it is new."""
        return self.groups.setdefault(name, Group())

    def add_host(
        self, group: str, name: str, variables: Mapping[str, Any], line: int | None = None
    ) -> None:
        """Put a host into a group; of a variable that is given twice the later value counts."""
        self.group(group).hosts.setdefault(name, {}).update(variables)
        if line is not None:
            self.lines.setdefault(name, line)


def to_inventory(source: Source) -> Inventory:
    """Join groups, children and variables as Ansible does: a child's word over its parents'.

    Raises `ConfigError` for circles of groups, for names that cannot be hosts,
    and for variables that cannot be what they say.
    """
    parents = _parents(source)
    order = _precedence(source, parents)
    direct: dict[str, list[str]] = {}
    own: dict[str, dict[str, Any]] = {}
    for name, group in source.groups.items():
        for host, variables in group.hosts.items():
            direct.setdefault(host, []).append(name)
            own.setdefault(host, {}).update(variables)
    common = source.groups["all"].vars if "all" in source.groups else {}
    hosts: list[Host] = []
    for host, within in direct.items():
        line = source.lines.get(host)
        if problem := host_name_problem(host):
            raise ConfigError(problem, file=source.file, line=line)
        every = _with_ancestors(within, parents) - {"all"}
        member = every - OWN_GROUPS
        merged = dict(common)
        # A host that is in a group is not ungrouped, wherever else it stands.
        for name in sorted(member or every, key=order.__getitem__):
            merged |= source.groups[name].vars
        merged |= own[host]
        hosts.append(host_of(source.file, line, host, frozenset(member), merged))
    groups = tuple(name for name in source.groups if name not in OWN_GROUPS)
    return Inventory(tuple(hosts), groups)


def _parents(source: Source) -> dict[str, list[str]]:
    """The groups above each group; ``all``, which is above everything, is left out."""
    parents: dict[str, list[str]] = {name: [] for name in source.groups}
    for name, group in source.groups.items():
        for child in group.children:
            if child == "all" or (child == name != "all"):
                raise ConfigError(
                    f"its groups go in a circle: {child} is inside {name}", file=source.file
                )
            if name != "all":
                parents.setdefault(child, []).append(name)
    for child in parents:
        source.group(child)
    return parents


def _precedence(
    source: Source, parents: Mapping[str, list[str]]
) -> dict[str, tuple[int, float, str]]:
    """What sorts groups so that a later one's variables count more.

    Ansible: parents before children, then by ``ansible_group_priority``, then by name.
    """
    depth: dict[str, int] = {}
    order: dict[str, tuple[int, float, str]] = {}
    try:
        for name in graphlib.TopologicalSorter(parents).static_order():
            depth[name] = 1 + max((depth[parent] for parent in parents[name]), default=0)
            given = source.groups[name].vars.get("ansible_group_priority", 1)
            order[name] = (depth[name], _number(given), name)
    except graphlib.CycleError as error:
        circle = " → ".join(error.args[1])
        raise ConfigError(f"its groups go in a circle: {circle}", file=source.file) from error
    return order


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 1.0


def _with_ancestors(groups: list[str], parents: Mapping[str, list[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(groups)
    while todo:
        if (one := todo.pop()) not in found:
            found.add(one)
            todo += parents.get(one, [])
    return found


def expand(file: str, pattern: str) -> list[str]:
    """``web[01:20:2].example.com`` and ``db-[a:c]`` as names.  Raises `ConfigError`."""
    match = re.search(r"\[([0-9A-Za-z]+):([0-9A-Za-z]+)(?::([0-9]+))?\]", pattern)
    if match is None:
        return [pattern]
    first, last, step = match[1], match[2], int(match[3] or 1)
    if step and len(first + last) < 40 and first.isdigit() and last.isdigit():
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        numbers = range(int(first), int(last) + 1, step)
        if len(numbers) > MAX_HOSTS:
            raise ConfigError(f"{pattern} is more than {MAX_HOSTS} hosts", file=file)
        middle = [str(number).zfill(width) for number in numbers]
    elif step and len(first) == len(last) == 1 and first.islower() == last.islower():
        middle = [chr(code) for code in range(ord(first), ord(last) + 1, step)]
    else:
        middle = []
    if not middle:
        raise ConfigError(
            f"the range in {pattern!r} is empty",
            file=file,
            hint="write the smaller end first, as in web[01:20] or db-[a:c]",
        )
    head, tail = pattern[: match.start()], pattern[match.end() :]
    ends = expand(file, tail)
    if len(middle) * len(ends) > MAX_HOSTS:
        raise ConfigError(f"{pattern} is more than {MAX_HOSTS} hosts", file=file)
    return [head + part + end for part in middle for end in ends]
