"""The client against the real docker-registry: with a password file, with a private CA."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import bcrypt
import pytest

from bootcfleet.domain.image import DOCKER_MANIFEST, OCI_INDEX, Manifest, sha256
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.drivers.registryconf import RegistriesConf
from tests.drivers.certificates import PrivateCa
from tests.tools import need

pytestmark = pytest.mark.integration
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
USER, SECRET = "fleet", "s3cret"


@contextmanager
def serve(folder: Path, *, http: str = "", more: str = "") -> Iterator[str]:
    """docker-registry on a free loopback port, with more of its configuration."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    program = program or need("docker-registry")
    config, log = folder / "registry.yaml", folder / "registry.log"
    config.write_text(
        "version: 0.1\nlog: {level: info, formatter: json}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}, "
        "delete: {enabled: true}}\n"
        f'http: {{addr: "127.0.0.1:0"{http}}}\n{more}'
    )
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program, "serve", str(config)], stdout=stream, stderr=subprocess.STDOUT
        )
    try:
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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "run/containers").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def client(home: Path) -> Iterator[RegistryClient]:
    with RegistryClient(conf=RegistriesConf([])) as client:
        yield client


def test_push_resolve_move_and_list(client: RegistryClient, docker_registry: str) -> None:
    name = f"{docker_registry}/client/app"
    digest = push_index(client, name, "dev", version="1.2", files={"a": b"b"}, created=CREATED)
    dev, prod = ImageRef.parse(f"{name}:dev"), ImageRef.parse(f"{name}:prod")
    resolved = client.resolve(dev)
    assert (resolved.digest, resolved.version) == (digest, "1.2")
    assert set(resolved.platforms) == {Platform("linux", "amd64"), Platform("linux", "arm64")}
    # A promotion: the same bytes under another tag.
    assert client.put_manifest(prod, client.manifest(dev)) == digest
    assert client.digest(prod) == digest
    assert client.tags(dev) == ["dev", "prod"]
    with pytest.raises(RegistryError) as caught:
        client.manifest(ImageRef.parse(f"{name}:prd"))
    assert caught.value.status == 404
    assert f"{name}:prod" in (caught.value.hint or "")


def test_every_kind_of_manifest_keeps_its_digest(
    client: RegistryClient, docker_registry: str
) -> None:
    name = f"{docker_registry}/client/kinds"
    push_image(client, name, "oci", version="1", files={"a": b"b"}, created=CREATED)
    subprocess.run(
        [need("skopeo"), "--insecure-policy", "copy", "--src-tls-verify=false",
         "--dest-tls-verify=false", "--format", "v2s2",
         f"docker://{name}:oci", f"docker://{name}:docker"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    docker = client.manifest(ImageRef.parse(f"{name}:docker"))
    assert docker.media_type == DOCKER_MANIFEST
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": DOCKER_MANIFEST, "digest": str(docker.digest),
                       "size": len(docker.raw),
                       "platform": {"os": "linux", "architecture": "amd64"}}],
    }  # fmt: skip
    raw = b"\n\t " + json.dumps(index, indent=7).encode() + b"  \r\n"
    odd = Manifest(sha256(raw), OCI_INDEX, raw)
    for number, manifest in enumerate((docker, odd)):
        moved = ImageRef.parse(f"{name}:moved{number}")
        assert client.put_manifest(moved, manifest) == manifest.digest
        assert client.manifest(moved) == manifest


def test_a_password_file(client: RegistryClient, home: Path, tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(5)).decode()
    (tmp_path / "htpasswd").write_text(f"{USER}:{hashed}\n")
    auth = f"auth: {{htpasswd: {{realm: r, path: {tmp_path / 'htpasswd'}}}}}\n"
    with serve(tmp_path, more=auth) as address:
        ref = ImageRef.parse(f"{address}/app:1")
        with pytest.raises(RegistryError) as caught:
            client.resolve(ref)
        assert caught.value.status == 401
        assert caught.value.hint == f"log in: podman login {address}"

        # What podman writes down is what is read.
        done = subprocess.run(
            [
                need("podman"),
                "login",
                "--tls-verify=false",
                "-u",
                USER,
                "--password-stdin",
                address,
            ],
            input=SECRET.encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        digest = push_image(
            client, f"{address}/app", "1", version="1", files={"a": b"b"}, created=CREATED
        )
        assert client.resolve(ref).digest == digest
        assert client.tags(ref) == ["1"]

        written = home / "run/containers/auth.json"
        wrong = base64.b64encode(f"{USER}:wr0ng".encode()).decode()
        assert address in written.read_text()
        written.write_text(json.dumps({"auths": {address: {"auth": wrong}}}))
        with RegistryClient(conf=RegistriesConf([])) as other:
            with pytest.raises(RegistryError, match=f"refuses the user '{USER}'") as caught:
                other.resolve(ref)
        shown = f"{caught.value.message}{caught.value.hint}{caught.value.details}"
        assert "wr0ng" not in shown
        assert wrong not in shown


def test_a_private_ca(home: Path, tmp_path: Path) -> None:
    ca = PrivateCa(tmp_path / "ca")
    signed = ca.sign("registry")
    tls = f", tls: {{certificate: {signed.certificate}, key: {signed.key}}}"
    with serve(tmp_path, http=tls) as address:
        strict = tmp_path / "registries.conf"
        strict.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = false\n')
        ref = ImageRef.parse(f"{address}/app:1")
        with RegistryClient(conf=RegistriesConf([strict])) as client:
            with pytest.raises(RegistryError, match="is not trusted") as caught:
                client.resolve(ref)
            assert f"certs.d/{address}/ca.crt" in (caught.value.hint or "")
        folder = home / ".config/containers/certs.d" / address
        folder.mkdir(parents=True)
        shutil.copy(ca.path, folder / "ca.crt")
        with RegistryClient(conf=RegistriesConf([strict])) as client:
            digest = push_image(
                client, f"{address}/app", "1", version="1", files={"a": b"b"}, created=CREATED
            )
            assert client.resolve(ref).digest == digest


def test_all_tags_in_their_order(client: RegistryClient, docker_registry: str) -> None:
    name = f"{docker_registry}/client/pages"
    ref = ImageRef.parse(f"{name}:t0")
    push_image(client, name, "t0", version="1", files={}, created=CREATED)
    manifest = client.manifest(ref)
    for number in range(1, 7):
        client.put_manifest(ref.with_tag(f"t{number}"), manifest)
    # docker-registry 2.8 lists them in any order.
    assert client.tags(ref) == [f"t{number}" for number in range(7)]
