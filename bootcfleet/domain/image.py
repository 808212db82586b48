"""Manifests and what a reference stands for, from the bytes that a registry gave.

Source: OCI image specification 1.1 (index, manifest, configuration), and the
Docker schema 2 forms that many registries still hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bootcfleet.domain.reference import (
    ARCHITECTURES,
    Digest,
    ImageRef,
    InvalidReferenceError,
    Platform,
)
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

    @classmethod
    def of(cls, raw: bytes, content_type: str = "") -> Self:
        """The manifest in the bytes of an answer, with the media type that it has.

        The answer's Content-Type decides; where it is none of a manifest's (some
        registries say text/plain), the bytes do: their ``mediaType``, or their
        form, for OCI manifests may leave it out.  Raises `ManifestError`.
        """
        kind = content_type.partition(";")[0].strip().lower()
        manifest = cls(sha256(raw), kind, raw)
        body = manifest.body
        if body.get("schemaVersion") == 1:
            raise ManifestError(
                f"the manifest {manifest.digest} is in Docker's schema 1, which is no longer used",
                hint="push the image again with a current podman, docker or skopeo",
            )
        if kind in MEDIA_TYPES:
            return manifest
        declared = body.get("mediaType")
        if not isinstance(declared, str):
            declared = OCI_INDEX if "manifests" in body else OCI_MANIFEST
        return cls(manifest.digest, declared, raw)

    @property
    def body(self) -> Mapping[str, Any]:
        """The parsed bytes.  Raises `ManifestError`."""
        return _object(self.raw, f"the manifest {self.digest}")

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests of several platforms."""
        return self.media_type in {OCI_INDEX, DOCKER_LIST} or "manifests" in self.body

    @property
    def children(self) -> Mapping[Platform, Digest]:
        """The manifests of an index by platform; attestations and unknown platforms are left out.

        Of several for one platform (variants), the first counts, as podman chooses.
        Raises `ManifestError`.
        """
        found: dict[Platform, Digest] = {}
        for digest, entry in self._entries("manifests"):
            platform = _platform(entry.get("platform"))
            if platform is not None:
                found.setdefault(platform, digest)
        return found

    @property
    def references(self) -> tuple[Digest, ...]:
        """The manifests that an index lists, of whatever platform.  Raises `ManifestError`."""
        return tuple(digest for digest, _ in self._entries("manifests"))

    @property
    def config_digest(self) -> Digest:
        """The configuration of a single manifest.  Raises `ManifestError`."""
        config = self.body.get("config")
        return _digest(config, f"the configuration of the manifest {self.digest}")

    @property
    def config_size(self) -> int:
        """The size in bytes of a single manifest's configuration.  Raises `ManifestError`."""
        config = self.body.get("config")
        size = config.get("size") if isinstance(config, dict) else None
        if not isinstance(size, int) or size < 0:
            raise ManifestError(f"the configuration of the manifest {self.digest} has no size")
        return size

    @property
    def layers(self) -> tuple[tuple[Digest, int], ...]:
        """Digest and size (bytes) of each layer.  Raises `ManifestError`."""
        if "layers" not in self.body:
            raise ManifestError(f"the manifest {self.digest} has no layers")
        found = []
        for digest, entry in self._entries("layers"):
            size = entry.get("size")
            if not isinstance(size, int) or size < 0:
                raise ManifestError(f"the layer {digest} of {self.digest} has no size")
            found.append((digest, size))
        return tuple(found)

    @property
    def annotations(self) -> Mapping[str, str]:
        """The manifest's own annotations; what is not text is left out."""
        return _texts(self.body.get("annotations"))

    def _entries(self, key: str) -> Iterator[tuple[Digest, Mapping[str, Any]]]:
        """The descriptors in a list, each with its digest."""
        entries = self.body.get(key) or []
        if not isinstance(entries, list):
            raise ManifestError(f"{key!r} of {self.digest} is not a list")
        for position, entry in enumerate(entries):
            yield _digest(entry, f"{key}[{position}] of {self.digest}"), entry


@dataclass(frozen=True)
class Config:
    """What an image's configuration says: platform, labels, time of its build (RFC 3339).

    `diff_ids` are the digests of its layers as they are unpacked, the base's first: they
    stay the same however the layers are compressed.
    """

    platform: Platform | None
    labels: Mapping[str, str]
    created: str | None
    diff_ids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a configuration.  Raises `ManifestError`."""
        body = _object(raw, "an image's configuration")
        inner = body.get("config")
        created = body.get("created")
        rootfs = body.get("rootfs")
        layers = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        layers = layers if isinstance(layers, list) else []
        return cls(
            _platform(body),
            _texts(inner.get("Labels") if isinstance(inner, dict) else None),
            created if isinstance(created, str) else None,
            tuple(one for one in layers if isinstance(one, str))
            if isinstance(layers, list)
            else (),
        )

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


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{what} is not JSON") from error
    if not isinstance(body, dict):
        raise ManifestError(f"{what} is not a JSON object")
    return body


def _digest(descriptor: object, what: str) -> Digest:
    if not isinstance(descriptor, dict) or not isinstance(descriptor.get("digest"), str):
        raise ManifestError(f"{what} has no digest")
    try:
        return Digest(descriptor["digest"])
    except InvalidReferenceError as error:
        raise ManifestError(f"{what}: {error.message}") from error


def _platform(value: object) -> Platform | None:
    """The platform in a descriptor or configuration, if it is one that bootc runs on."""
    if not isinstance(value, dict) or value.get("os") != "linux":
        return None
    machine = value.get("architecture")
    architecture = ARCHITECTURES.get(machine) if isinstance(machine, str) else None
    return Platform("linux", architecture) if architecture else None


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}
