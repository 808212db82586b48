"""How simulated hosts pull: real HTTP against any registry, for manifests and configurations.

A simulated host has no disk, so layers are not downloaded; whether the registry
has each is asked by HEAD, and their sizes come from the manifest.
"""

from __future__ import annotations

import threading

from bootcfleet.domain.image import Config, Manifest
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.drivers.simhost import HEALTH_LABEL, Pulled, PullError
from bootcfleet.errors import FleetError


class Puller:
    """Pulls for all hosts of a lab; what a digest holds is asked once."""

    def __init__(self, client: RegistryClient, platform: Platform) -> None:
        self._client = client
        self._platform = platform
        self._known: dict[str, Pulled] = {}
        self._lock = threading.Lock()

    def pull(self, reference: str) -> Pulled:
        """The image of this platform.  Raises `PullError`."""
        try:
            ref = ImageRef.parse(reference)
            # A tag is asked for every time: where it points may have changed.
            manifest = self._client.manifest(ref)
            with self._lock:
                known = self._known.get(str(manifest.digest))
            if known is None:
                known = self._fetch(ref, manifest)
                with self._lock:
                    self._known[str(manifest.digest)] = known
            return known
        except RegistryError as error:
            raise PullError(_text(reference, error)) from error
        except FleetError as error:
            raise PullError(f"parsing {reference}: {error.message}") from error

    def _fetch(self, ref: ImageRef, manifest: Manifest) -> Pulled:
        if manifest.is_index:
            child = manifest.children.get(self._platform)
            if child is None:
                raise PullError(
                    f"choosing image instance: no image found in manifest list for architecture "
                    f"{self._platform.architecture}, OS linux"
                )
            manifest = self._client.manifest(ref.with_digest(child))
        pinned = ref.with_digest(manifest.digest)
        config = Config.parse(self._client.blob(pinned, manifest.config_digest))
        for digest, _ in manifest.layers:
            if not self._client.has_blob(pinned, digest):
                raise PullError(f"fetching blob: blob unknown to registry: {digest}")
        platform = config.platform or self._platform
        return Pulled(
            digest=manifest.digest,
            version=config.version,
            created=config.created,
            architecture=platform.architecture,
            healthy=config.labels.get(HEALTH_LABEL) != "bad",
            layers=manifest.layers,
        )


def _text(reference: str, error: RegistryError) -> str:
    """As containers/image words it."""
    name, _, tag = reference.rpartition(":")
    if error.status == 404:
        return f"reading manifest {tag} in {name}: manifest unknown"
    if error.status in {401, 403}:
        return f"reading manifest {tag} in {name}: denied: {error.status} {error.message}"
    if error.status == 429:
        return f"reading manifest {tag} in {name}: toomanyrequests: 429 Too Many Requests"
    return f"pinging container registry {reference.partition('/')[0]}: {error.message}"
