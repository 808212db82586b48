"""Compares hosts with what the inventory, the channels and the ledger say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.bootc import BootcStatus
from bootcfleet.domain.channel import ChannelEntry, Pair
from bootcfleet.domain.fleetdrift import (
    DriftCase,
    DriftFinding,
    drift_of,
    following,
    newest_moves,
    rollout_registries,
)
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.image import DOCKER_LIST, OCI_INDEX, Resolved
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError, HostError
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.fleet import Fleet, entry_json
from bootcfleet.ops.imagestanding import image_standings, slot_refs
from bootcfleet.ops.preflight import look_at
from bootcfleet.ops.project import LoadedProject


@dataclass(frozen=True)
class HostDrift:
    """One host: how it differs, or why it could not be asked."""

    host: str
    truth: HostTruth | None
    error: FleetError | None
    wanted: ImageRef | None
    findings: tuple[DriftFinding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        status = self.truth.status if self.truth else None
        fault = self.error.fault if isinstance(self.error, HostError) else None
        return {
            "host": self.host,
            "wanted": str(self.wanted) if self.wanted else None,
            "booted": entry_json(status.booted) if status else None,
            "staged": entry_json(status.staged) if status else None,
            "drift": [one.to_json(self.host) for one in self.findings],
            "error": {
                "fault": str(fault) if fault else None,
                "message": self.error.message,
                "hint": self.error.hint,
            }
            if self.error
            else None,
        }


@dataclass(frozen=True)
class DriftSurvey:
    """All hosts, and what could not be found out."""

    hosts: tuple[HostDrift, ...]
    notes: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[str, ...]:
        """The hosts that differ."""
        return tuple(one.host for one in self.hosts if one.findings)

    @property
    def silent(self) -> tuple[str, ...]:
        """The hosts that could not be asked."""
        return tuple(one.host for one in self.hosts if one.error)

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "hosts": [one.to_json() for one in self.hosts],
            "drifted": list(self.drifted),
            "not_asked": list(self.silent),
            "notes": list(self.notes),
        }


def survey_drift(
    fleet: Fleet,
    loaded: LoadedProject | None,
    ledger: Ledger,
    histories: Mapping[Pair, tuple[ChannelEntry, ...]],
    client: RegistryClient | None,
    *,
    today: date,
    parallel: int = 50,
) -> DriftSurvey:
    """Look at every host, and compare.

    What a host should run is its ``image:`` in the inventory, or else the reference that it
    follows; a channel of the project is what its history says, anything else what the registry
    says.  Without `client` what needs a registry is not known.  `today` is in UTC.  Raises
    `FleetError` when the ledger cannot be read.
    """
    looked = look_at(fleet, fleet.names, parallel=parallel)
    truths = {name: one for name, one in looked.items() if isinstance(one, HostTruth)}
    statuses: dict[str, BootcStatus | None] = {name: one.status for name, one in truths.items()}
    newest = [history[-1] for history in histories.values() if history]
    refs = {str(ref): ref for one in statuses.values() if one for _, ref in slot_refs(one)}
    standings = image_standings(list(refs.values()), loaded, ledger, newest, client, today=today)
    wanted = {name: fleet.hosts[name].image or _own(statuses[name]) for name in truths}
    resolved, notes = _resolve(wanted.values(), newest, client)
    entries = ledger.entries(action="fleet")
    moves = newest_moves(entries)
    if loaded is None:
        moves = _of_these(moves, rollout_registries(entries), statuses)
    followed = following(statuses)
    hosts = []
    for name, one in looked.items():
        if isinstance(one, FleetError) or one.problem is not None:
            error = one if isinstance(one, FleetError) else one.problem
            hosts.append(HostDrift(name, None, error, fleet.hosts[name].image))
            continue
        own = _own(one.status)
        case = DriftCase(
            one,
            fleet.hosts[name].image,
            wanted[name],
            resolved.get(str(wanted[name])),
            standings,
            moves.get(name),
            own is not None and own.name in followed,
        )
        hosts.append(HostDrift(name, one, None, wanted[name], drift_of(case)))
    return DriftSurvey(tuple(hosts), (*notes, *standings.notes))


def _of_these(
    moves: Mapping[str, AuditEntry],
    registries: Mapping[str, frozenset[str]],
    statuses: Mapping[str, BootcStatus | None],
) -> dict[str, AuditEntry]:
    """The moves that may be of these hosts.

    The ledger of a user who is in no project is one for all inventories: a host of the same name
    may have been another machine, in a lab with another registry.
    """
    kept = {}
    for host, entry in moves.items():
        own = _own(statuses.get(host))
        known = registries.get(str(entry.details.get("rollout")))
        if known is None or own is None or own.registry in known:
            kept[host] = entry
    return kept


def _own(status: BootcStatus | None) -> ImageRef | None:
    return status.booted.ref if status and status.booted else None


def _resolve(
    wanted: Iterable[ImageRef | None],
    newest: Iterable[ChannelEntry],
    client: RegistryClient | None,
) -> tuple[dict[str, Resolved], list[str]]:
    """What each reference should be now, and what is not known or contradicts itself."""
    channels = {
        str(ImageRef.parse(entry.repository).with_tag(entry.channel)): entry for entry in newest
    }
    refs = {str(ref): ref for ref in wanted if ref is not None}
    entries = {text: channels[text] for text in refs if text in channels}
    if client is None:
        # An index and its platforms are one image, which only the registry tells.
        single = {
            text: Resolved(refs[text], Digest(entry.digest), version=entry.version)
            for text, entry in entries.items()
            if entry.media_type not in {OCI_INDEX, DOCKER_LIST}
        }
        return single, []
    asked = client
    found = gather(tuple(refs), lambda text: asked.resolve(refs[text]), parallel=8)
    told = gather(tuple(entries), lambda text: asked.resolve(entries[text].reference), parallel=8)
    resolved: dict[str, Resolved] = {}
    notes = []
    for text, ref in refs.items():
        there = found[text]
        if isinstance(there, FleetError):
            notes.append(f"what {text} is now is not known: {there.message}")
        else:
            resolved[text] = there
        said = told.get(text)
        if said is None:
            continue
        if isinstance(said, FleetError):
            notes.append(f"what the channel {text} should be is not there: {said.message}")
            continue
        if not isinstance(there, FleetError) and there.digest != said.digest:
            notes.append(
                f"the tag {text} is {there.digest.short}, and by its history it is "
                f"{said.digest.short}: bootcfleet channel verify"
            )
        resolved[text] = replace(said, ref=ref)
    return resolved, notes
