"""Reads an inventory file of any kind: ours, Ansible's INI or YAML, or an executable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootcfleet.domain import ansible, ansible_tree
from bootcfleet.domain.ansible_ini import read_ini
from bootcfleet.domain.inventory import Inventory, host_name_problem
from bootcfleet.domain.inventory_native import parse_inventory
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import CommandTimeoutError, Executor
from bootcfleet.errors import ConfigError, ToolMissingError

#: Seconds that an executable inventory may take for one answer.
_TIMEOUT = 120.0
#: How a file begins that can be run: a script, or a compiled program.
_PROGRAM = (b"#!", b"\x7fELF")


def load_inventory(path: Path, executor: Executor) -> Inventory:
    """Read the inventory at `path`.

    A file that may be executed and is a program is run with ``--list``, as
    Ansible does.  Of the others, ``.yaml``, ``.yml`` and ``.json`` are in our
    format when ``version`` (or another word of ours) stands at the top, else in
    Ansible's; the rest is INI.  Raises `ConfigError`.
    """
    if _is_program(path):
        return _run(path, executor)
    text = yamlfile.read_text(path)
    if path.suffix not in {".yaml", ".yml", ".json"}:
        return ansible.to_inventory(read_ini(str(path), text))
    document = yamlfile.parse(text, str(path))
    if not isinstance(document.data, dict):
        raise ConfigError("is not an inventory: a mapping is expected", file=str(path))
    ours = "version" in document.data or not document.data
    if ours or set(document.data) & {"defaults", "groups", "hosts"}:
        return parse_inventory(document)
    if ansible_tree.is_list(document.data):
        return ansible.to_inventory(ansible_tree.read_list(str(path), document.data))
    return ansible.to_inventory(ansible_tree.read_tree(document))


def _is_program(path: Path) -> bool:
    # Some file systems call every file executable: the permission alone says little.
    if not path.is_file() or not os.access(path, os.X_OK):
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(4).startswith(_PROGRAM)
    except PermissionError:
        return True


def _run(path: Path, executor: Executor) -> Inventory:
    data = _ask(path, executor, "--list")
    source = ansible_tree.read_list(str(path), data)
    if not ansible_tree.is_list(data):
        # Without _meta each host's variables are asked for, as Ansible does.
        members = [group.hosts for group in source.groups.values()]
        for host in sorted({host for hosts in members for host in hosts}):
            if problem := host_name_problem(host):
                raise ConfigError(problem, file=str(path))
            found = _ask(path, executor, "--host", host)
            if not isinstance(found, Mapping):
                raise ConfigError(f"its --host {host} is not a JSON object", file=str(path))
            for hosts in members:
                if host in hosts:
                    hosts[host].update(found)
    return ansible.to_inventory(source)


def _ask(path: Path, executor: Executor, *words: str) -> Any:
    what = f"its {' '.join(words)}"
    try:
        result = executor.run([str(path.absolute()), *words], timeout=_TIMEOUT)
    except CommandTimeoutError as error:
        raise ConfigError(f"{what} did not end within {_TIMEOUT:g} s", file=str(path)) from error
    except ToolMissingError as error:
        raise ConfigError(f"cannot be run: {error.message}", file=str(path)) from error
    if not result.ok:
        raise ConfigError(
            f"{what} ended with exit code {result.exit_code}",
            file=str(path),
            details=result.stderr.strip().splitlines()[-10:],
            hint=f"run it by hand: {path} {words[0]}",
        )
    try:
        return json.loads(result.stdout)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{what} is not JSON: {error}",
            file=str(path),
            details=[f"it begins with {result.stdout.strip()[:80]!r}"],
            hint=f"run it by hand: {path} {words[0]}",
        ) from error
