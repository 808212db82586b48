"""Asks the hosts of an inventory which images they have, in every slot."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bootcfleet.domain.bootc import BootcStatus, BootEntry, Slot
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.impact import Deployed, HostSurvey
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.lineage import Lineage, Made, Proof
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops import connect
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.fleet import Fleet, observe
from bootcfleet.ops.lineage import learn, stands_on
from bootcfleet.ops.project import LoadedProject

#: Answers of hosts that have no images: bootc is not there, or has not booted them.
_WITHOUT = frozenset({HostFault.NO_BOOTC, HostFault.NOT_BOOTC_BOOTED})


def find_hosts(given: Path | None, loaded: LoadedProject | None) -> tuple[Host, ...]:
    """All hosts of the inventory: the one named, or the environment's, or the project's.

    None of them where the project has no inventory, or one without hosts.  Raises
    `ConfigError` for a file that is wrong, or named and not there.
    """
    named = given is not None or bool(os.environ.get("BOOTCFLEET_INVENTORY"))
    if not named and loaded is None and not Path("inventory.yaml").exists():
        return ()
    path = connect.inventory_path(given, loaded)
    if not named and not path.exists():
        return ()
    return load_inventory(path, LocalExecutor()).hosts


def survey_hosts(
    hosts: Sequence[Host], ask: Callable[[str], str], *, parallel: int = 50
) -> HostSurvey:
    """Ask every host over SSH; `ask` is for passphrases.  A host's silence is in the answer."""
    if not hosts:
        return HostSurvey(False, "there is no inventory with hosts")
    fleet = connect.over_ssh(hosts, ask)
    try:
        return survey_fleet(fleet, parallel=parallel)
    finally:
        fleet.close()


def survey_fleet(fleet: Fleet, *, parallel: int = 50) -> HostSurvey:
    """Ask every host of a fleet."""
    deployed: list[Deployed] = []
    silent: dict[str, str] = {}
    for host, facts in observe(fleet, parallel=parallel).items():
        if isinstance(facts, HostError) and facts.fault in _WITHOUT:
            continue
        if isinstance(facts, FleetError):
            silent[host] = facts.message
            continue
        found, gap = slots(host, facts.status)
        deployed += found
        if gap:
            silent[host] = gap
    return HostSurvey(True, deployed=tuple(deployed), unknown=silent)


def slots(host: str, status: BootcStatus) -> tuple[list[Deployed], str | None]:
    """What a host has, by slot; and why that is not all that it has, or None."""
    named: list[tuple[str, BootEntry | None]] = [
        (Slot.BOOTED.value, status.booted),
        (Slot.STAGED.value, status.staged),
        (Slot.ROLLBACK.value, status.rollback),
        *(("other", entry) for entry in status.others),
    ]
    found: list[Deployed] = []
    for slot, entry in named:
        if entry is None or entry.image is None:
            continue
        if entry.digest is None:
            return found, f"its {slot} slot has {entry.reference} without a digest"
        found.append(Deployed(host, slot, entry.digest, entry.reference))
    return found, None


def learn_deployed(lineage: Lineage, client: RegistryClient, survey: HostSurvey) -> tuple[str, ...]:
    """Add what labels tell of images that hosts have and the ledger did not build.

    What could not be found out comes back as sentences.
    """
    notes: list[str] = []
    for ref in _unknown(lineage, survey):
        notes += learn(lineage, client, ref)
    return tuple(notes)


def learn_layers(
    lineage: Lineage,
    client: RegistryClient,
    target: ImageRef,
    images: Sequence[ImageRef],
) -> tuple[str, ...]:
    """Find by their layers which of `images` stand on `target` (all by digest).

    For images that the ledger did not build: labels are inherited, or not there.  What
    could not be found out comes back as sentences.
    """
    digest = str(target.digest)
    known = {one for image in (digest, *lineage.descendants(digest)) for one in lineage.same(image)}
    notes = []
    for ref in dict.fromkeys(images):
        made = lineage.made(str(ref.digest))
        if str(ref.digest) in known or (made and made.proof is Proof.LEDGER):
            continue
        try:
            if stands_on(client, ref, target):
                lineage.found_on(str(ref.digest), digest, ref.name)
        except FleetError as error:
            notes.append(f"whether {ref} stands on it is not known: {error.message}")
    return tuple(notes)


def deployed_images(survey: HostSurvey) -> tuple[ImageRef, ...]:
    """What hosts have, by digest in the repositories that they name; each once."""
    found: dict[str, ImageRef] = {}
    for one in survey.deployed:
        if one.reference is None:
            continue
        try:
            ref = ImageRef.parse(one.reference).with_digest(Digest(one.digest))
        except InvalidReferenceError:
            continue  # not from a registry
        found.setdefault(str(ref), ref)
    return tuple(found.values())


def _unknown(lineage: Lineage, survey: HostSurvey) -> tuple[ImageRef, ...]:
    images = deployed_images(survey)
    return tuple(ref for ref in images if lineage.made(str(ref.digest)) is None)


def learn_platforms(
    lineage: Lineage, client: RegistryClient, images: Sequence[ImageRef]
) -> tuple[str, ...]:
    """Add the platforms' digests of indexes: hosts tell theirs, and channels the index's.

    What could not be found out comes back as sentences.
    """
    by_text = {str(ref): ref for ref in images}
    notes = []
    found = gather(tuple(by_text), lambda text: client.manifest(by_text[text]), parallel=8)
    for text, manifest in found.items():
        ref = by_text[text]
        if isinstance(manifest, FleetError):
            notes.append(f"{ref} cannot be asked: {manifest.message}")
        else:
            _alias(lineage, ref, manifest)
    return tuple(notes)


def _alias(lineage: Lineage, ref: ImageRef, manifest: Manifest) -> None:
    if not manifest.is_index:
        return
    digests = tuple(map(str, (manifest.digest, *manifest.children.values())))
    name = lineage.name(str(manifest.digest)) or ref.name
    lineage.learn(Made(name, digests, None, Proof.LABEL, pushed=digests))
