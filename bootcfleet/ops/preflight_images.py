"""What manifests and labels tell of the images that hosts have, and would get."""

from __future__ import annotations

from collections.abc import Sequence

from bootcfleet.domain.bootc import BootcStatus, BootEntry
from bootcfleet.domain.download import Download, download
from bootcfleet.domain.image import Manifest, ManifestError, Resolved
from bootcfleet.domain.osrelease import OsRelease
from bootcfleet.domain.preflight_case import Planned
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError, Platform
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.download import platform_image
from bootcfleet.ops.fanout import gather


class Images:
    """Manifests and releases, each image asked for once; what a registry does not tell is unknown.

    A registry that fails was told of by `resolve` already, and what is missing here costs a host
    nothing but the knowledge of its download.
    """

    def __init__(self, registry: RegistryClient | None, parallel: int) -> None:
        self._registry = registry
        self._parallel = parallel
        self._manifests: dict[tuple[str, str], tuple[Manifest, Manifest | None]] = {}
        self._releases: dict[tuple[str, str], OsRelease | None] = {}

    def learn(
        self, hosts: Sequence[tuple[BootcStatus | None, ImageRef | None, Resolved | None]]
    ) -> None:
        """Ask for what the hosts have and for what they are to become."""
        if self._registry is None:
            return
        wanted: dict[str, tuple[ImageRef, Platform, bool]] = {}
        for status, ref, resolved in hosts:
            platform = _platform(status)
            if platform is None or status is None:
                continue
            for own in _slots(status):
                wanted.setdefault(f"{own} {platform}", (own, platform, False))
            target = goal(ref, resolved)
            if target is not None:
                wanted[f"{target} {platform}"] = (target, platform, True)
        gather(tuple(wanted), lambda key: self._ask(*wanted[key]), parallel=min(8, self._parallel))

    def download(
        self, status: BootcStatus | None, planned: Planned
    ) -> tuple[Download | None, bool]:
        """What a host downloads, and whether all that it has is known."""
        platform = _platform(status)
        if planned.reference is None or planned.resolved is None or platform is None or not status:
            return None, True
        target = planned.reference.with_digest(planned.resolved.digest)
        found = self._manifests.get((str(target), str(platform)))
        if found is None:
            return None, True
        own = [self._manifests.get((str(ref), str(platform))) for ref in _slots(status)]
        have = [one[0] for one in own if one is not None]
        try:
            return download(have, *found), len(have) == len(own)
        except ManifestError:
            return None, True

    def release(
        self, status: BootcStatus | None, wanted: ImageRef | None, resolved: Resolved | None
    ) -> OsRelease | None:
        """The operating system of what a host is to become."""
        platform = _platform(status)
        if wanted is None or platform is None:
            return None
        target = goal(wanted, resolved)
        return self._releases.get((str(target), str(platform)))

    def _ask(self, ref: ImageRef, platform: Platform, labels: bool) -> None:
        if self._registry is None:
            return
        key = (str(ref), str(platform))
        image = platform_image(self._registry, ref, platform)
        self._manifests[key] = (image.manifest, image.index)
        if labels:
            config = self._registry.config(image.ref)
            self._releases[key] = OsRelease.of_labels(config.labels)


def _platform(status: BootcStatus | None) -> Platform | None:
    machine = status.booted.architecture if status and status.booted else None
    try:
        return Platform.parse(machine) if machine else None
    except InvalidReferenceError:
        return None


def _slots(status: BootcStatus) -> list[ImageRef]:
    """The images that a host has, by digest; only those that came from a registry."""
    slots = (status.booted, status.staged, status.rollback, *status.others)
    found = (by_digest(slot) for slot in slots)
    return list({str(ref): ref for ref in found if ref is not None}.values())


def by_digest(entry: BootEntry | None) -> ImageRef | None:
    """The image of a slot by its digest; None where it did not come from a registry."""
    if entry is None or entry.ref is None or entry.digest is None:
        return None
    try:
        return entry.ref.with_digest(Digest(entry.digest))
    except InvalidReferenceError:
        return None


def goal(wanted: ImageRef | None, resolved: Resolved | None) -> ImageRef | None:
    """What the host is to become, by digest."""
    if wanted is None or resolved is None:
        return wanted if wanted is not None and wanted.digest is not None else None
    return wanted.with_digest(resolved.digest)
