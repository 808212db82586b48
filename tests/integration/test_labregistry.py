"""The lab registry against real podman and skopeo: what they push is what it gives back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.image import DOCKER_MANIFEST, OCI_INDEX
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from tests.tools import need

pytestmark = pytest.mark.integration
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
INSECURE = ("--tls-verify=false",)


@pytest.fixture(params=["memory", "directory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LabRegistry]:
    directory = None if request.param == "memory" else tmp_path / "registry"
    with LabRegistry(directory) as registry:
        yield registry


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient() as client:
        yield client


def run(tool: str, *words: str) -> str:
    done = subprocess.run(
        [need(tool), *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{tool} {' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def copy(source: str, target: str, *words: str) -> None:
    run(
        "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
        "--dest-tls-verify=false", *words, source, target,
    )  # fmt: skip


def test_podman_builds_pushes_and_pulls(
    registry: LabRegistry, client: RegistryClient, containers_conf: Path, tmp_path: Path
) -> None:
    # More than one chunk of any size that podman or the registry reads in.
    (tmp_path / "big").write_bytes(bytes(range(256)) * 40_000)
    (tmp_path / "Containerfile").write_text(
        "FROM scratch\nCOPY big /big\nLABEL org.opencontainers.image.version=3.1\n"
    )
    name = f"{registry.address}/acme/soe:1.0"
    run("podman", "build", "-q", "-t", name, str(tmp_path))
    digests = tmp_path / "digest"
    run("podman", "push", *INSECURE, "--digestfile", str(digests), name)
    resolved = client.resolve(ImageRef.parse(name))
    assert str(resolved.digest) == digests.read_text().strip()
    assert resolved.version == "3.1"
    assert list(resolved.platforms.values()) == [resolved.digest]

    pulled = client.manifest(resolved.ref)
    ((_, size),) = pulled.layers
    assert size > 0
    run("podman", "rmi", "--force", name)
    run("podman", "pull", "-q", *INSECURE, f"{registry.address}/acme/soe@{resolved.digest}")
    shown = json.loads(run("podman", "image", "inspect", str(pulled.config_digest)[7:]))
    assert shown[0]["Labels"]["org.opencontainers.image.version"] == "3.1"


def test_skopeo_inspects_what_we_push(registry: LabRegistry, client: RegistryClient) -> None:
    digest = push_image(
        registry.address, "acme/web", "1", version="2.0", files={"etc/motd": b"hello\n"},
        created=CREATED, labels={"who": "me"},
    )  # fmt: skip
    shown = json.loads(
        run("skopeo", "inspect", *INSECURE, f"docker://{registry.address}/acme/web:1")
    )
    assert shown["Digest"] == str(digest)
    assert shown["Labels"]["who"] == "me"
    assert shown["RepoTags"] == ["1"]
    assert shown["Architecture"] == "amd64"


def test_skopeo_copies_an_index_with_every_byte(
    registry: LabRegistry, client: RegistryClient
) -> None:
    digest = push_index(
        registry.address, "acme/web", "dev", version="2.0", files={"a": b"b"}, created=CREATED
    )
    copy(
        f"docker://{registry.address}/acme/web:dev",
        f"docker://{registry.address}/other/web:test",
        "--all",
        "--preserve-digests",
    )
    there = client.manifest(ImageRef.parse(f"{registry.address}/other/web:test"))
    assert there.digest == digest
    assert there.media_type == OCI_INDEX
    assert set(there.children) == {Platform("linux", "amd64"), Platform("linux", "arm64")}


def test_skopeo_pushes_docker_manifests_and_takes_them_back(
    registry: LabRegistry, client: RegistryClient, tmp_path: Path
) -> None:
    push_image(registry.address, "a", "oci", version="1", files={"x": b"y"}, created=CREATED)
    source = f"docker://{registry.address}/a:oci"
    copy(source, f"docker://{registry.address}/a:v2s2", "--format", "v2s2")
    ref = ImageRef.parse(f"{registry.address}/a:v2s2")
    assert client.manifest(ref).media_type == DOCKER_MANIFEST
    copy(f"docker://{ref}", f"dir:{tmp_path / 'out'}")
    raw = (tmp_path / "out/manifest.json").read_bytes()
    assert raw == client.manifest(ref).raw

    run("skopeo", "delete", *INSECURE, f"docker://{registry.address}/a:v2s2")
    assert not client.exists(ref)
    assert client.exists(ImageRef.parse(f"{registry.address}/a:oci"))


def test_skopeo_says_what_a_refusal_is(registry: LabRegistry) -> None:
    push_image(registry.address, "a", "1", version="1", files={"x": b"y"}, created=CREATED)
    registry.refuse("a", 403)
    done = subprocess.run(
        [need("skopeo"), "inspect", *INSECURE, f"docker://{registry.address}/a:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "403" in done.stderr or "denied" in done.stderr
