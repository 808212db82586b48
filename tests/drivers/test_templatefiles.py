"""Template folders: which file wins, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootcfleet.domain.template import SourceFile
from bootcfleet.drivers.templatefiles import load_templates, shipped_templates
from bootcfleet.errors import ConfigError


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_the_projects_file_replaces_the_shipped_one_path_by_path(tmp_path: Path) -> None:
    shipped = write(
        tmp_path / "shipped",
        {
            "_shared/a.j2": "shipped a",
            "_shared/b.j2": "shipped b",
            "soe/Containerfile.j2": "FROM x",
            "soe/template.yaml": "description: shipped",
        },
    )
    own = write(tmp_path / "own", {"_shared/a.j2": "own a", "new/Containerfile.j2": "FROM y"})
    found = load_templates([own, shipped, tmp_path / "not-there"])
    assert found.names == ("new", "soe")
    assert found.files["_shared/a.j2"] == SourceFile(b"own a", False, str(own / "_shared/a.j2"))
    assert found.files["_shared/b.j2"].data == b"shipped b"
    assert found.info("soe").description == "shipped"
    write(own, {"soe/template.yaml": "description: own"})
    assert load_templates([own, shipped]).info("soe").description == "own"


def test_a_template_with_its_own_containerfile_is_whole(tmp_path: Path) -> None:
    """Else an update of bootcfleet would mix in files whose variables it does not have."""
    shipped = write(
        tmp_path / "shipped",
        {
            "soe/Containerfile.j2": "FROM x",
            "soe/template.yaml": "variables: {new: {default: 1}}",
            "soe/files/etc/new.j2": "{{ new }}",
            "soe/checks.yaml": "checks: []",
            "_shared/a.j2": "a",
        },
    )
    own = write(tmp_path / "own", {"soe/Containerfile.j2": "FROM y"})
    found = load_templates([own, shipped])
    assert set(found.files) == {"soe/Containerfile.j2", "_shared/a.j2"}
    assert found.info("soe").variables == {}
    assert not found.checks


def test_checks_of_the_project_replace_or_add(tmp_path: Path) -> None:
    shipped = write(
        tmp_path / "shipped",
        {"web/checks.yaml": "from: shipped", "web/checks.d/b.yaml": "from: shipped-b"},
    )
    own = {"web/checks.d/c.yaml": "from: own-c", "web/checks.d/a.yaml": "from: own-a"}
    others = {"web/checks.d/readme.txt": "no: checks", "web/files/checks.yaml": "[no"}
    found = load_templates([write(tmp_path / "own", {**own, **others}), shipped])
    assert [document.data["from"] for document in found.checks["web"]] == [
        "shipped", "own-a", "shipped-b", "own-c",
    ]  # fmt: skip
    write(tmp_path / "own", {"web/checks.yaml": "from: own", "web/checks.d/b.yaml": "from: own-b"})
    found = load_templates([tmp_path / "own", shipped])
    assert [document.data["from"] for document in found.checks["web"]] == [
        "own", "own-a", "own-b", "own-c",
    ]  # fmt: skip
    assert found.checks["web"][0].file == str(tmp_path / "own/web/checks.yaml")


def test_checks_that_are_not_yaml_say_where(tmp_path: Path) -> None:
    write(tmp_path, {"web/checks.yaml": "version: 1\nchecks: [\n"})
    with pytest.raises(ConfigError, match=r"web/checks\.yaml:3: is not valid YAML"):
        load_templates([tmp_path])


def test_the_executable_bit_is_kept(tmp_path: Path) -> None:
    write(tmp_path, {"soe/files/run": "x", "soe/files/data": "x"})
    (tmp_path / "soe/files/run").chmod(0o711)
    files = load_templates([tmp_path]).files
    assert (files["soe/files/run"].executable, files["soe/files/data"].executable) == (True, False)


@pytest.mark.parametrize("target", ["/etc/passwd", "Containerfile.j2", "nowhere", "/etc"])
def test_symbolic_links_are_refused(tmp_path: Path, target: str) -> None:
    write(tmp_path, {"soe/Containerfile.j2": "FROM x"})
    link = tmp_path / "soe" / "link"
    link.symlink_to(target)
    with pytest.raises(ConfigError) as caught:
        load_templates([tmp_path])
    assert caught.value.message == (f"{link}: is a symbolic link, which a template may not contain")


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"soe/Containerfile.j2": "FROM x"})
    os.mkfifo(tmp_path / "soe/pipe")
    with pytest.raises(ConfigError, match="is not a plain file"):
        load_templates([tmp_path])


def test_metadata_that_is_not_yaml_says_where(tmp_path: Path) -> None:
    write(tmp_path, {"soe/template.yaml": "variables:\n  a: [\n"})
    with pytest.raises(ConfigError) as caught:
        load_templates([tmp_path])
    assert caught.value.message.startswith(f"{tmp_path}/soe/template.yaml:3: is not valid YAML")


def test_a_file_name_with_a_control_character_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"soe/files/a\nb": "x"})
    with pytest.raises(ConfigError, match="control character"):
        load_templates([tmp_path])


def test_the_shipped_templates_are_found() -> None:
    assert {"soe", "web", "database"} <= set(load_templates([shipped_templates()]).names)
