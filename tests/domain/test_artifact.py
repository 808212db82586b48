"""Artifact manifests and lists of referrers, as bytes."""

from __future__ import annotations

import json

import pytest

from bootcfleet.domain.artifact import (
    NOTHING,
    Descriptor,
    artifact_layers,
    artifact_manifest,
    artifact_type_of,
    fallback_tag,
    parse_referrers,
    referrers_index,
    subject_of,
)
from bootcfleet.domain.image import OCI_MANIFEST, Manifest, ManifestError, sha256
from bootcfleet.domain.reference import Digest

ONE = Digest("sha256:" + "1" * 64)
TYPE = "application/vnd.bootcfleet.test.v1+json"


def manifest(body: object) -> Manifest:
    return Manifest.of(json.dumps(body).encode(), OCI_MANIFEST)


def test_the_same_arguments_make_the_same_bytes() -> None:
    subject = Descriptor(OCI_MANIFEST, ONE, 5, "application/left-out", {"left": "out"})
    layer = Descriptor.of_blob("text/plain", b"hello")
    made = artifact_manifest(TYPE, [layer], subject, {"b": "1", "a": "2"})
    assert made == artifact_manifest(TYPE, [layer], subject, {"b": "1", "a": "2"})
    assert made.digest == sha256(made.raw)
    assert made.body == {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": TYPE,
        "config": NOTHING.to_json(),
        "layers": [{"mediaType": "text/plain", "digest": str(sha256(b"hello")), "size": 5}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": str(ONE), "size": 5},
        "annotations": {"b": "1", "a": "2"},
    }
    assert artifact_layers(made) == (layer,)
    assert subject_of(made) == ONE
    assert artifact_type_of(made) == TYPE


def test_no_layers_is_the_empty_one() -> None:
    made = artifact_manifest(TYPE, [])
    assert made.body["layers"] == [NOTHING.to_json()]
    assert artifact_layers(made) == ()
    assert subject_of(made) is None


def test_the_type_of_what_has_none_is_its_configurations() -> None:
    assert artifact_type_of(manifest({"config": {"mediaType": "a/b"}})) == "a/b"
    assert artifact_type_of(manifest({"config": {"mediaType": "a/b"}, "artifactType": ""})) == "a/b"
    assert artifact_type_of(manifest({"config": 7})) is None
    assert artifact_type_of(manifest({"manifests": []})) is None


def test_a_list_of_referrers_keeps_every_key() -> None:
    entry = {**Descriptor(OCI_MANIFEST, ONE, 3).to_json(), "more": {"x": 1}}
    assert parse_referrers(referrers_index([entry]).raw) == (entry,)
    assert fallback_tag(ONE) == "sha256-" + "1" * 64


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"manifests": {}}',
        b'{"manifests": [7]}',
        b'{"manifests": [{"digest": "sha256:1", "mediaType": "a", "size": 1}]}',
        b'{"manifests": [], "mediaType": "application/vnd.oci.image.manifest.v1+json"}',
        b'{"manifests": [{"digest": "%s", "mediaType": "a", "size": -1}]}' % str(ONE).encode(),
    ],
)
def test_what_is_no_list_of_referrers(raw: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_referrers(raw)


@pytest.mark.parametrize("body", [{}, {"layers": 7}, {"layers": [{"digest": 1}]}])
def test_what_has_no_layers(body: object) -> None:
    with pytest.raises(ManifestError):
        artifact_layers(manifest(body))


def test_a_subject_that_is_none() -> None:
    with pytest.raises(ManifestError):
        subject_of(manifest({"subject": "sha256:1"}))
