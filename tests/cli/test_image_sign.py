"""`bootcfleet image sign | verify | keygen | policy` as a user sees them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.signature import signature_tag
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.project import load_project
from tests.shippedtemplates import SHIPPED

SECRET = "a very secret passphrase"
VARIABLE = "BOOTCFLEET_SIGNING_PASSPHRASE"
CREATED = datetime(2026, 1, 2, tzinfo=UTC)
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def registry() -> Iterator[LabRegistry]:
    with LabRegistry() as registry:
        yield registry


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient() as client:
        yield client


@pytest.fixture
def say(
    registry: LabRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """In a project without a key, on a machine without cosign."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv(VARIABLE, SECRET)
    write(registry, tmp_path)
    push(registry, "prod")

    def go(*words: str) -> tuple[int, str, str]:
        code = run(["image", *words])
        captured = capsys.readouterr()
        assert SECRET not in captured.out + captured.err
        return code, captured.out, captured.err

    return go


def write(registry: LabRegistry, folder: Path, more: str = "") -> None:
    (folder / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {registry.address}/acme\n{more}"
        "images:\n  soe: {base: registry.invalid/base, template: soe}\n"
    )


def push(registry: LabRegistry, tag: str) -> Digest:
    files = {"a": tag.encode()}
    return push_image(registry.address, "acme/soe", tag, version="1", files=files, created=CREATED)


@pytest.fixture
def keys(registry: LabRegistry, tmp_path: Path, say: Say) -> None:
    """The same with a key pair."""
    code, out, err = say("keygen", "--key", "acme.key")
    assert (code, err) == (0, "")
    write(registry, tmp_path, out[out.index("signing:") :])


def test_keygen_says_what_to_do_next(say: Say, tmp_path: Path) -> None:
    code, out, err = say("keygen")
    key, public = tmp_path / "home/.config/bootcfleet/acme.key", tmp_path / "acme.pub"
    assert (code, err) == (0, "")
    assert out == (
        f"private key: {key} (keep a copy, and the passphrase, in a safe place)\n"
        f"public key:  {public} (belongs into the repository)\n"
        "put this into bootcfleet.yaml:\n"
        "signing:\n"
        "  public_key: acme.pub\n"
        "  private_key: home/.config/bootcfleet/acme.key\n"
    )
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o077 == 0
    code, _, err = say("keygen")
    assert code == 2
    assert f"{key} is there already, and is not written over" in err


@pytest.mark.parametrize("value", [None, ""])
def test_keygen_without_a_passphrase(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv(VARIABLE)
    else:
        monkeypatch.setenv(VARIABLE, value)
    code, out, err = say("keygen")
    assert (code, out) == (2, "")
    assert VARIABLE in err
    assert not (tmp_path / "acme.pub").exists()


def test_sign_verify_and_again(
    keys: None, say: Say, registry: LabRegistry, client: RegistryClient
) -> None:
    digest = client.digest(ImageRef.parse(f"{registry.address}/acme/soe:prod"))
    name = f"{registry.address}/acme/soe@{digest}"
    code, out, err = say("verify", "soe:prod")
    assert (code, out) == (3, "")
    assert f"{digest} is not signed with this key: it has no signature" in err
    assert f"bootcfleet image sign {name}" in err
    assert say("sign", "soe:prod", "--dry-run")[:2] == (0, f"{name}: would be signed\n")
    assert say("verify", "soe:prod")[0] == 3
    assert say("sign", "soe:prod") == (0, f"{name}: signed by builtin\n", "")
    code, out, _ = say("verify", "soe:prod")
    assert code == 0
    assert out.startswith(f"{digest} is signed with the key ")
    assert say("sign", "soe:prod") == (0, f"{name}: is signed already\n", "")
    found = json.loads(say("verify", "soe:prod", "--json")[1])
    assert (found["gate"], found["ok"]) == ("signature", True)
    evidence = latest_evidence(open_ledger(load_project()), EvidenceKind.SIGN, str(digest))
    assert evidence is not None
    assert (evidence.image, evidence.outcome) == ("soe", EvidenceOutcome.PASSED)
    assert evidence.details["tool"] == "builtin"


def test_an_index_counts_only_with_all_its_images(
    keys: None, say: Say, registry: LabRegistry, client: RegistryClient
) -> None:
    digest = push_index(
        registry.address, "acme/soe", "both", version="1", files={"a": b"1"}, created=CREATED
    )
    code, out, _ = say("sign", "soe:both", "--json")
    assert code == 0
    assert len(json.loads(out)[0]["signed"]) == 3
    assert "is signed with its 2 images with the key" in say("verify", "soe:both")[1]
    ref = ImageRef.parse(f"{registry.address}/acme/soe@{digest}")
    child = list(client.manifest(ref).children.values())[1]
    # Something else lies where the signature was.
    client.put_manifest(ref.with_tag(signature_tag(child)), client.manifest(ref.with_digest(child)))
    code, _, err = say("verify", "soe:both")
    assert code == 3
    assert f"its image {child.short} is not: it has no signature" in err


def test_a_signature_of_another_key_repository_or_digest_does_not_count(
    keys: None, say: Say, registry: LabRegistry, client: RegistryClient, tmp_path: Path
) -> None:
    assert say("sign", "soe:prod")[0] == 0
    assert say("keygen", "--key", "other.key", "--public", "other.pub")[0] == 0
    code, _, err = say("verify", "soe:prod", "--key", "other.pub")
    assert code == 3
    assert "it is signed with another key" in err
    # The same signatures under another repository, and beside another digest.
    ref = ImageRef.parse(f"{registry.address}/acme/soe:prod")
    digest = client.digest(ref)
    manifest = client.manifest(ref.with_tag(signature_tag(digest)))
    copy = ImageRef.parse(f"{registry.address}/acme/copy:prod")
    dev = push(registry, "dev")
    for target, source in ((copy, ref), (ref.with_tag(signature_tag(dev)), None)):
        if source:
            image = client.manifest(source)
            for part in (image, manifest):
                for blob in (part.config_digest, *(d for d, _ in part.layers)):
                    client.put_blob(target, client.blob(source, blob))
            client.put_manifest(target, image)
            client.put_manifest(target.with_tag(signature_tag(digest)), manifest)
        else:
            client.put_manifest(target, manifest)
    code, _, err = say("verify", str(copy))
    assert code == 3
    assert f"it is signed, but it is for {ref.name}" in err
    code, _, err = say("verify", "soe:dev")
    assert code == 3
    assert "it is signed, but it is about another digest" in err


def test_a_channel_in_another_repository_is_signed_for_too(
    keys: None, say: Say, registry: LabRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its hosts ask for a signature for the repository that they pull from."""
    text = (tmp_path / "bootcfleet.yaml").read_text()
    (tmp_path / "bootcfleet.yaml").write_text(
        f"{text}channels: {{live: {{signature: true, repository: {registry.address}/edge}}}}\n"
    )
    code, out, _ = say("sign", "soe:prod", "--json")
    assert code == 0
    signed = [name.partition("@")[0] for name in json.loads(out)[0]["signed"]]
    assert signed == [f"{registry.address}/acme/soe", f"{registry.address}/edge/soe"]
    assert "is signed already" in say("sign", "soe:prod")[1]
    files = json.loads(say("policy", "--json")[1])
    scopes = json.loads(files["/etc/containers/policy.json"])["transports"]["docker"]
    assert set(scopes) == {f"{registry.address}/acme", f"{registry.address}/edge"}
    assert run(["channel", "promote", "soe", "prod", "live", "--yes"]) == 0
    capsys.readouterr()
    assert say("verify", f"{registry.address}/edge/soe:live")[0] == 0


def test_a_tampered_payload(
    keys: None, say: Say, registry: LabRegistry, client: RegistryClient
) -> None:
    assert say("sign", "soe:prod")[0] == 0
    ref = ImageRef.parse(f"{registry.address}/acme/soe:prod")
    tag = ref.with_tag(signature_tag(client.digest(ref)))
    body = json.loads(client.manifest(tag).raw)
    other = client.put_blob(ref, b"{}")
    body["layers"][0] |= {"digest": str(other), "size": 2}
    client.put_manifest(tag, Manifest.of(json.dumps(body).encode()))
    assert "it is signed with another key" in say("verify", "soe:prod")[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sign", "soe:prod"], "no private key is named"),
        (["verify", "soe:prod"], "no public key is named"),
        (["policy"], "the project has no key that hosts could ask for"),
        (["sign", "soe:prod", "--key", "none.key"], "the key none.key cannot be read"),
        (["verify", "soe:prod", "--key", "bootcfleet.yaml"], "bootcfleet.yaml is not a public key"),
        (["sign", "soe:prod", "--key", "bootcfleet.yaml"], "is not an encrypted key"),
    ],
)
def test_without_a_key(say: Say, words: list[str], message: str) -> None:
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "hint:" in err or "image keygen" in err or "--key" in err


def test_a_wrong_passphrase_and_none(keys: None, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "wrong")
    code, _, err = say("sign", "soe:prod")
    assert code == 2
    assert "the passphrase does not open" in err
    monkeypatch.delenv(VARIABLE)
    code, _, err = say("sign", "soe:prod")
    assert code == 2
    assert f"the passphrase is needed: {VARIABLE} is not set, and nobody is there" in err


def test_a_key_that_is_not_the_projects(
    keys: None, say: Say, registry: LabRegistry, tmp_path: Path
) -> None:
    assert say("keygen", "--key", "other.key", "--public", "other.pub")[0] == 0
    signing = "signing: {public_key: acme.pub, private_key: other.key}\n"
    write(registry, tmp_path, signing)
    code, _, err = say("sign", "soe:prod")
    assert code == 2
    assert "other.key does not belong to the project's public key" in err


def test_two_keys_while_one_takes_over(keys: None, say: Say) -> None:
    assert say("keygen", "--key", "other.key", "--public", "other.pub")[0] == 0
    assert say("sign", "soe:prod")[0] == 0
    assert say("sign", "soe:prod", "--key", "other.key")[0] == 0
    assert say("verify", "soe:prod")[0] == 0
    assert say("verify", "soe:prod", "--key", "other.pub")[0] == 0


def test_cosign_where_the_project_wants_it(
    keys: None, say: Say, registry: LabRegistry, tmp_path: Path
) -> None:
    signing = "signing: {public_key: acme.pub, private_key: acme.key, tool: cosign}\n"
    write(registry, tmp_path, signing)
    code, _, err = say("sign", "soe:prod")
    assert code == 5
    assert "the project signs with cosign, which is not installed" in err


def test_a_cosign_that_fails(
    keys: None, say: Say, registry: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words are shown, the failure is evidence, and the passphrase is in no argv."""
    program = tmp_path / "bin/cosign"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n[ $1 = version ] && { echo 'GitVersion: v3.1.0'; exit; }\n"
        f'echo "$@" > {tmp_path}/argv; echo "$COSIGN_PASSWORD" > {tmp_path}/env\n'
        "echo 'no such luck' >&2; exit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin:/bin")
    code, _, err = say("sign", "soe:prod")
    assert code == 1
    assert "cosign could not sign" in err
    assert "no such luck" in err
    argv = (tmp_path / "argv").read_text()
    assert "--new-bundle-format=false --use-signing-config=false" in argv
    assert "--allow-insecure-registry --allow-http-registry" in argv
    assert SECRET not in argv
    assert (tmp_path / "env").read_text() == f"{SECRET}\n"
    entry = open_ledger(load_project()).entries(action="image.sign")[-1]
    assert entry.outcome == "failed"


def test_policy_prints_and_writes(
    keys: None, say: Say, registry: LabRegistry, tmp_path: Path
) -> None:
    code, out, _ = say("policy", "--json")
    files = json.loads(out)
    assert code == 0
    assert list(files) == [
        "/etc/containers/policy.json",
        "/etc/containers/registries.d/50-acme.yaml",
        "/etc/pki/containers/acme.pub",
    ]
    assert (
        f"{registry.address}/acme"
        in json.loads(files["/etc/containers/policy.json"])["transports"]["docker"]
    )
    assert say("policy", "--output", "root")[0] == 0
    for path, text in files.items():
        assert (tmp_path / "root" / path[1:]).read_text() == text
    assert "==> /etc/containers/policy.json\n{" in say("policy")[1]


def test_only_the_public_key_goes_to_hosts(keys: None, say: Say, tmp_path: Path) -> None:
    """Whatever else somebody has put into its file."""
    public, private = (tmp_path / name for name in ("acme.pub", "acme.key"))
    clean = public.read_text()
    public.write_bytes(b"# \xe9\n" + public.read_bytes() + private.read_bytes())
    out = say("policy", "--json")[1]
    assert json.loads(out)["/etc/pki/containers/acme.pub"] == clean
    assert "PRIVATE" not in out


def test_the_soe_ships_what_policy_prints(
    keys: None, say: Say, registry: LabRegistry, tmp_path: Path
) -> None:
    (tmp_path / "containerfiles").symlink_to(SHIPPED)
    own = json.loads(say("policy", "--json")[1])
    assert say("render", "soe", "-o", "out")[0] == 0
    etc = tmp_path / "out/files/etc"
    shipped = (etc / "containers/policy.json").read_text()
    policy = own["/etc/containers/policy.json"]
    assert json.loads(shipped) == json.loads(policy.replace("/acme.pub", "/50-soe.pub"))
    assert (etc / "pki/containers/50-soe.pub").read_text() == (tmp_path / "acme.pub").read_text()
    drop_in = (etc / "containers/registries.d/50-soe.yaml").read_text()
    assert drop_in.endswith(own["/etc/containers/registries.d/50-acme.yaml"])


@pytest.mark.parametrize(
    ("signing", "message"),
    [
        ("{public_key: a.pub, passphrase_env: 'my secret!'}", "is not the name of an environment"),
        ('{public_key: "-----BEGIN PUBLIC KEY-----"}', "is not the name of a file"),
        ("{public_key: a.pub, tool: gpg}", "'auto', 'cosign' or 'builtin'"),
        ("{public_key: a.pub, accept: ['https://x']}", "is neither a registry nor a repository"),
        ("{private_key: a.key}", "signing"),
    ],
)
def test_the_project_file(
    say: Say, registry: LabRegistry, tmp_path: Path, signing: str, message: str
) -> None:
    write(registry, tmp_path, f"signing: {signing}\n")
    code, _, err = say("policy")
    assert code == 2
    assert "bootcfleet.yaml:4: " in err
    assert message in err
    assert "my secret!" not in err


def test_a_channel_asks_for_the_signature_itself(
    keys: None,
    say: Say,
    registry: LabRegistry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not the ledger's word: another machine may have signed, and a signature may be gone."""
    text = (tmp_path / "bootcfleet.yaml").read_text()
    (tmp_path / "bootcfleet.yaml").write_text(text + "channels: {live: {signature: true}}\n")
    push(registry, "v1")
    promote = ["channel", "promote", "soe", "v1", "live", "--yes"]
    assert run(promote) == 3
    assert "is not signed with this key: it has no signature" in capsys.readouterr().err
    assert say("sign", "soe:v1")[0] == 0
    assert run(promote) == 0
    push(registry, "v2")
    assert run(["channel", "promote", "soe", "v2", "live", "--yes"]) == 3
