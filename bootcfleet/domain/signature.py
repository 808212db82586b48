"""Signatures of images as cosign, podman and skopeo store them ("sigstore attachments").

Source: cosign's signature specification, containers-policy.json(5), containers-signature(5).
Next to an image lies a manifest under the tag ``sha256-HEX.sig``; each of its layers is a
payload, with the signature over the payload's bytes in an annotation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.image import OCI_MANIFEST, Manifest, ManifestError, sha256
from bootcfleet.domain.reference import Digest

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
#: The types that a payload may say: what cosign writes, and what podman writes.
_TYPES = {"cosign container image signature", "atomic container signature"}
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


def signature_tag(digest: Digest) -> str:
    """The tag that an image's signatures lie under."""
    return f"{digest.value.replace(':', '-')}.sig"


@dataclass(frozen=True)
class StoredSignature:
    """One signature: the digest of its payload, and the signature (base64)."""

    payload: Digest
    signature: str


def stored_signatures(manifest: Manifest) -> tuple[StoredSignature, ...]:
    """The signatures in a ``.sig`` manifest; layers of other kinds are passed over.

    Raises `ManifestError`.
    """
    layers = manifest.body.get("layers")
    found = []
    for layer in layers if isinstance(layers, list) else []:
        notes = layer.get("annotations") if isinstance(layer, dict) else None
        signature = notes.get(ANNOTATION) if isinstance(notes, dict) else None
        if isinstance(signature, str) and layer.get("mediaType") == PAYLOAD_TYPE:
            found.append(StoredSignature(Digest(str(layer.get("digest"))), signature))
    return tuple(found)


def make_payload(repository: str, digest: Digest) -> bytes:
    """What is signed: this digest is this repository's.

    Without a tag, as cosign does it: a channel may move to a signed digest. The same
    image and repository make the same bytes.
    """
    body = {
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": str(digest)},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def payload_problem(raw: bytes, repository: str, digest: Digest) -> str | None:
    """Why a payload says nothing about `digest` in `repository`; None when it does."""
    critical = _object(_parse(raw).get("critical"))
    if critical.get("type") not in _TYPES:
        return "its payload is no image signature"
    if _object(critical.get("image")).get("docker-manifest-digest") != str(digest):
        return "it is about another digest"
    named = _object(critical.get("identity")).get("docker-reference")
    head, _, last = (named.partition("@")[0] if isinstance(named, str) else "").rpartition("/")
    if f"{head}/{last.partition(':')[0]}" != repository:
        return f"it is for {named}"
    return None


def _parse(raw: bytes) -> Mapping[str, Any]:
    try:
        return _object(json.loads(raw))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def signature_manifest(
    before: Manifest | None, payload: bytes, signature: str, config: bytes
) -> Manifest:
    """The ``.sig`` manifest with one more signature; those that are there stay as they are.

    `config` is what `signature_config` makes of all payloads. Raises `ManifestError`.
    """
    layers: list[Any] = []
    if before is not None:
        kept = before.body.get("layers")
        if not isinstance(kept, list):
            raise ManifestError(f"{before.digest} is no list of signatures")
        layers = list(kept)
    layers.append(
        {
            "mediaType": PAYLOAD_TYPE,
            "size": len(payload),
            "digest": str(sha256(payload)),
            "annotations": {ANNOTATION: signature},
        }
    )
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": _CONFIG_TYPE,
            "size": len(config),
            "digest": str(sha256(config)),
        },
        "layers": layers,
    }
    raw = json.dumps(body, separators=(",", ":")).encode()
    return Manifest(sha256(raw), OCI_MANIFEST, raw)


def signature_config(before: Manifest | None, payload: bytes) -> bytes:
    """The configuration that goes with `signature_manifest`: one diff id for each layer."""
    digests = [one.payload for one in stored_signatures(before)] if before else []
    body = {
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": [{"created": "0001-01-01T00:00:00Z"}] * (len(digests) + 1),
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [*map(str, digests), str(sha256(payload))]},
        "config": {},
    }
    return json.dumps(body, separators=(",", ":")).encode()
