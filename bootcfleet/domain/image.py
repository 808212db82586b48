"""Manifests and what a reference stands for, from the bytes that a registry gave.

Source: OCI image specification 1.1 (index, manifest, configuration), and the
Docker schema 2 forms that many registries still hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.reference import ARCHITECTURES, Digest, ImageRef, Platform
from bootcfleet.errors import FleetError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

#: What is asked for; the order is a preference.
MEDIA_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)

VERSION_LABEL = "org.opencontainers.image.version"


class ManifestError(FleetError):
    """A registry's answer is not a manifest."""


def sha256(data: bytes) -> Digest:
    """The digest of bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """A manifest or index as bytes.  The bytes are the contract: never re-serialised (law 6)."""

    digest: Digest
    media_type: str
    raw: bytes

    @property
    def body(self) -> Mapping[str, Any]:
        """The parsed bytes.  Raises `ManifestError`."""
        try:
            body = json.loads(self.raw)
        except ValueError as error:
            raise ManifestError(f"the manifest {self.digest} is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise ManifestError(f"the manifest {self.digest} is not a JSON object")
        return body

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests of several platforms."""
        return self.media_type in {OCI_INDEX, DOCKER_LIST} or "manifests" in self.body

    @property
    def children(self) -> Mapping[Platform, Digest]:
        """The manifests of an index by platform; attestations and unknown platforms are left out.

        Raises `ManifestError`.
        """
        found: dict[Platform, Digest] = {}
        for entry in self.body.get("manifests") or ():
            try:
                platform = entry.get("platform") or {}
                architecture = ARCHITECTURES.get(platform.get("architecture", ""))
                if platform.get("os") == "linux" and architecture:
                    found.setdefault(Platform("linux", architecture), Digest(entry["digest"]))
            except (AttributeError, KeyError, TypeError) as error:
                raise ManifestError(f"the index {self.digest} has an entry that is none") from error
        return found

    @property
    def config_digest(self) -> Digest:
        """The configuration of a single manifest.  Raises `ManifestError`."""
        try:
            return Digest(self.body["config"]["digest"])
        except (KeyError, TypeError) as error:
            raise ManifestError(f"the manifest {self.digest} has no configuration") from error

    @property
    def layers(self) -> tuple[tuple[Digest, int], ...]:
        """Digest and size (bytes) of each layer.  Raises `ManifestError`."""
        try:
            return tuple((Digest(one["digest"]), int(one["size"])) for one in self.body["layers"])
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestError(f"the manifest {self.digest} has no layers") from error


@dataclass(frozen=True)
class Config:
    """What an image's configuration says: platform, labels, time of its build (RFC 3339)."""

    platform: Platform | None
    labels: Mapping[str, str]
    created: str | None

    @classmethod
    def parse(cls, raw: bytes) -> Config:
        """Read a configuration.  Raises `ManifestError`."""
        try:
            body = json.loads(raw)
            labels = (body.get("config") or {}).get("Labels") or {}
            architecture = ARCHITECTURES.get(body.get("architecture", ""))
            return cls(
                Platform("linux", architecture) if architecture else None,
                {str(key): str(value) for key, value in labels.items()},
                body.get("created"),
            )
        except (ValueError, AttributeError) as error:
            raise ManifestError(f"an image's configuration is not readable: {error}") from error

    @property
    def version(self) -> str | None:
        """The label that ``bootc status`` shows as the version."""
        return self.labels.get(VERSION_LABEL)


@dataclass(frozen=True)
class Resolved:
    """What a reference was at one moment: the digest, and the digests of its platforms."""

    ref: ImageRef
    digest: Digest
    platforms: Mapping[Platform, Digest] = field(default_factory=dict)
    version: str | None = None

    def accepts(self, digest: str) -> bool:
        """Whether a host that says `digest` runs this: the index or one of its manifests."""
        return digest == str(self.digest) or any(
            digest == str(own) for own in self.platforms.values()
        )
