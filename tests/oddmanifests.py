"""Manifests of every form that registries hold, also in bytes that nobody would write so."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from bootcfleet.domain.image import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    sha256,
)
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.registry import RegistryClient

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def push_forms(client: RegistryClient, repository: str) -> dict[str, str]:
    """Push an image in each form; the digest of each by its tag."""
    ref = ImageRef.parse(repository)
    found = {
        "oci": str(push_image(client, repository, "oci", version="1", files={"a": b"b"},
                              created=CREATED)),
        "index": str(push_index(client, repository, "index", version="2", files={"a": b"c"},
                                created=CREATED)),
    }  # fmt: skip
    oci = client.manifest(ref.with_tag("oci"))
    body = dict(oci.body)
    docker = json.loads(json.dumps(body))
    docker["mediaType"] = DOCKER_MANIFEST
    docker["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    docker["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    index = client.manifest(ref.with_tag("index"))
    forms = {
        "docker": (DOCKER_MANIFEST, json.dumps(docker, indent=3).encode()),
        "odd": (OCI_MANIFEST, b"\n\t " + json.dumps(body, indent=7).encode() + b"  \r\n\n"),
        "odd-index": (
            OCI_INDEX,
            b" \n" + json.dumps(dict(index.body), indent="\t", sort_keys=True).encode() + b"\t",
        ),
    }
    for tag, (kind, raw) in forms.items():
        found[tag] = str(client.put_manifest(ref.with_tag(tag), Manifest(sha256(raw), kind, raw)))
    return found
