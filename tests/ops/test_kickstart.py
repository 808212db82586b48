"""Which install is for which host, and secrets and certificates from where a project has them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.kickstart import Kickstarts
from bootcfleet.ops.project import load_project

PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
images:
  soe: {base: quay.io/centos-bootc/centos-bootc:stream9}
channels:
  prod: {repository: mirror.example.com/acme}
installs:
  web:
    release: rhel9
    image: soe
    channel: prod
    selector: role=web
    secrets: {pull_secret: {file: "secrets/{host}.json"}}
    ca_certificates: [ca.pem]
  gpu: {release: rhel10, image: soe, selector: gpu}
  rest: {release: rhel9, image: "quay.io/a/b:1"}
"""
INVENTORY = """\
version: 1
defaults: {install: {disk: sda}}
hosts:
  web1: {labels: {role: web}}
  both: {labels: {role: web, gpu: x}}
  other: {}
"""
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/web1.json").write_text("{}")
    (tmp_path / "ca.pem").write_text(PEM)
    return tmp_path


def opened(root: Path) -> Kickstarts:
    return Kickstarts.open(load_project(root))


def test_the_install_of_a_host(root: Path) -> None:
    one = opened(root)
    assert one.install_of(one.host("web1")) == "web"
    assert one.install_of(one.host("other")) == "rest"
    with pytest.raises(UsageError, match="both could be installed by web and by gpu"):
        one.install_of(one.host("both"))
    assert [host.name for host in one.hosts_of("rest")] == ["other"]
    assert [host.name for host in one.hosts_of("gpu")] == ["both"]
    (root / "bootcfleet.yaml").write_text(PROJECT.replace("rest: {", "rest: {selector: never, "))
    one = opened(root)
    with pytest.raises(UsageError, match="no install of the project is for other"):
        one.install_of(one.host("other"))


def test_references(root: Path) -> None:
    one = opened(root)
    found = {name: str(one.reference(spec)) for name, spec in one.installs.items()}
    assert found == {
        "web": "mirror.example.com/acme/soe:prod",
        "gpu": "registry.example.com/acme/soe:0.1",
        "rest": "quay.io/a/b:1",
    }


def test_secrets_and_certificates_of_a_host(root: Path) -> None:
    one = opened(root)
    text = one.render("web", one.host("web1")).text
    assert base64.b64encode(b"{}").decode() in text
    assert base64.encodebytes(PEM.encode()).decode() in text
    fetched = one.render("web", one.host("web1"), secret_url=lambda name: f"https://a.b/{name}")
    assert 'url = "https://a.b/pull_secret"\n' in fetched.text
    assert base64.b64encode(b"{}").decode() not in fetched.text
    assert fetched.secret


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("secrets/web1.json", b" \n", "the secret 'pull_secret' is empty: "),
        ("secrets/web1.json", b"x" * 70_000, "the secret 'pull_secret' is larger than 64 KiB: "),
        ("secrets/web1.json", None, "the secret 'pull_secret' cannot be read: "),
        ("ca.pem", None, "the CA certificate cannot be read: "),
        ("ca.pem", b"-----BEGIN TRUSTED", "ca.pem: holds no certificate in PEM form"),
        ("ca.pem", PEM.encode() + b"-----BEGIN PRIVATE KEY-----", "ca.pem: holds a private key"),
    ],
)
def test_what_is_wrong_with_files(root: Path, path: str, data: bytes | None, message: str) -> None:
    one = opened(root)
    (root / path).unlink()
    if data is not None:
        (root / path).write_bytes(data)
    with pytest.raises(FleetError) as error:
        one.render("web", one.host("web1"))
    assert error.value.message.startswith(message)
    assert "xxx" not in error.value.message


def test_a_link_in_the_templates_is_refused(root: Path) -> None:
    (root / "kickstarts").mkdir()
    (root / "kickstarts/web.ks.j2").symlink_to("/etc/passwd")
    with pytest.raises(FleetError, match="is a symbolic link"):
        opened(root)
