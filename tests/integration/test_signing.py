"""Signatures between us, cosign and the library inside of podman, skopeo and bootc."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.trustpolicy import signature_policy, sigstore_attachments
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.signingkey import PrivateKey, PublicKey, generate
from bootcfleet.ops.signature import verify_signature
from tests.integration import gotools

# The first run on a machine makes cosign and the policy check from their sources.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
#: The first run makes the program from its source: minutes, where much else runs.
SLOW_AT_FIRST = pytest.mark.timeout(1800)

SECRET = "correct horse, battery"
CREATED = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Desk:
    """A project with a key pair, in a real docker-registry."""

    folder: Path
    address: str
    repository: str
    client: RegistryClient = field(default_factory=RegistryClient)

    @property
    def name(self) -> str:
        return f"{self.address}/{self.repository}/soe"

    def ref(self, text: str) -> ImageRef:
        return ImageRef.parse(f"{self.name}{text}")

    def public(self) -> PublicKey:
        return PublicKey((self.folder / "acme.pub").read_bytes(), "acme.pub")

    def verified(self, digest: Digest) -> bool:
        return verify_signature(self.client, self.ref(f"@{digest}"), self.public()).ok

    def policy(self, key: Path, *accept: str) -> tuple[Path, Path]:
        """The files that hosts get, with the key where it is here."""
        scope = f"{self.address}/{self.repository}"
        policy, drop_ins = self.folder / "policy.json", self.folder / "registries.d"
        policy.write_text(signature_policy(accept, [scope], str(key)))
        drop_ins.mkdir(exist_ok=True)
        (drop_ins / "x.yaml").write_text(sigstore_attachments([scope]))
        return policy, drop_ins


@pytest.fixture
def desk(docker_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BOOTCFLEET_SIGNING_PASSPHRASE", SECRET)
    desk = Desk(tmp_path, docker_registry, f"signing-{os.getpid()}-{tmp_path.name.lower()}")
    pair = generate(SECRET.encode())
    (tmp_path / "acme.key").write_bytes(pair.private)
    (tmp_path / "acme.pub").write_bytes(pair.public)
    project(desk, "builtin")
    yield desk
    desk.client.close()


def project(desk: Desk, tool: str) -> None:
    (desk.folder / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {desk.address}/{desk.repository}\n"
        "signing:\n  public_key: acme.pub\n  private_key: acme.key\n"
        f"  tool: {tool}\nimages:\n  soe: {{base: registry.invalid/base}}\n"
    )


def image(desk: Desk, tag: str = "prod") -> Digest:
    return push_image(
        desk.client, desk.name, tag, version=tag, files={"a": tag.encode()}, created=CREATED
    )


def tried(*words: object) -> tuple[int, str]:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@SLOW_AT_FIRST
def test_a_host_takes_what_we_signed_and_nothing_else(desk: Desk) -> None:
    check = gotools.policycheck()
    signed = image(desk)
    image(desk, "unsigned")
    policy = desk.policy(desk.folder / "acme.pub")
    code, said = tried(check, *policy, f"{desk.name}:prod")
    assert code == 1
    assert "A signature was required, but no signature exists" in said
    before = desk.client.manifest(desk.ref(":prod")).raw
    assert run(["image", "sign", "soe:prod"]) == 0
    assert desk.client.manifest(desk.ref(":prod")).raw == before
    assert desk.verified(signed)
    assert tried(check, *policy, f"{desk.name}:prod") == (0, "")
    # A channel is another tag of the digest: it needs no other signature.
    desk.client.put_manifest(desk.ref(":test"), desk.client.manifest(desk.ref(":prod")))
    assert tried(check, *policy, f"{desk.name}:test") == (0, "")
    assert tried(check, *policy, f"{desk.name}:unsigned")[0] == 1
    other = desk.folder / "other.pub"
    other.write_bytes(generate(b"x").public)
    code, said = tried(check, *desk.policy(other), f"{desk.name}:prod")
    assert code == 1
    assert "cryptographic signature verification failed" in said


def test_an_index_is_signed_with_its_images(desk: Desk) -> None:
    check = gotools.policycheck()
    digest = push_index(
        desk.client, desk.name, "both", version="1", files={"a": b"1"}, created=CREATED
    )
    assert run(["image", "sign", f"soe@{digest}"]) == 0
    policy = desk.policy(desk.folder / "acme.pub")
    assert tried(check, *policy, f"{desk.name}:both") == (0, "")
    tags = [tag for tag in desk.client.tags(desk.ref("")) if tag.endswith(".sig")]
    assert len(tags) == 3


def test_a_registry_that_is_not_named_is_refused(desk: Desk) -> None:
    check = gotools.policycheck()
    push_image(desk.address, "elsewhere/x", "t", version="1", files={"a": b"1"}, created=CREATED)
    key = desk.folder / "acme.pub"
    code, said = tried(check, *desk.policy(key), f"{desk.address}/elsewhere/x:t")
    assert code == 1
    assert "is rejected by policy" in said
    accepting = desk.policy(key, f"{desk.address}/elsewhere")
    assert tried(check, *accepting, f"{desk.address}/elsewhere/x:t") == (0, "")
    assert tried(check, *desk.policy(key, "*"), f"{desk.address}/elsewhere/x:t") == (0, "")
    image(desk)
    assert tried(check, *desk.policy(key, "*"), f"{desk.name}:prod")[0] == 1


def test_containers_image_signs_with_our_key_and_we_verify_it(desk: Desk) -> None:
    check = gotools.policycheck()
    digest = image(desk)
    anything = desk.folder / "any.json"
    anything.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    _, drop_ins = desk.policy(desk.folder / "acme.pub")
    words = (check, anything, drop_ins, f"{desk.name}:prod", desk.folder / "acme.key")
    code, said = tried(*words, "wrong")
    assert code == 1, said
    assert not desk.verified(digest)
    assert tried(*words, SECRET) == (0, "")
    assert desk.client.digest(desk.ref(":prod")) == digest
    assert desk.verified(digest)


@SLOW_AT_FIRST
def test_cosign_verifies_what_we_signed(desk: Desk) -> None:
    cosign = gotools.cosign()
    digest = image(desk)
    assert run(["image", "sign", "soe:prod"]) == 0
    words = ("verify", "--insecure-ignore-tlog=true", "--key")
    code, said = tried(cosign, *words, desk.folder / "acme.pub", desk.ref(f"@{digest}"))
    assert code == 0, said
    assert "The signatures were verified against the specified public key" in said
    other = desk.folder / "other.pub"
    other.write_bytes(generate(b"x").public)
    assert tried(cosign, *words, other, desk.ref(f"@{digest}"))[0] != 0


@SLOW_AT_FIRST
def test_cosign_signs_and_we_and_hosts_verify(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cosign, check = gotools.cosign(), gotools.policycheck()
    link = desk.folder / "bin/cosign"
    link.parent.mkdir()
    link.symlink_to(cosign)
    monkeypatch.setenv("PATH", str(link.parent), prepend=os.pathsep)
    project(desk, "auto")
    file, edge = desk.folder / "bootcfleet.yaml", f"{desk.address}/edge"
    file.write_text(f"{file.read_text()}channels: {{live: {{repository: {edge}}}}}\n")
    digest = image(desk)
    assert run(["image", "sign", "soe:prod", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["tool"] == "cosign"
    assert desk.verified(digest)
    assert verify_signature(desk.client, desk.ref(":prod"), desk.public(), f"{edge}/soe").ok
    policy = desk.policy(desk.folder / "acme.pub")
    assert tried(check, *policy, f"{desk.name}:prod") == (0, "")
    # A key pair of cosign's own opens here too.
    monkeypatch.setenv("COSIGN_PASSWORD", SECRET)
    assert tried(cosign, "generate-key-pair", "--output-key-prefix", desk.folder / "own")[0] == 0
    private = PrivateKey((desk.folder / "own.key").read_bytes(), SECRET.encode(), "own.key")
    public = PublicKey((desk.folder / "own.pub").read_bytes(), "own.pub")
    assert public.signed(b"payload", private.sign(b"payload"))


def test_a_host_with_the_files_of_image_policy(desk: Desk, real_base: str) -> None:
    """In a container of an image that has them, by their own paths."""
    check = gotools.policycheck()
    image(desk)
    image(desk, "unsigned")
    assert run(["image", "sign", "soe:prod"]) == 0
    assert run(["image", "policy", "--output", "host"]) == 0
    (desk.folder / "Containerfile").write_text(f"FROM {real_base}\nCOPY host/ /\n")
    host = "localhost/trust-host:test"
    code, said = tried("podman", "build", "--quiet", "--tag", host, desk.folder)
    assert code == 0, said
    words = [
        "podman", "run", "--rm", "--network=host", f"--volume={check}:/usr/bin/policycheck:ro",
        host, "policycheck", "/etc/containers/policy.json",
        "/etc/containers/registries.d",
    ]  # fmt: skip
    code, said = tried(*words, f"{desk.name}:prod")
    assert code == 0, said
    code, said = tried(*words, f"{desk.name}:unsigned")
    assert code == 1
    assert "A signature was required, but no signature exists" in said
