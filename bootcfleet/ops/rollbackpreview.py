"""Previews of a rollback for hosts that have been looked at, with what is known of their images."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from bootcfleet.domain.channel import ChannelEntry, Pair
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.rollbackpreview import RollbackPreview, preview_rollback
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.imagestanding import image_standings, slot_refs
from bootcfleet.ops.project import LoadedProject


def preview_rollbacks(
    truths: Mapping[str, HostTruth],
    loaded: LoadedProject | None,
    ledger: Ledger,
    histories: Mapping[Pair, tuple[ChannelEntry, ...]],
    client: RegistryClient | None,
    *,
    today: date,
) -> tuple[dict[str, RollbackPreview], tuple[str, ...]]:
    """A preview for each host whose bootc answered, and what could not be found out.

    `today` is in UTC.  Raises `FleetError` when the ledger cannot be read.
    """
    statuses = {name: one.status for name, one in truths.items() if one.status is not None}
    wanted = {
        str(ref): ref
        for status in statuses.values()
        for slot, ref in slot_refs(status)
        if slot == "rollback"
    }
    newest = [history[-1] for history in histories.values() if history]
    standings = image_standings(list(wanted.values()), loaded, ledger, newest, client, today=today)
    previews = {
        name: preview_rollback(name, status, standings, timer=truths[name].timer)
        for name, status in statuses.items()
    }
    return previews, standings.notes
