"""Artifacts in the real docker-registry: no referrers API, and deletion only where configured."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.artifact import fallback_tag
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts, DeleteUnsupportedError
from bootcfleet.drivers.registryconf import RegistriesConf
from tests.tools import need

pytestmark = pytest.mark.integration
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TYPE = "application/vnd.bootcfleet.test.v1+json"


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(conf=RegistriesConf([])) as client:
        yield client


@contextmanager
def no_deletion(folder: Path) -> Iterator[str]:
    """A docker-registry as it comes."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    program = program or need("docker-registry")
    config, log = folder / "registry.yaml", folder / "registry.log"
    config.write_text(
        "version: 0.1\nlog: {level: info, formatter: json}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}}}\n"
        'http: {addr: "127.0.0.1:0"}\n'
    )
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program, "serve", str(config)], stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        found = None
        for _ in range(600):
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())
            if found or process.poll() is not None:
                break
            time.sleep(0.05)
        assert found, f"docker-registry did not start: {log.read_text()}"
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)


def test_push_find_read_delete(client: RegistryClient, docker_registry: str) -> None:
    artifacts = Artifacts(client)
    name = f"{docker_registry}/artifact/app"
    digest = push_image(client, name, "1", version="1", files={"a": b"b"}, created=CREATED)
    repo = ImageRef.parse(name)
    assert artifacts.referrers(repo, digest) == ()
    one = artifacts.push(repo, TYPE, [("application/json", b'{"n": 1}', {})], subject=digest)
    two = artifacts.push(repo, TYPE, subject=digest, tag="named", annotations={"n": "2"})
    assert [found.digest for found in artifacts.referrers(repo, digest, TYPE)] == [one, two]
    assert artifacts.fetch(repo.with_digest(one))[1] == (b'{"n": 1}',)
    assert artifacts.fetch(repo.with_tag("named"))[0].annotations == {"n": "2"}

    # Another client reads the same list: skopeo knows the fallback tag as an index.
    raw = subprocess.run(
        [need("skopeo"), "inspect", "--tls-verify=false", "--raw",
         f"docker://{name}:{fallback_tag(digest)}"],
        check=True, capture_output=True, timeout=60,
    ).stdout  # fmt: skip
    assert [entry["digest"] for entry in json.loads(raw)["manifests"]] == [str(one), str(two)]

    artifacts.delete(repo.with_digest(one))
    assert [found.digest for found in artifacts.referrers(repo, digest)] == [two]
    assert not client.exists(repo.with_digest(one))


def test_a_tag_alone_is_not_deleted_by_it(client: RegistryClient, docker_registry: str) -> None:
    artifacts = Artifacts(client)
    name = f"{docker_registry}/artifact/tags"
    digest = push_image(client, name, "1", version="1", files={"a": b"b"}, created=CREATED)
    repo = ImageRef.parse(name)
    with pytest.raises(DeleteUnsupportedError, match="does not delete"):
        artifacts.delete_tag(repo.with_tag("1"))
    assert client.tags(repo) == ["1"]
    artifacts.delete_manifest(repo, digest)
    assert not client.exists(repo.with_tag("1"))


def test_deletion_that_is_not_configured(client: RegistryClient, tmp_path: Path) -> None:
    artifacts = Artifacts(client)
    with no_deletion(tmp_path) as address:
        name = f"{address}/app"
        digest = push_image(client, name, "1", version="1", files={"a": b"b"}, created=CREATED)
        repo = ImageRef.parse(name)
        with pytest.raises(DeleteUnsupportedError) as caught:
            artifacts.delete_manifest(repo, digest)
        assert caught.value.message == (f"{address} does not delete {name}@{digest} (HTTP 405)")
        assert "storage.delete.enabled" in (caught.value.hint or "")
        assert client.exists(repo.with_tag("1"))
