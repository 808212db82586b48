"""Makes tiny, valid OCI images and pushes them by HTTP, so that a lab needs no podman."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import PurePosixPath

from bootcfleet.domain.image import OCI_INDEX, OCI_MANIFEST, VERSION_LABEL, Manifest, sha256
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.drivers.registry import RegistryClient


def push_image(
    registry: RegistryClient | str,
    repository: str,
    tag: str,
    *,
    version: str,
    files: Mapping[str, bytes],
    created: datetime,
    labels: Mapping[str, str] | None = None,
    architecture: str = "amd64",
) -> Digest:
    """Push an image of one layer with `files` (path → bytes); its digest.

    `registry` is an address, or a client, with `repository` then naming its registry
    too.  The same arguments make the same digest.  Raises `RegistryError` when the
    registry does not take it.
    """
    with _target(registry, repository, tag) as (client, ref):
        manifest = _push(client, ref, version, files, created, labels, architecture)
        return client.put_manifest(ref, manifest)


def push_index(
    registry: RegistryClient | str,
    repository: str,
    tag: str,
    *,
    version: str,
    files: Mapping[str, bytes],
    created: datetime,
    labels: Mapping[str, str] | None = None,
    architectures: Sequence[str] = ("amd64", "arm64"),
) -> Digest:
    """Push such an image for each architecture, and an index over them; the index's digest.

    Raises `RegistryError` when the registry does not take it.
    """
    with _target(registry, repository, tag) as (client, ref):
        entries = []
        for architecture in architectures:
            manifest = _push(client, ref, version, files, created, labels, architecture)
            client.put_manifest(ref.with_digest(manifest.digest), manifest)
            platform = Platform.parse(architecture)
            entries.append(
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": str(manifest.digest),
                    "size": len(manifest.raw),
                    "platform": {"os": platform.os, "architecture": platform.architecture},
                }
            )
        index = _dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        return client.put_manifest(ref, Manifest(sha256(index), OCI_INDEX, index))


@contextmanager
def _target(
    registry: RegistryClient | str, repository: str, tag: str
) -> Iterator[tuple[RegistryClient, ImageRef]]:
    if isinstance(registry, RegistryClient):
        yield registry, ImageRef.parse(f"{repository}:{tag}")
        return
    with RegistryClient() as client:
        yield client, ImageRef.parse(f"{registry}/{repository}:{tag}")


def _push(
    client: RegistryClient,
    ref: ImageRef,
    version: str,
    files: Mapping[str, bytes],
    created: datetime,
    labels: Mapping[str, str] | None,
    architecture: str,
) -> Manifest:
    """Push the blobs of an image; its manifest."""
    plain = _layer(files)
    packed = gzip.compress(plain, mtime=0)
    config = _dump(
        {
            "architecture": Platform.parse(architecture).architecture,
            "os": "linux",
            "created": created.isoformat(),
            "config": {
                "Labels": {VERSION_LABEL: version, "containers.bootc": "1", **(labels or {})}
            },
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
                "digest": str(client.put_blob(ref, config)),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": str(client.put_blob(ref, packed)),
                    "size": len(packed),
                }
            ],
        }
    )
    return Manifest(sha256(manifest), OCI_MANIFEST, manifest)


def _layer(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        # A layer names its folders before what is in them.
        folders = {p for path in files for p in PurePosixPath(path).parents if p.name}
        for folder in sorted(folders):
            member = tarfile.TarInfo(str(folder))
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _dump(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
