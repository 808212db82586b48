"""The bytes of an update: against a host that is simulated blob by blob."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.download import download, download_size, platform_digest
from bootcfleet.domain.image import OCI_INDEX, OCI_MANIFEST, Manifest, ManifestError
from bootcfleet.domain.reference import Digest, Platform


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def size(number: int) -> int:
    """The size of a blob goes with its digest, as in any registry."""
    return number * 1000 + 7


def image(layers: list[int], config: int = 0) -> Manifest:
    body = {
        "schemaVersion": 2,
        "config": {"digest": digest(f"config {config}"), "size": 11 + config},
        "layers": [{"digest": digest(f"layer {n}"), "size": size(n)} for n in layers],
    }
    return Manifest.of(json.dumps(body).encode(), OCI_MANIFEST)


def index(**children: Manifest) -> Manifest:
    entries = [
        {"digest": str(child.digest), "platform": {"os": "linux", "architecture": name}}
        for name, child in children.items()
    ]
    return Manifest.of(json.dumps({"manifests": entries}).encode(), OCI_INDEX)


class Host:
    """A host's store, as slow and plain as can be: it fetches what it does not have."""

    def __init__(self) -> None:
        self.blobs: set[str] = set()
        self.fetched = 0

    def pull(self, manifest: Manifest) -> None:
        body = json.loads(manifest.raw)
        self.fetched += len(manifest.raw)
        for blob in [body["config"], *body["layers"]]:
            if blob["digest"] not in self.blobs:
                self.blobs.add(blob["digest"])
                self.fetched += blob["size"]


images = st.builds(image, st.lists(st.integers(0, 8), max_size=6), st.integers(0, 3))


@given(st.lists(images, max_size=3), images)
def test_as_a_host_fetches_them(have: list[Manifest], want: Manifest) -> None:
    host = Host()
    for one in have:
        host.pull(one)
    host.fetched = 0
    host.pull(want)
    assert download_size(have, want) == host.fetched


@given(st.lists(images, max_size=3), images, images)
def test_more_on_the_host_is_never_more_to_fetch(
    have: list[Manifest], more: Manifest, want: Manifest
) -> None:
    assert download_size([*have, more], want) <= download_size(have, want)
    assert download_size([more, *have], want) == download_size([*have, more], want)


@given(images, images)
def test_new_and_shared_are_the_image(have: Manifest, want: Manifest) -> None:
    found = download([have], want)
    assert dict(found.new + found.shared) == dict(want.layers)
    assert not set(found.new) & set(found.shared)
    assert found.size + found.kept == download_size([], want) - (
        want.config_size if found.config == 0 else 0
    )


def test_the_same_image_costs_its_manifest() -> None:
    one = image([1, 2], 1)
    assert download_size([one], one) == len(one.raw)
    assert download_size([], one) == len(one.raw) + 12 + size(1) + size(2)


def test_an_index_is_fetched_in_front() -> None:
    one, other = image([1], 1), image([2], 2)
    both = index(amd64=one, arm64=other)
    assert platform_digest(both, Platform("linux", "arm64")) == other.digest
    found = download([one], other, both)
    assert found.size == download_size([one], other) + len(both.raw)
    assert found.to_json() == {
        "bytes": size(2) + 13 + len(other.raw) + len(both.raw),
        "layers": size(2),
        "config": 13,
        "manifest": len(other.raw),
        "index": len(both.raw),
        "shared": 0,
    }
    assert found.new == ((Digest(digest("layer 2")), size(2)),)


def test_an_index_is_not_an_image() -> None:
    one = image([1])
    both = index(amd64=one)
    for have, want in (([both], one), ([one], both)):
        with pytest.raises(ManifestError, match="is an index: the manifest of one platform"):
            download_size(have, want)


def test_a_platform_that_is_not_there() -> None:
    with pytest.raises(ManifestError, match="has no image for linux/arm64") as caught:
        platform_digest(index(amd64=image([1])), Platform("linux", "arm64"))
    assert caught.value.hint == "its platforms: linux/amd64"


def test_a_configuration_without_a_size_is_said() -> None:
    body = {"config": {"digest": digest("config")}, "layers": []}
    with pytest.raises(ManifestError, match=r"the configuration of the manifest .* has no size"):
        download_size([], Manifest.of(json.dumps(body).encode(), OCI_MANIFEST))
