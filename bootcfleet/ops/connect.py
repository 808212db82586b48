"""From an inventory file and a selection to a fleet whose hosts can be spoken to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bootcfleet.domain.inventory import Host, Inventory
from bootcfleet.domain.selector import Selector
from bootcfleet.drivers.command import Executor, LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from bootcfleet.errors import UsageError
from bootcfleet.ops.fleet import Fleet

if TYPE_CHECKING:
    from bootcfleet.ops.project import LoadedProject


def inventory_path(given: Path | None, loaded: LoadedProject | None) -> Path:
    """The inventory to read: the one named, or $BOOTCFLEET_INVENTORY, or the project's.

    Raises `UsageError` when there is none.
    """
    if given is not None:
        return given
    if named := os.environ.get("BOOTCFLEET_INVENTORY"):
        return Path(named)
    if loaded is not None:
        return loaded.root / loaded.project.inventory
    here = Path("inventory.yaml")
    if here.exists():
        return here
    raise UsageError(
        "no inventory: this is not in a project, and there is no inventory.yaml here",
        hint="name one with -i FILE, or start a project with `bootcfleet init NAME`",
    )


def select(
    path: Path,
    labels: Sequence[str],
    groups: Sequence[str],
    patterns: Sequence[str],
) -> tuple[Inventory, tuple[Host, ...]]:
    """Read the inventory and choose its hosts.

    Raises `ConfigError` for a file that is wrong and `UsageError` for a
    selection that matches nothing.
    """
    inventory = load_inventory(path, LocalExecutor())
    if not inventory.hosts:
        raise UsageError(
            f"{path} has no hosts yet",
            hint=f"add hosts to {path}, or rehearse with `bootcfleet lab up`",
        )
    return inventory, inventory.select(Selector.parse(labels, groups, patterns))


def over_ssh(hosts: Sequence[Host], ask: Callable[[str], str]) -> Fleet:
    """A fleet behind SSH; `ask` is called for passphrases and the sudo password, once each."""
    shared = SshShared(ask=ask)

    def connect(host: Host) -> Executor:
        return SshExecutor(host.name, host.connection, shared)

    return Fleet(hosts, connect, shared.close)
