"""`bootcfleet init` and `schema`: messages, exit codes, files."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from bootcfleet.cli.app import run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_init_writes_a_project_that_works(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["init", "acme"]) == 0
    out = capsys.readouterr().out
    assert "cd acme" in out
    for name in ("bootcfleet", "inventory"):
        body = yaml.safe_load((here / f"acme/{name}.yaml").read_text())
        schema = json.loads((here / f"acme/{name}.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(body, schema)
    assert (here / "acme/.gitignore").read_text().endswith(".bootcfleet/\n")
    assert (here / "acme/containerfiles/soe/Containerfile.j2").is_file()
    assert list((here / "acme/kickstarts").glob("*.ks.j2"))
    monkeypatch.chdir(here / "acme/containerfiles")  # found from below, too
    assert run(["image", "graph", "--format", "json"]) == 0
    for image in ("soe", "web", "database", "container-host"):
        assert run(["image", "render", image, "--json"]) == 0
    capsys.readouterr()
    assert run(["fleet", "status"]) == 2
    assert "has no hosts yet" in capsys.readouterr().err


def test_init_refuses_to_overwrite_and_force_says_what_it_replaces(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "acme").mkdir()
    (here / "acme/notes.txt").write_text("mine")
    assert run(["init", "acme"]) == 0  # unrelated files do not matter
    (here / "acme/bootcfleet.yaml").write_text("edited")
    capsys.readouterr()
    assert run(["init", "acme"]) == 2
    err = capsys.readouterr().err
    assert "has files that would be overwritten" in err
    assert "--force" in err
    assert (here / "acme/bootcfleet.yaml").read_text() == "edited"
    assert run(["init", "acme", "--force"]) == 0
    assert "replaced bootcfleet.yaml" in capsys.readouterr().out
    assert (here / "acme/notes.txt").read_text() == "mine"


def test_a_project_in_a_directory_that_is_there(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `git clone` of an empty repository with a .gitignore."""
    folder = here / "My Work"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.pyc\n")
    assert run(["init", "My Work", "--name", "acme"]) == 0
    said = capsys.readouterr().out
    assert "added to .gitignore\n" in said
    assert "  cd 'My Work'\n" in said
    monkeypatch.chdir(folder)
    assert run(["init", ".", "--name", "acme"]) == 0
    said = capsys.readouterr().out
    assert "wrote 0 files to . (" in said
    assert "  cd " not in said
    assert run(["init", ".", "--name", "acme", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["files"], body["replaced"], body["extended"]) == ([], [], [])
    assert "bootcfleet.yaml" in body["unchanged"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["init", "acme", "--name", ""], "cannot be a project's name"),
        (["init", "acme", "--registry", ""], "registry"),
        (["init", "Acme Corp"], "cannot be a project's name"),
        (["init", "a;b"], "cannot be a project's name"),
        (["init", "acme", "--base", "fedora"], "does not name its registry"),
        (["init", "acme", "--registry", "a b"], "registry"),
        (["image", "list"], "there is no bootcfleet.yaml in"),
        (["fleet", "status"], "no inventory"),
    ],
)
def test_mistakes(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (here / "acme").exists()


def test_errors_are_json_when_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["image", "list", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error = json.loads(said.err)["error"]
    assert error["exit_code"] == 2
    assert "bootcfleet init" in error["hint"]


@pytest.mark.parametrize("words", [["nonsense"], ["fleet", "statsu"], ["fleet", "status", "--x"]])
def test_usage_errors_have_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert capsys.readouterr().err
