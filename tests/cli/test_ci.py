"""`bootcfleet ci init` as a user sees it: which file, what it refuses, what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bootcfleet.cli.app import run

Say = Callable[..., tuple[int, str, str]]
PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
ledger: postgresql://fleet@db.example.com/fleet
images: {soe: {base: "quay.io/fedora/fedora-bootc:42"}}
channels: {dev: {}, test: {from: dev}}
"""
FILES = {
    "github": ".github/workflows/bootcfleet.yml",
    "gitlab": ".gitlab-ci.yml",
    "jenkins": "Jenkinsfile",
    "tekton": ".tekton/bootcfleet.yaml",
}
NEEDS = (
    "it needs these in the provider's secret store:\n"
    "  REGISTRY_USER\n  REGISTRY_PASSWORD\n  BOOTCFLEET_LEDGER_PASSWORD\n"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    (tmp_path / "bootcfleet.lock").write_text("version: 1\n")
    return tmp_path


@pytest.fixture
def say(here: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs one command line in this process: exit code, stdout, stderr."""

    def go(*words: str) -> tuple[int, str, str]:
        code = run(["ci", "init", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


@pytest.mark.parametrize(("provider", "file"), FILES.items())
def test_it_writes_one_file(here: Path, say: Say, provider: str, file: str) -> None:
    code, planned, err = say("--provider", provider, "--dry-run")
    assert (code, err) == (0, "")
    before = sorted(here.rglob("*"))
    assert len(before) == 2
    assert say("--provider", provider) == (0, f"wrote {here / file}\n{NEEDS}", "")
    assert (here / file).read_text() == planned
    assert [path for path in here.rglob("*") if path.is_file() and path not in before] == [
        here / file
    ]
    # Again: nothing to do, and nothing to refuse.
    assert say("--provider", provider) == (0, f"{here / file} is there already\n{NEEDS}", "")


@pytest.mark.parametrize(("provider", "file"), FILES.items())
def test_a_file_that_is_there_stays(here: Path, say: Say, provider: str, file: str) -> None:
    path = here / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine\n")
    assert say("--provider", provider) == (
        2,
        "",
        f"error: {path} is there and is another one\n"
        "hint: look at the new one with --dry-run, and replace it with --force\n",
    )
    assert path.read_text() == "mine\n"
    assert say("--provider", provider, "--dry-run")[0] == 0
    assert path.read_text() == "mine\n"
    code, out, _ = say("--provider", provider, "--force")
    assert (code, out.splitlines()[0]) == (0, f"replaced {path}")
    assert path.read_text() != "mine\n"


def test_a_directory_or_a_dead_link_in_its_place(here: Path, say: Say) -> None:
    (here / "Jenkinsfile").symlink_to("nowhere")
    assert say("--provider", "jenkins")[0] == 2
    assert (here / "Jenkinsfile").is_symlink()
    (here / ".gitlab-ci.yml").mkdir()
    assert say("--provider", "gitlab", "--force") == (
        2,
        "",
        f"error: {here / '.gitlab-ci.yml'} is a directory where a file is to be\n",
    )


def test_what_the_project_lacks_is_said(here: Path, say: Say) -> None:
    (here / "bootcfleet.lock").unlink()
    (here / "bootcfleet.yaml").write_text(
        "version: 1\nname: acme\nregistry: localhost:5000/acme\nimages:\n"
        "  soe: {base: 'quay.io/b:1', secrets: [{id: rhsm, file: ~/rhsm}]}\n"
    )
    assert say("--provider", "tekton") == (
        0,
        f"wrote {here / FILES['tekton']}\n"
        "note: the registry localhost:5000 is this machine's own; set registry: to one that the "
        "runners reach\n"
        "note: the ledger is a file of one machine, and every job would begin with an empty one; "
        "promotions by hand need the others' entries: set ledger: to a PostgreSQL database\n"
        "note: the project has no channels, so nothing is promoted; declare channels: and write "
        "the pipeline again\n"
        "note: there is no bootcfleet.lock: bootcfleet lock update\n"
        "note: the build of soe takes the secret rhsm from the file ~/rhsm, which runners must "
        "have\n",
        "",
    )


def test_the_file_goes_to_the_top_of_the_repository(
    here: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / ".git").mkdir()
    below = here / "os/images"
    below.mkdir(parents=True)
    for name in ("bootcfleet.yaml", "bootcfleet.lock"):
        (here / name).rename(below / name)
    monkeypatch.chdir(below)
    code, out, _ = say("--provider", "gitlab", "--branch", "trunk", "--package", "bootcfleet==9")
    assert (code, out.splitlines()[0]) == (0, f"wrote {here / '.gitlab-ci.yml'}")
    text = (here / ".gitlab-ci.yml").read_text()
    assert "- cd os/images\n" in text
    assert 'if: $CI_COMMIT_BRANCH == "trunk"' in text
    assert "pip install -q --disable-pip-version-check bootcfleet==9\n" in text


def test_json(here: Path, say: Say) -> None:
    code, out, err = say("--provider", "github", "--json")
    assert (code, err) == (0, "")
    body = json.loads(out)
    assert (body["file"], body["written"], body["replaced"]) == (
        str(here / FILES["github"]),
        True,
        False,
    )
    assert [job["name"] for job in body["jobs"]] == [
        "lock", "lint", "plan", "images", "promote-test", "update",
    ]  # fmt: skip
    assert body["jobs"][0]["when"] == ["change", "main"]
    assert body["notes"] == []
    assert json.loads(say("--provider", "github", "--json", "--dry-run")[1])["written"] is False


def test_usage(here: Path, say: Say) -> None:
    code, _, err = say("--provider", "travis")
    assert code == 2
    assert "travis" in err
    assert say("--provider", "github", "--package", "$(x)")[0] == 2
    assert say("--provider", "github", "--branch", "a b")[:2] == (2, "")
    assert not (here / ".github").exists()
