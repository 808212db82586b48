"""Makes a tiny, valid OCI image and pushes it by HTTP, so that a lab needs no podman."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from datetime import datetime

import urllib3

from bootcfleet.domain.image import OCI_INDEX, OCI_MANIFEST, VERSION_LABEL, sha256
from bootcfleet.domain.reference import Digest
from bootcfleet.errors import FleetError


def push_image(
    registry: str,
    repository: str,
    tag: str,
    *,
    version: str,
    files: Mapping[str, bytes],
    created: datetime,
    labels: Mapping[str, str] | None = None,
    architecture: str = "amd64",
) -> Digest:
    """Push an image of one layer with `files` (path → bytes) to a plain-HTTP registry.

    The same arguments make the same digest.  Raises `FleetError` when the
    registry does not take it.
    """
    plain = _layer(files)
    every = {VERSION_LABEL: version, "containers.bootc": "1", **(labels or {})}
    packed = gzip.compress(plain, mtime=0)
    config = _dump(
        {
            "architecture": architecture,
            "os": "linux",
            "created": created.isoformat(),
            "config": {"Labels": every},
            "rootfs": {"type": "layers", "diff_ids": [str(sha256(plain))]},
            "history": [{"created": created.isoformat(), "created_by": "bootcfleet lab"}],
        }
    )
    manifest = _dump(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(sha256(config)),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": str(sha256(packed)),
                    "size": len(packed),
                }
            ],
        }
    )
    base = f"http://{registry}/v2/{repository}"
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        for blob in (config, packed):
            url = f"{base}/blobs/uploads/?digest={sha256(blob)}"
            _send(pool, "POST", url, blob, "application/octet-stream")
        _send(pool, "PUT", f"{base}/manifests/{tag}", manifest, OCI_MANIFEST)
    return sha256(manifest)


def push_index(
    registry: str, repository: str, tag: str, manifests: Mapping[str, tuple[Digest, int]]
) -> Digest:
    """Push an index over manifests that are there: architecture → digest and size in bytes."""
    index = _dump(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": str(digest),
                    "size": size,
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for architecture, (digest, size) in manifests.items()
            ],
        }
    )
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        _send(pool, "PUT", f"http://{registry}/v2/{repository}/manifests/{tag}", index, OCI_INDEX)
    return sha256(index)


def _send(pool: urllib3.PoolManager, method: str, url: str, body: bytes, kind: str) -> None:
    try:
        answer = pool.request(method, url, body=body, headers={"Content-Type": kind})
    except urllib3.exceptions.HTTPError as error:
        raise FleetError(f"{url} cannot be reached: {error}") from error
    if answer.status not in {201, 202}:
        said = answer.data.decode("utf-8", "replace")[:200]
        raise FleetError(f"{url} answers HTTP {answer.status}: {said}")


def _layer(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _dump(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
