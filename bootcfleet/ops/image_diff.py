"""Compare two images: what differs inside, what a host downloads, and what the fleet does."""

from __future__ import annotations

from collections.abc import Sequence

from bootcfleet.domain.bootc import BootEntry
from bootcfleet.domain.download import download
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.imagediff import FleetDownload, HostDownload, ImageDiff, diff_content
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError
from bootcfleet.ops.download import PlatformImage, platform_image
from bootcfleet.ops.fleet import HostReport
from bootcfleet.ops.imagecontents import Reader, open_image
from bootcfleet.ops.imagename import NamedImage


def diff_sizes(reader: Reader, a: NamedImage, b: NamedImage) -> ImageDiff:
    """The download from A to B, from the manifests alone.

    Raises `UsageError` for an image that is in no registry, `RegistryError`.
    """
    before = platform_image(reader.client, a.pushed(), reader.platform)
    after = platform_image(reader.client, b.pushed(), reader.platform)
    found = download([before.manifest], after.manifest, after.index)
    return ImageDiff(a.text, b.text, _digest(before), _digest(after), found, None)


def diff_images(reader: Reader, a: NamedImage, b: NamedImage) -> ImageDiff:
    """All that differs from A to B; without a download where one of them is in no registry.

    Raises `RegistryError`, `LayerError`, `PodmanError`.
    """
    before, after = open_image(reader, a), open_image(reader, b)
    found = None
    if before.remote and after.remote:
        found = download([before.remote.manifest], after.remote.manifest, after.remote.index)
    content = diff_content(before.facts(), after.facts())
    return ImageDiff(a.text, b.text, before.digest, after.digest, found, content)


def _digest(image: PlatformImage) -> str:
    return str((image.index or image.manifest).digest)


class FleetCounter:
    """Counts what each host downloads to get B, from the images that it keeps."""

    def __init__(
        self, client: RegistryClient, a: ImageRef, b: ImageRef, platform: Platform
    ) -> None:
        self._client, self._a, self._b, self._default = client, a, b, platform
        self._known: dict[Digest, Manifest] = {}
        self._targets: dict[tuple[ImageRef, Platform], PlatformImage | FleetError] = {}

    def count(self, reports: Sequence[HostReport]) -> FleetDownload:
        """Every host in one of four groups: on A, on B, on something else, unknown."""
        groups: dict[str, list[HostDownload]] = {"a": [], "b": [], "else": [], "unknown": []}
        for report in reports:
            group, host = self._host(report)
            groups[group].append(host)
        return FleetDownload(*(tuple(groups[name]) for name in ("a", "b", "else", "unknown")))

    def _host(self, report: HostReport) -> tuple[str, HostDownload]:
        name, status = report.host.name, report.status
        booted = status.booted if status else None
        if status is None or booted is None or booted.digest is None:
            why = report.error.message if report.error else "it does not run an image"
            return "unknown", HostDownload(name, None, None, why)
        digest = booted.digest
        platform = self._platform(booted)
        b = self._target(self._b, platform)
        if isinstance(b, FleetError):
            return "unknown", HostDownload(name, digest, None, b.message)
        if digest in _digests(b):
            return "b", HostDownload(name, digest, 0)
        have = [self._manifest(entry) for entry in (booted, status.staged, status.rollback)]
        if isinstance(have[0], FleetError):
            return "unknown", HostDownload(name, digest, None, have[0].message)
        # What is not there to be asked can only make the download smaller.
        kept = [one for one in have if isinstance(one, Manifest)]
        missing = any(isinstance(one, FleetError) for one in have)
        size = download(kept, b.manifest, b.index).size
        a = self._target(self._a, platform)
        group = "a" if not isinstance(a, FleetError) and digest in _digests(a) else "else"
        why = "at most: its rollback or staged image is no longer in the registry"
        return group, HostDownload(name, digest, size, why if missing else "")

    def _platform(self, entry: BootEntry) -> Platform:
        try:
            return Platform.parse(entry.architecture) if entry.architecture else self._default
        except FleetError:
            return self._default

    def _target(self, ref: ImageRef, platform: Platform) -> PlatformImage | FleetError:
        if (ref, platform) not in self._targets:
            try:
                self._targets[ref, platform] = platform_image(self._client, ref, platform)
            except FleetError as error:
                self._targets[ref, platform] = error
        return self._targets[ref, platform]

    def _manifest(self, entry: BootEntry | None) -> Manifest | FleetError | None:
        """The manifest of a slot; None for an empty one."""
        if entry is None or entry.digest is None:
            return None
        if entry.ref is None:
            return FleetError(f"{entry.reference or 'its image'} is from no registry")
        try:
            digest = Digest(entry.digest)
            if digest not in self._known:
                image = platform_image(
                    self._client, entry.ref.with_digest(digest), self._platform(entry)
                )
                self._known[digest] = image.manifest
        except FleetError as error:
            return error
        return self._known[digest]


def _digests(image: PlatformImage) -> set[str]:
    """What a host that runs it may say: the index, or the manifest of its platform."""
    return {str(one.digest) for one in (image.manifest, image.index) if one is not None}
