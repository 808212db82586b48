"""Gather what is known of a project's images: builds, evidence, channels, packages, hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime

from bootcfleet.domain.catalog import Catalog, CatalogImage
from bootcfleet.domain.channel import ChannelEntry
from bootcfleet.domain.evidence import EvidenceKind
from bootcfleet.domain.graph_format import GraphFormat, draw
from bootcfleet.domain.impact import HostSurvey
from bootcfleet.domain.lifecycle import end_of_life
from bootcfleet.domain.lineage import Lineage
from bootcfleet.errors import FleetError
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.channel import open_store
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.imagecontents import Reader, open_image
from bootcfleet.ops.imagename import name_image
from bootcfleet.ops.plan import image_graph
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.render import ProjectImages


def make_catalog(
    images: ProjectImages, survey: HostSurvey, now: datetime, *, reader: Reader | None
) -> Catalog:
    """The catalogue of a project at `now`.

    `reader` looks into the images for their packages; None leaves them out. An image
    that cannot be read has a note in place of its packages. Raises `FleetError` when
    the ledger cannot be read.
    """
    loaded = images.loaded
    graph = image_graph(loaded)
    last = images.files.last_builds()
    store = open_store(loaded)
    try:
        histories = store.all()
    finally:
        store.close()
    found: list[CatalogImage] = []
    with closing(open_ledger(loaded)) as ledger:
        lineage = Lineage.of(ledger)
        for name in graph.names:
            spec, built = loaded.project.images[name], last.get(name)
            digest = built.digest if built else None
            life = end_of_life(loaded.project, graph, name, now.astimezone(UTC).date())
            evidence: dict[str, str] = {}
            for kind in EvidenceKind if digest else ():
                proof = latest_evidence(ledger, kind, digest or "")
                if proof is not None:
                    evidence[kind.gate] = f"{proof.outcome.value} at {_time(proof.at)}"
            packages, note = _packages(loaded, name, reader if digest else None)
            found.append(
                CatalogImage(
                    name=name,
                    description=spec.description,
                    template=spec.template or name,
                    parent=spec.from_,
                    base=spec.base,
                    digest=digest,
                    built_at=built.built_at if built else None,
                    end_of_life=life.ends.isoformat() if life.ends else None,
                    evidence=evidence,
                    channels=_channels(name, histories, loaded),
                    hosts=_hosts(name, survey, lineage),
                    packages=packages,
                    note=note,
                )
            )
    notes = [f"hosts were not asked: {survey.why}"] if not survey.asked else []
    notes += [f"{host} did not say what it runs: {why}" for host, why in survey.silent.items()]
    return Catalog(
        loaded.project.name,
        loaded.project.registry,
        _time(now),
        draw(graph, GraphFormat.TREE),
        draw(graph, GraphFormat.MERMAID),
        tuple(found),
        tuple(notes),
    )


def _packages(
    loaded: LoadedProject, name: str, reader: Reader | None
) -> tuple[tuple[tuple[str, str], ...] | None, str]:
    if reader is None:
        return None, ""
    try:
        installed = open_image(reader, name_image(loaded, name)).installed
    except FleetError as error:
        return None, f"they could not be read: {error.message}"
    return tuple(sorted((one.name, str(one.evr)) for one in installed.packages)), ""


def _channels(
    name: str,
    histories: Mapping[tuple[str, str], Sequence[ChannelEntry]],
    loaded: LoadedProject,
) -> dict[str, dict[str, str]]:
    """The newest entry of each channel, in the order of the project."""
    found: dict[str, dict[str, str]] = {}
    for channel in dict.fromkeys([*loaded.project.channels, *(one for _, one in histories)]):
        entries = histories.get((name, channel))
        if entries:
            newest = entries[-1]
            found[channel] = {
                "digest": newest.digest,
                "since": _time(newest.at),
                "who": newest.actor,
            }
    return found


def _hosts(name: str, survey: HostSurvey, lineage: Lineage) -> tuple[dict[str, str], ...]:
    """Hosts that have any image of this name in a slot."""
    return tuple(
        {"host": one.host, "slot": one.slot, "digest": one.digest}
        for one in survey.deployed
        if lineage.name(one.digest) == name
    )


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
