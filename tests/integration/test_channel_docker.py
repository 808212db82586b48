"""Channels in the real docker-registry: with a password and a private CA, and by real skopeo."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import bcrypt
import pytest

from bootcfleet.domain.image import sha256
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.drivers.registryconf import RegistriesConf
from bootcfleet.ops.channelmirror import restore_histories
from bootcfleet.ops.channelverify import verify
from bootcfleet.ops.promote import plan_promotion, promote, promote_now
from tests.channelproject import CHANNELS, ChannelProject
from tests.drivers.certificates import PrivateCa
from tests.integration.test_registry_docker import SECRET, USER, home, serve
from tests.oddmanifests import push_forms
from tests.tools import need

pytestmark = pytest.mark.integration
__all__ = ["home"]


def test_every_form_with_a_password_and_a_private_ca(home: Path, tmp_path: Path) -> None:
    """The digest is the same to the byte, and the whole life of a channel works."""
    ca = PrivateCa(tmp_path / "ca")
    signed = ca.sign("registry")
    hashed = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(5)).decode()
    (tmp_path / "htpasswd").write_text(f"{USER}:{hashed}\n")
    tls = f", tls: {{certificate: {signed.certificate}, key: {signed.key}}}"
    auth = f"auth: {{htpasswd: {{realm: r, path: {tmp_path / 'htpasswd'}}}}}\n"
    with serve(tmp_path, http=tls, more=auth) as address:
        strict = tmp_path / "registries.conf"
        strict.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = false\n')
        folder = home / ".config/containers/certs.d" / address
        folder.mkdir(parents=True)
        shutil.copy(ca.path, folder / "ca.crt")
        login = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
        (home / "run/containers/auth.json").write_text(
            json.dumps({"auths": {address: {"auth": login}}})
        )
        text = CHANNELS + f"  out: {{from: test, repository: {address}/released}}\n"
        project = ChannelProject.make(tmp_path / "acme", address, text, images="web")
        with RegistryClient(conf=RegistriesConf([strict])) as client, project.open(client) as all_:
            web = ImageRef.parse(f"{address}/acme/web")
            for tag, digest in push_forms(client, str(web)).items():
                before = client.manifest(web.with_tag(tag))
                promote_now(all_, ["web"], tag, "dev")
                (entry,) = promote_now(all_, ["web"], "dev", "test")
                after = client.manifest(web.with_tag("test"))
                assert (entry.digest, entry.media_type) == (digest, before.media_type)
                assert after == before
                assert str(client.digest(web.with_tag(entry.keep))) == digest
            assert verify(all_) == ()
            assert len(all_.store.history("web", "test")) == 5
            # skopeo finds the password and the CA where this client does.
            (entry,) = promote_now(all_, ["web"], "test", "out")
            assert entry.repository == f"{address}/released/web"
            assert client.manifest(entry.reference) == after
        lost = ChannelProject.make(tmp_path / "lost", address, images="web")
        with RegistryClient(conf=RegistriesConf([strict])) as client, lost.open(client) as again:
            assert restore_histories(again) == {("web", "dev"): 5, ("web", "test"): 5}
            assert verify(again) == ()


def test_into_another_registry(containers_conf: Path, docker_registry: str, tmp_path: Path) -> None:
    """Blobs by skopeo; signatures and referrers follow, from a registry with that API to none."""
    need("skopeo")
    with LabRegistry() as lab:
        channels_text = (
            f"  dev: {{}}\n  prod: {{from: dev, repository: {docker_registry}/released}}\n"
        )
        project = ChannelProject.make(tmp_path / "acme", lab.address, channels_text, "web")
        with project.open() as channels:
            client, artifacts = channels.registry, channels.artifacts
            web = ImageRef.parse(f"{lab.address}/acme/web")
            away = ImageRef.parse(f"{docker_registry}/released/web")
            digests = push_forms(client, str(web))
            # A signature as cosign writes it, of an image of the index; and an SBOM of the index.
            index = client.manifest(web.with_tag("index"))
            signature = f"{str(index.references[0]).replace(':', '-')}.sig"
            client.put_manifest(web.with_tag(signature), client.manifest(web.with_tag("oci")))
            sbom = b'{"spdxVersion": "SPDX-2.3"}'
            attached = artifacts.push(
                web, "application/spdx+json", [("application/spdx+json", sbom, {})],
                subject=index.digest,
            )  # fmt: skip
            for tag in ("oci", "odd", "docker", "index", "odd-index"):
                promote_now(channels, ["web"], tag, "dev")
                before = client.manifest(web.with_digest(Digest(digests[tag])))
                (entry,) = promote(channels, plan_promotion(channels, ["web"], "dev", "prod"))
                assert entry.repository == str(away)
                assert client.manifest(away.with_tag("prod")) == before
                assert str(client.digest(away.with_tag(entry.keep))) == digests[tag]
                assert client.config(away.with_tag("prod")).version in {"1", "2"}
            assert str(client.digest(away.with_tag(signature))) == digests["oci"]
            (found,) = Artifacts(client).referrers(away, index.digest)
            assert found.digest == attached
            _, (blob,) = artifacts.fetch(away.with_digest(attached))
            assert blob == sbom
            assert client.has_blob(away, sha256(sbom))
            assert verify(channels) == ()
