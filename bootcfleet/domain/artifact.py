"""Artifacts in a registry: small documents with a type, which may belong to an image.

Source: OCI image specification 1.1 (*Guidelines for artifact usage*, *Image manifest*:
``artifactType``, ``subject``, the empty descriptor) and OCI distribution specification
1.1 (*Referrers tag schema*).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from bootcfleet.domain.image import OCI_INDEX, OCI_MANIFEST, Manifest, ManifestError, sha256
from bootcfleet.domain.reference import Digest, InvalidReferenceError

#: The media type of the two bytes ``{}``, which stand where there is nothing to say.
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of something that it names; `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_blob(
        cls, media_type: str, data: bytes, annotations: Mapping[str, str] | None = None
    ) -> Self:
        """The descriptor of a blob's bytes."""
        return cls(media_type, sha256(data), len(data), None, dict(annotations or {}))

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> Self:
        """The descriptor of a manifest, with its type and annotations, for a list of referrers."""
        return cls(
            manifest.media_type,
            manifest.digest,
            len(manifest.raw),
            artifact_type_of(manifest),
            manifest.annotations,
        )

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read one from a manifest's JSON.  Raises `ManifestError`."""
        if not isinstance(value, dict):
            raise ManifestError("a descriptor is not a JSON object")
        kind, size, artifact = value.get("mediaType"), value.get("size"), value.get("artifactType")
        try:
            digest = Digest(str(value.get("digest")))
        except InvalidReferenceError as error:
            raise ManifestError(f"a descriptor has no digest: {error.message}") from error
        if not isinstance(kind, str) or not isinstance(size, int) or size < 0:
            raise ManifestError(f"the descriptor of {digest} has no media type or size")
        notes = value.get("annotations")
        return cls(
            kind,
            digest,
            size,
            artifact if isinstance(artifact, str) and artifact else None,
            {key: text for key, text in notes.items() if isinstance(text, str)}
            if isinstance(notes, dict)
            else {},
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        body: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.artifact_type:
            body["artifactType"] = self.artifact_type
        if self.annotations:
            body["annotations"] = dict(self.annotations)
        return body


#: The empty blob: an artifact's configuration, and its layer where it has none.
NOTHING = Descriptor.of_blob(EMPTY_TYPE, EMPTY)


def artifact_manifest(
    artifact_type: str,
    layers: Sequence[Descriptor],
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """The manifest of an artifact; the same arguments make the same bytes.

    An artifact without layers gets the empty one, because some registries refuse
    a manifest that has none.
    """
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": NOTHING.to_json(),
        "layers": [layer.to_json() for layer in layers or (NOTHING,)],
    }
    if subject is not None:
        # A subject is named by these three alone: that is what registries compare.
        body["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).to_json()
    if annotations:
        body["annotations"] = dict(annotations)
    return _manifest(OCI_MANIFEST, body)


def artifact_layers(manifest: Manifest) -> tuple[Descriptor, ...]:
    """The layers of an artifact, without the empty one.  Raises `ManifestError`."""
    layers = manifest.body.get("layers")
    if not isinstance(layers, list):
        raise ManifestError(f"the manifest {manifest.digest} has no layers")
    found = (Descriptor.parse(layer) for layer in layers)
    return tuple(layer for layer in found if layer.media_type != EMPTY_TYPE)


def artifact_type_of(manifest: Manifest) -> str | None:
    """The type that a list of referrers shows: its own, else its configuration's media type."""
    config = manifest.body.get("config")
    inner = config.get("mediaType") if isinstance(config, dict) else None
    kinds = (manifest.body.get("artifactType"), inner)
    return next((kind for kind in kinds if isinstance(kind, str) and kind), None)


def subject_of(manifest: Manifest) -> Digest | None:
    """The digest that a manifest belongs to, or None.  Raises `ManifestError`."""
    subject = manifest.body.get("subject")
    return None if subject is None else Descriptor.parse(subject).digest


def fallback_tag(digest: Digest) -> str:
    """The tag with the referrers of a digest, where a registry has no referrers API."""
    return str(digest).replace(":", "-", 1)


def parse_referrers(raw: bytes) -> tuple[Mapping[str, Any], ...]:
    """The entries of a list of referrers, as they stand.  Raises `ManifestError`."""
    body = Manifest(sha256(raw), OCI_INDEX, raw).body
    entries = body.get("manifests")
    if body.get("mediaType", OCI_INDEX) != OCI_INDEX or not isinstance(entries, list):
        raise ManifestError("a list of referrers is not an index")
    for entry in entries:
        Descriptor.parse(entry)
    return tuple(entries)


def referrers_index(entries: Iterable[Mapping[str, Any]]) -> Manifest:
    """A list of referrers; entries keep whatever another client wrote into them."""
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [dict(e) for e in entries]}
    return _manifest(OCI_INDEX, body)


def _manifest(kind: str, body: Mapping[str, Any]) -> Manifest:
    raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return Manifest(sha256(raw), kind, raw)
