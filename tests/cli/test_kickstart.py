"""`bootcfleet kickstart list` and `render`: installs, hosts, secrets and mistakes."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from bootcfleet.cli.app import run

PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
image_version: "1.0"
images:
  soe: {base: quay.io/centos-bootc/centos-bootc:stream9}
channels:
  prod: {}
installs:
  web:
    description: Web servers
    release: rhel9
    image: soe
    channel: prod
    selector: role=web
    disk: nvme0n1
    secrets:
      pull_secret: {env: PULL}
  rest:
    template: lvm
    release: centos-stream10
    image: soe
    disk: sda
"""
INVENTORY = """\
version: 1
defaults:
  install: {network: {gateway: 192.0.2.1}}
hosts:
  web1:
    labels: {role: web}
    install: {mac: 52-54-00-AB-CD-EF, network: {address: 192.0.2.12/24}}
  db1:
    install: {network: {address: 192.0.2.13/24}, disk: /dev/sdb, data_disks: [sdc]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kickstart", "list", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["image"], one["hosts"]) for one in body["installs"]] == [
        ("web", "registry.example.com/acme/soe:prod", ["web1"]),
        ("rest", "registry.example.com/acme/soe:1.0", ["db1"]),
    ]
    assert [one["name"] for one in body["templates"]] == ["baremetal", "edge", "luks", "lvm", "vm"]
    assert run(["kickstart", "list"]) == 0
    out = capsys.readouterr().out
    assert "web      baremetal  rhel9            registry.example.com/acme/soe:prod  1" in out


def test_render_leaves_secrets_out_of_what_is_printed(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULL", '{"auths": {}}')
    assert run(["kickstart", "render", "web", "--host", "web1"]) == 0
    said = capsys.readouterr()
    assert said.err == "secrets are left out; --output FILE writes them\n"
    encoded = base64.b64encode(b'{"auths": {}}').decode()
    assert encoded not in said.out
    assert "network --device=52:54:00:ab:cd:ef --bootproto=static --ip=192.0.2.12" in said.out
    assert "--gateway=192.0.2.1" in said.out
    assert "--hostname=web1" in said.out
    assert "--url=registry.example.com/acme/soe:prod" in said.out
    file = project / "web.ks"
    assert run(["kickstart", "render", "web", "--host", "web1", "-o", str(file)]) == 0
    assert capsys.readouterr().out == f"wrote {file}, for its owner alone: it holds secrets\n"
    assert encoded in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run(["kickstart", "render", "web", "-o", "-"]) == 0
    assert encoded in capsys.readouterr().out
    assert run(["kickstart", "render", "web", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    text = body.pop("text")
    assert encoded not in text
    assert body == {
        "name": "web",
        "template": "baremetal",
        "release": "rhel9",
        "verb": "ostreecontainer",
        "image": "registry.example.com/acme/soe:prod",
        "host": None,
        "secret": True,
    }


def test_the_inventory_is_the_one_of_other_commands(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "other.yaml").write_text("version: 1\nhosts: {x1: {labels: {role: web}}}\n")
    for words in (["-i", "other.yaml"], []):
        monkeypatch.setenv("BOOTCFLEET_INVENTORY", "other.yaml" if not words else "none.yaml")
        assert run(["kickstart", "list", "--json", *words]) == 0
        body = json.loads(capsys.readouterr().out)
        assert [one["hosts"] for one in body["installs"]] == [["x1"], []]


def test_render_without_secrets_is_for_everybody(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["kickstart", "render", "rest", "--host", "db1", "-o", "db1.ks", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["file"], body["secret"]) == ("db1.ks", False)
    assert stat.S_IMODE((project / "db1.ks").stat().st_mode) == 0o644
    text = (project / "db1.ks").read_text()
    assert "ignoredisk --only-use=sdb,sdc\n" in text
    assert "volgroup system pv.01 pv.02\n" in text


def test_a_template_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["kickstart", "render", "vm", "--release", "fedora44", "--image", "a.example/b:1"]
    assert run([*line, "--var", "root_size_mib=20480", "--var", "timezone=Europe/Berlin"]) == 0
    out = capsys.readouterr().out
    assert "part / --fstype=xfs --size=20480 --grow --ondisk=vda\n" in out
    assert "timezone Europe/Berlin --utc\n" in out
    assert "bootc --source-imgref=registry:a.example/b:1 --target-imgref=a.example/b:1" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vm"], "error: vm is a template: it needs --release and --image\n"),
        (["wbe"], "error: there is no install and no template 'wbe'\nhint: did you mean 'web'?\n"),
        (["web", "--host", "web2"], "error: the inventory has no host 'web2'\n"
         "hint: did you mean 'web1'?\n"),
        (["web", "--var", "x"], "error: --var 'x' is not NAME=VALUE\n"),
        (["web", "--release", "rhel7"], "error: the installer of rhel7 cannot install an image\n"),
        (["web", "-o", "x.ks"],
         "error: the secret 'pull_secret' is not in the environment as $PULL\n"),
    ],
)  # fmt: skip
def test_mistakes(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["kickstart", "render", *words]) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image: soe\n    channel", "image: so\n    channel",
         "bootcfleet.yaml:13: installs.web.image: 'so' is no image of this project and no"),
        ("channel: prod", "channel: pord", "installs.web.channel: there is no channel 'pord'"),
        ("release: rhel9", "release: rhle9", "installs.web.release: 'rhle9' is not a release"),
        ("disk: nvme0n1", "disk: 'sda; id'", "installs.web.disk: 'sda; id' is not a disk"),
        ("selector: role=web", "selector: 'role='' x'", "installs.web.selector: "),
        ("{env: PULL}", "{env: PULL, file: x}", "a secret comes from exactly one of file and env"),
        ("{env: PULL}", "{file: secrets/none}",
         "error: the secret 'pull_secret' cannot be read: "),
        ("{env: PULL}", "{file: 'secrets/{host}'}",
         "error: the secret 'pull_secret' is a file for each host (secrets/{host})"),
        ("template: lvm", "template: luks", None),
    ],
)  # fmt: skip
def test_mistakes_of_the_project(
    project: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str | None
) -> None:
    assert old in PROJECT
    (project / "bootcfleet.yaml").write_text(PROJECT.replace(old, new))
    name = "web" if message else "rest"
    assert run(["kickstart", "render", name, "-o", "x"]) == 2
    wanted = message or "bootcfleet.yaml:19: installs.rest: the template 'luks' needs the secret"
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("52-54-00-AB-CD-EF", "52-54-00-AB-CD", "is not a MAC address"),
        ("192.0.2.12/24", "192.0.2.12", "has no prefix length; write 192.0.2.12/24"),
        ("gateway: 192.0.2.1", "gateway: 198.51.100.1",
         "inventory.yaml:7: hosts.web1.install.network: the gateway 198.51.100.1 is not in the"),
        ("disk: /dev/sdb", "mac: '52:54:00:ab:cd:ef'",
         "hosts.db1.install.mac: 52:54:00:ab:cd:ef is web1's, too"),
        ("disk: /dev/sdb", "mac: '52:54:00:ab:cd:e0', serial: 1, colour: red", "unknown key"),
        ("{network: {gateway", "{mac: '52:54:00:ab:cd:ef', network: {gateway", "unknown key"),
    ],
)  # fmt: skip
def test_mistakes_of_the_inventory(
    project: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    assert old in INVENTORY
    (project / "inventory.yaml").write_text(INVENTORY.replace(old, new))
    assert run(["kickstart", "list"]) == 2
    assert message in capsys.readouterr().err
