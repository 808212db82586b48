"""The manifest that a host of one platform gets from a registry."""

from __future__ import annotations

from dataclasses import dataclass

from bootcfleet.domain.download import platform_digest
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
