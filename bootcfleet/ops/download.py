"""What hosts download to get an image: the manifests from the registry, the sum by the domain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bootcfleet.domain.download import Download, download, platform_digest
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.drivers.registry import RegistryClient

DEFAULT_PLATFORM = Platform("linux", "amd64")


@dataclass(frozen=True)
class PlatformImage:
    """One platform's image: its manifest by digest, and the index that it was found in."""

    ref: ImageRef
    manifest: Manifest
    index: Manifest | None = None


def platform_image(
    client: RegistryClient, ref: ImageRef, platform: Platform = DEFAULT_PLATFORM
) -> PlatformImage:
    """The manifest that a host of `platform` gets by `ref`.

    A reference that is no index is what it is, whatever its platform. Raises
    `RegistryError`, `ManifestError`.
    """
    manifest = client.manifest(ref)
    if not manifest.is_index:
        return PlatformImage(ref.with_digest(manifest.digest), manifest)
    pinned = ref.with_digest(platform_digest(manifest, platform))
    return PlatformImage(pinned, client.manifest(pinned), manifest)


def measure(
    client: RegistryClient,
    have: Iterable[ImageRef],
    want: ImageRef,
    platform: Platform = DEFAULT_PLATFORM,
) -> Download:
    """What a host with the images `have` downloads to get `want`.

    Raises `RegistryError`, also when one of `have` is no longer in its registry.
    """
    owned = [platform_image(client, ref, platform).manifest for ref in have]
    target = platform_image(client, want, platform)
    return download(owned, target.manifest, target.index)
