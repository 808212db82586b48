"""Manifests, indexes and configurations from bytes: what is read, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.image import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Config,
    Manifest,
    ManifestError,
    Resolved,
    sha256,
)
from bootcfleet.domain.reference import Digest, ImageRef, Platform

D1, D2, D3 = (Digest("sha256:" + letter * 64) for letter in "abc")
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def entry(digest: Digest, os: str = "linux", architecture: str = "amd64", **more: object) -> Any:
    return {"digest": str(digest), "platform": {"os": os, "architecture": architecture}, **more}


@pytest.mark.parametrize(
    ("content_type", "body", "media_type"),
    [
        (OCI_MANIFEST, {}, OCI_MANIFEST),
        (f"{OCI_INDEX}; charset=utf-8", {}, OCI_INDEX),
        (DOCKER_LIST, {"mediaType": DOCKER_LIST, "manifests": []}, DOCKER_LIST),
        ("text/plain", {"mediaType": DOCKER_MANIFEST}, DOCKER_MANIFEST),
        ("application/json", {"manifests": []}, OCI_INDEX),
        ("", {"config": {}, "layers": []}, OCI_MANIFEST),
        ("", {"mediaType": 7, "layers": []}, OCI_MANIFEST),
    ],
)
def test_media_type(content_type: str, body: object, media_type: str) -> None:
    manifest = Manifest.of(dump(body), content_type)
    assert manifest.media_type == media_type
    assert manifest.digest == sha256(dump(body))


def test_the_bytes_stay_as_they_are() -> None:
    raw = b'\n{ "schemaVersion" :2,\t"layers":[ ] }  \n'
    assert Manifest.of(raw, OCI_MANIFEST).raw == raw


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (dump({"schemaVersion": 1, "fsLayers": []}), "schema 1"),
    ],
)
def test_what_is_no_manifest(raw: bytes, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        Manifest.of(raw)


def test_children_are_those_that_bootc_runs_on() -> None:
    index = Manifest.of(
        dump(
            {
                "manifests": [
                    entry(D1, architecture="arm64"),
                    entry(D2, architecture="arm64", variant="v9"),
                    entry(D2, os="unknown", architecture="unknown"),
                    entry(D2, os="windows"),
                    entry(D2, architecture="mips"),
                    {"digest": str(D2)},
                    entry(D3),
                ]
            }
        )
    )
    assert index.is_index
    assert index.children == {ARM64: D1, AMD64: D3}
    assert index.references == (D1, D2, D2, D2, D2, D2, D3)


@pytest.mark.parametrize(
    "body",
    [
        {"manifests": "x"},
        {"manifests": [7]},
        {"manifests": [{}]},
        {"manifests": [{"digest": 7}]},
        {"manifests": [{"digest": "sha256:short"}]},
    ],
)
def test_an_index_with_a_broken_entry(body: object) -> None:
    with pytest.raises(ManifestError):
        _ = Manifest.of(dump(body)).children


def test_layers_and_configuration() -> None:
    manifest = Manifest.of(
        dump({"config": {"digest": str(D1)}, "layers": [{"digest": str(D2), "size": 0}]})
    )
    assert manifest.config_digest == D1
    assert manifest.layers == ((D2, 0),)
    assert not manifest.is_index


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"config": "x", "layers": "x"},
        {"config": {}, "layers": [{}]},
        {"config": {"digest": "md5:x"}, "layers": [{"digest": str(D1)}]},
        {"config": {"digest": None}, "layers": [{"digest": str(D1), "size": -1}]},
        {"config": {"digest": []}, "layers": [{"digest": str(D1), "size": 1.5}]},
    ],
)
def test_a_manifest_with_broken_parts(body: object) -> None:
    manifest = Manifest.of(dump(body))
    with pytest.raises(ManifestError):
        _ = manifest.config_digest
    with pytest.raises(ManifestError):
        _ = manifest.layers


@pytest.mark.parametrize(
    ("body", "platform", "version"),
    [
        ({"os": "linux", "architecture": "amd64"}, AMD64, None),
        ({"os": "linux", "architecture": "aarch64"}, ARM64, None),
        ({"os": "windows", "architecture": "amd64"}, None, None),
        ({"os": "linux", "architecture": ["amd64"]}, None, None),
        ({"config": None}, None, None),
        ({"config": {"Labels": None}}, None, None),
        ({"config": {"Labels": {"org.opencontainers.image.version": "9"}}}, None, "9"),
        ({"config": {"Labels": {"org.opencontainers.image.version": 9}}}, None, None),
    ],
)
def test_configuration(body: object, platform: Platform | None, version: str | None) -> None:
    config = Config.parse(dump(body))
    assert (config.platform, config.version) == (platform, version)


def test_a_configuration_that_is_none() -> None:
    with pytest.raises(ManifestError, match="configuration is not JSON"):
        Config.parse(b"\x1f\x8b")


def test_a_resolved_index_accepts_its_own_and_its_platforms_digests() -> None:
    ref = ImageRef.parse("registry.example.com/a:1")
    resolved = Resolved(ref, D1, {AMD64: D2})
    assert resolved.accepts(str(D1))
    assert resolved.accepts(str(D2))
    assert not resolved.accepts(str(D3))
    assert not resolved.accepts("")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([str(D1), "linux", "amd64"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            "manifests config layers digest size platform os architecture mediaType annotations "
            "Labels created schemaVersion".split()
        ),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.binary(max_size=64) | json_values.map(dump))
def test_any_bytes_are_read_or_refused_in_words(raw: bytes) -> None:
    for read in (
        lambda: Manifest.of(raw).children,
        lambda: Manifest.of(raw).layers,
        lambda: Manifest.of(raw).config_digest,
        lambda: Manifest.of(raw).annotations,
        lambda: Config.parse(raw),
    ):
        try:
            read()
        except ManifestError as error:
            assert error.message
