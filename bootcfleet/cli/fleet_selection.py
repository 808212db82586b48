"""From the options of a fleet command to the hosts that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootcfleet.cli.fleet_options import Selection
from bootcfleet.domain.inventory import Host
from bootcfleet.ops import connect

if TYPE_CHECKING:
    from bootcfleet.ops.project import LoadedProject


def selected(selection: Selection) -> tuple[LoadedProject | None, tuple[Host, ...]]:
    """The project, if this is one, and the hosts that are selected.  Raises `UsageError`."""
    # `fleet status` does without it where an inventory is named: it takes time to import.
    from bootcfleet.ops.project import find_project

    loaded = find_project()
    return loaded, hosts_of(selection, loaded)


def hosts_of(selection: Selection, loaded: LoadedProject | None) -> tuple[Host, ...]:
    """The selected hosts, of the project's inventory unless one is named.  Raises `UsageError`."""
    path = connect.inventory_path(selection.inventory, loaded)
    _, hosts = connect.select(
        path, selection.labels or (), selection.groups or (), selection.patterns or ()
    )
    return hosts
