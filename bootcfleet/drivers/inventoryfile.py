"""Reads an inventory file of any kind: ours, Ansible's INI or YAML, or an executable."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bootcfleet.domain import ansible
from bootcfleet.domain.ansible_ini import read_ini
from bootcfleet.domain.inventory import Inventory
from bootcfleet.domain.inventory_native import parse_inventory
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import Executor
from bootcfleet.errors import ConfigError

#: Seconds that an executable inventory may take.
_TIMEOUT = 120.0


def load_inventory(path: Path, executor: Executor) -> Inventory:
    """Read the inventory at `path`.

    A file that may be executed is run with ``--list`` (as Ansible does); of the
    others, ``.yaml``, ``.yml`` and ``.json`` are YAML, in our format when
    ``version`` stands at the top, else in Ansible's; the rest is INI.  Raises
    `ConfigError`.
    """
    if path.is_file() and os.access(path, os.X_OK):
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
    return ansible.to_inventory(ansible.read_tree(str(path), document.data))


def _run(path: Path, executor: Executor) -> Inventory:
    result = executor.run([str(path.absolute()), "--list"], timeout=_TIMEOUT)
    if not result.ok:
        raise ConfigError(
            f"its --list ended with exit code {result.exit_code}",
            file=str(path),
            details=result.stderr.strip().splitlines()[-10:],
            hint="an inventory that is no program must not be executable: chmod -x it",
        )
    try:
        data = json.loads(result.stdout)
    except ValueError as error:
        raise ConfigError(f"its --list is not JSON: {error}", file=str(path)) from error
    return ansible.to_inventory(ansible.read_list(str(path), data))
