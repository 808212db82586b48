"""What `image diff` does once its options are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.imagediff import FleetDownload
from bootcfleet.domain.imagediff_format import data, markdown, text
from bootcfleet.domain.reference import Platform
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops import connect
from bootcfleet.ops.fleet import status
from bootcfleet.ops.image_diff import FleetCounter, diff_images, diff_sizes
from bootcfleet.ops.imagecontents import Reader
from bootcfleet.ops.imagename import NamedImage, name_image
from bootcfleet.ops.project import LoadedProject, find_project


@dataclass(frozen=True)
class Wish:
    """What of the difference is wanted."""

    platform: str
    size_only: bool
    everything: bool
    fleet: bool
    inventory: Path | None


def run_diff(a: str, b: str, how: str, wish: Wish) -> None:
    """Compare two images and print the difference."""
    output = Output(as_json=how == "json")
    platform = Platform.parse(wish.platform)
    loaded = find_project()
    before, after = name_image(loaded, a), name_image(loaded, b)
    with RegistryClient() as client:
        reader = Reader.of(loaded, client, LocalExecutor(), platform, output.passing)
        found = (diff_sizes if wish.size_only else diff_images)(reader, before, after)
        if wish.fleet:
            counted = _count(loaded, wish.inventory, client, before, after, platform)
            found = replace(found, fleet=counted)
    if how == "json":
        output.json(data(found))
    elif how == "markdown":
        output.line(markdown(found, everything=wish.everything))
    else:
        output.line(text(found, everything=wish.everything))


def _count(
    loaded: LoadedProject | None,
    inventory: Path | None,
    client: RegistryClient,
    a: NamedImage,
    b: NamedImage,
    platform: Platform,
) -> FleetDownload:
    """Ask every host of the inventory.  Raises `UsageError` for an image that is not pushed."""
    counter = FleetCounter(client, a.pushed(), b.pushed(), platform)
    _, hosts = connect.select(connect.inventory_path(inventory, loaded), (), (), ())
    fleet = connect.over_ssh(hosts, ask_secret)
    try:
        reports, _ = status(fleet, None)
    finally:
        fleet.close()
    return counter.count(reports)
