"""Ansible's YAML inventories, and the JSON that an executable prints for ``--list``.

Source: Ansible's documentation, *How to build your inventory* and *Developing
dynamic inventory*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootcfleet.domain.ansible import Source, expand
from bootcfleet.domain.document import Document, Path, did_you_mean
from bootcfleet.errors import ConfigError

_KEYS = ("hosts", "children", "vars")


def read_tree(document: Document) -> Source:
    """The YAML form: groups with ``hosts``, ``children`` and ``vars``.  Raises `ConfigError`."""
    source = Source(document.file)
    if not isinstance(document.data, Mapping):
        raise document.error((), "is not an inventory: groups are expected at the top")
    if isinstance(document.data.get("plugin"), str):
        raise document.error(
            ("plugin",),
            "configures a plugin of Ansible, which only Ansible can run",
            hint="let it write the hosts: ansible-inventory -i FILE --list > inventory.json",
        )
    for name, body in document.data.items():
        _read_group(source, document, (name,), body)
    return source


def _read_group(source: Source, document: Document, path: Path, body: Any) -> None:
    name = str(path[-1])
    group = source.group(name)
    if body is None:
        return
    if not isinstance(body, Mapping):
        raise document.error(path, "a group has hosts, children and vars")
    for key, given in body.items():
        here: Path = (*path, key)
        if key not in _KEYS:
            raise document.error(
                here,
                "unknown key",
                hint=did_you_mean(str(key), _KEYS),
            )
        # One host or child may stand as a word, as Ansible takes it.
        value = {given: None} if isinstance(given, str) and key != "vars" else given or {}
        if not isinstance(value, Mapping):
            raise document.error(here, "must be a mapping")
        if key == "vars":
            group.vars |= {str(one): what for one, what in value.items()}
        elif key == "children":
            for child, inner in value.items():
                group.children.append(str(child))
                _read_group(source, document, (*here, child), inner)
        else:
            for pattern, variables in value.items():
                _read_host(source, document, name, (*here, pattern), variables)


def _read_host(source: Source, document: Document, group: str, path: Path, given: Any) -> None:
    if not isinstance(given, Mapping | None):
        raise document.error(path, "a host's variables must be a mapping")
    variables = {str(key): value for key, value in (given or {}).items()}
    try:
        names = expand(document.file, str(path[-1]))
    except ConfigError as error:
        message = error.message.removeprefix(f"{document.file}: ")
        raise document.error(path, message, hint=error.hint) from error
    for name in names:
        source.add_host(group, name, variables, document.line(path))


def is_list(data: Any) -> bool:
    """Whether data is what ``--list`` (or ``ansible-inventory --list``) prints, by ``_meta``."""
    return isinstance(data, Mapping) and "_meta" in data


def read_list(file: str, data: Any) -> Source:
    """The JSON of ``--list``: groups, and ``_meta.hostvars``.  Raises `ConfigError`."""
    source = Source(file)
    if not isinstance(data, Mapping):
        raise ConfigError("is not a list of groups: a JSON object is expected", file=file)
    meta = _object(file, "_meta", data.get("_meta"))
    hostvars = _object(file, "_meta.hostvars", meta.get("hostvars"))
    for name, body in data.items():
        if name == "_meta":
            continue
        if isinstance(body, list):
            body = {"hosts": body}
        group = source.group(name)
        found = _object(file, name, body)
        for host in _names(file, f"{name}.hosts", found.get("hosts")):
            variables = _object(file, f"_meta.hostvars.{host}", hostvars.get(host))
            source.add_host(name, host, variables)
        group.children += _names(file, f"{name}.children", found.get("children"))
        group.vars |= _object(file, f"{name}.vars", found.get("vars"))
    return source


def _object(file: str, field: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError("must be an object", file=file, field=field)
    return value


def _names(file: str, field: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str | int) for one in value):
        raise ConfigError("must be a list of names", file=file, field=field)
    return [str(one) for one in value]
