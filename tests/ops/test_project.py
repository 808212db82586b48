"""Finding a project from anywhere inside of it, and where state is kept without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootcfleet.errors import ConfigError, UsageError
from bootcfleet.ops.project import find_project, find_root, load_project, state_dir

TEXT = "version: 1\nname: {}\nregistry: r.example/acme\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "acme/containerfiles/soe").mkdir(parents=True)
    (tmp_path / "acme/bootcfleet.yaml").write_text(TEXT.format("acme"))
    return tmp_path / "acme"


@pytest.mark.parametrize("below", [".", "containerfiles", "containerfiles/soe"])
def test_it_is_found_from_below(root: Path, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_project(root / below)
    assert loaded.root == root
    assert loaded.project.name == "acme"
    assert loaded.document.line(("registry",)) == 3
    monkeypatch.chdir(root / below)
    assert find_root() == root


def test_the_nearest_one_counts(root: Path) -> None:
    inner = root / "containerfiles"
    (inner / "bootcfleet.yaml").write_text(TEXT.format("inner"))
    assert load_project(inner / "soe").project.name == "inner"


def test_a_directory_of_that_name_is_no_project(root: Path) -> None:
    (root / "containerfiles/bootcfleet.yaml").mkdir()
    assert find_root(root / "containerfiles") == root


def test_there_is_none(tmp_path: Path) -> None:
    assert find_project(tmp_path) is None
    with pytest.raises(UsageError) as caught:
        load_project(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert "bootcfleet init NAME" in (caught.value.hint or "")


def test_one_that_is_wrong_is_not_passed_over(root: Path) -> None:
    (root / "containerfiles/bootcfleet.yaml").write_text(TEXT.format("x") + "imagess: {}\n")
    with pytest.raises(ConfigError, match=r"containerfiles/bootcfleet.yaml:4: imagess"):
        find_project(root / "containerfiles")


def test_state_is_in_the_project_or_the_users(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state_dir(load_project(root)) == root / ".bootcfleet"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_dir(None) == tmp_path / ".local/state/bootcfleet"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert state_dir(None) == tmp_path / "elsewhere/bootcfleet"
    # The XDG specification: a relative path is to be ignored.
    monkeypatch.setenv("XDG_STATE_HOME", "elsewhere")
    assert state_dir(None) == tmp_path / ".local/state/bootcfleet"
