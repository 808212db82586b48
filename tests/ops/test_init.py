"""A new project: what is written, what is refused before the first byte, what can be read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.inventory_native import parse_inventory
from bootcfleet.domain.project import parse_project
from bootcfleet.domain.reference import valid_name
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import write_atomic
from bootcfleet.drivers.shipped import shipped_dir
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops import init
from bootcfleet.ops.init import DEFAULT_BASE, Written, init_project
from bootcfleet.ops.project import find_root, load_project


def new(directory: Path, registry: str = "r.example/acme", *, force: bool = False) -> Written:
    return init_project(directory, registry=registry, base=DEFAULT_BASE, force=force)


def everything(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_what_is_written(tmp_path: Path) -> None:
    written = new(tmp_path / "acme")
    assert (written.directory, written.replaced) == (tmp_path / "acme", ())
    found = [path for path in everything(written.directory) if (written.directory / path).is_file()]
    assert sorted(written.files) == found
    project = load_project(tmp_path / "acme").project
    assert (project.name, project.registry) == ("acme", "r.example/acme")
    assert project.images["soe"].base == DEFAULT_BASE
    shipped = shipped_dir("containerfiles")
    for template in init.TEMPLATES:
        for path in (path for path in (shipped / template).rglob("*") if path.is_file()):
            copy = tmp_path / "acme/containerfiles" / path.relative_to(shipped)
            assert copy.read_bytes() == path.read_bytes()
            assert copy.stat().st_mode & 0o777 == (
                0o755 if copy.read_bytes()[:2] == b"#!" else 0o644
            )


@pytest.mark.parametrize("name", ["1", "2026", "1.10", "on", "null", "1e3", "a-b.c_d"])
def test_names_that_yaml_takes_for_something_else(tmp_path: Path, name: str) -> None:
    new(tmp_path / name)
    assert load_project(tmp_path / name).project.name == name


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True).filter(valid_name))
def test_every_valid_name_can_be_read_back(name: str) -> None:
    files = init._files(name, "r.example/acme", DEFAULT_BASE)
    text = files["bootcfleet.yaml"].decode()
    assert parse_project(yamlfile.parse(text, "f")).name == name


@pytest.mark.parametrize(
    "registry", ["r.example/acme", "r.example/acme/", "r.example", "h:5000/a", "[::1]:5000/a"]
)
def test_the_registry_is_one_in_both_files(tmp_path: Path, registry: str) -> None:
    base = f"{registry.rstrip('/')}/base:1"
    init_project(tmp_path / "acme", registry=registry, base=base, force=False)
    loaded = load_project(tmp_path / "acme")
    assert loaded.project.registry == registry.rstrip("/")
    assert loaded.project.images["soe"].base == base
    inventory = yamlfile.load(tmp_path / "acme/inventory.yaml")
    assert inventory.data["groups"]["web"]["image"] == f"{registry.rstrip('/')}/web:1.0"
    parse_inventory(inventory)


def test_another_name_than_the_directorys(tmp_path: Path) -> None:
    folder = tmp_path / "My Work"
    with pytest.raises(UsageError) as caught:
        new(folder)
    assert "--name" in (caught.value.hint or "")
    init_project(folder, registry="r.example/a", base=DEFAULT_BASE, force=False, name="acme")
    assert load_project(folder).project.name == "acme"
    with pytest.raises(UsageError, match="'' cannot be a project's name"):
        init_project(folder, registry="r.example/a", base=DEFAULT_BASE, force=False, name="")


def test_nothing_of_the_repository_of_bootcfleet_itself_is_copied(tmp_path: Path) -> None:
    written = new(tmp_path / "acme")
    assert not [path for path in written.files if path.endswith((".gitkeep", ".pyc"))]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", init._GITIGNORE.encode()),
        (b"*.pyc\n", b"*.pyc\n\n" + init._GITIGNORE.encode()),
        (b"*.pyc", b"*.pyc\n\n" + init._GITIGNORE.encode()),
        (b"\xff\n", b"\xff\n\n" + init._GITIGNORE.encode()),
        (b"a\n/.bootcfleet\nb\n", None),
        (b".bootcfleet/\r\n", None),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_a_repository_ignores_already_is_kept(
    tmp_path: Path, before: bytes, after: bytes | None, force: bool
) -> None:
    path = tmp_path / "acme/.gitignore"
    path.parent.mkdir()
    path.write_bytes(before)
    written = new(tmp_path / "acme", force=force)
    assert path.read_bytes() == (before if after is None else after)
    assert written.replaced == ()
    assert written.extended == (() if after is None else (".gitignore",))
    assert written.unchanged == ((".gitignore",) if after is None else ())


def test_what_is_there_already_is_not_in_the_way(tmp_path: Path) -> None:
    first = new(tmp_path / "acme")
    again = new(tmp_path / "acme")
    assert (again.files, again.replaced) == ((), ())
    assert again.unchanged == first.files


def test_a_run_that_was_interrupted_is_no_project_and_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever file it happens."""
    every = new(tmp_path / "whole").files
    stop_after = len(every)
    while stop_after := stop_after - 7 if stop_after > 7 else 0:
        left = [stop_after]

        def write(path: Path, data: bytes, *, mode: int, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            write_atomic(path, data, mode=mode)

        monkeypatch.setattr(init, "write_atomic", write)
        folder = tmp_path / f"after{stop_after}"
        with pytest.raises(KeyboardInterrupt):
            new(folder)
        assert find_root(folder) is None
        monkeypatch.setattr(init, "write_atomic", write_atomic)
        second = new(folder)
        assert sorted((*second.files, *second.unchanged)) == sorted(every)
        assert len(second.unchanged) == stop_after
        assert load_project(folder).project.name == folder.name


@pytest.mark.parametrize(
    "registry",
    [
        "",
        "acme",
        "r.example/a b",
        "r.example/acme\ntemplates: /etc",
        "r.example/a # x",
        "-r.example",
    ],
)
def test_registries_that_are_none(tmp_path: Path, registry: str) -> None:
    with pytest.raises(UsageError):
        new(tmp_path / "acme", registry)
    assert everything(tmp_path) == []


@pytest.mark.parametrize(
    "base", ["fedora", "r.example/b:1\n    from: x", "r.example/b@sha256:1", ""]
)
def test_bases_that_are_none(tmp_path: Path, base: str) -> None:
    with pytest.raises(UsageError):
        init_project(tmp_path / "acme", registry="r.example/a", base=base, force=True)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["Acme", "a b", "a;b", "..", "-x", "a" * 65, "\u00fc"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a project's name"):
        new(tmp_path / name)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("obstacle", "directory", "words"),
    [
        ("acme", False, "acme is there and is not a directory"),
        ("acme/containerfiles", False, "containerfiles is there and is not a directory"),
        ("acme/containerfiles/soe", False, "soe is there and is not a directory"),
        ("acme/inventory.yaml", True, "is a directory where a file is to be"),
    ],
)
def test_what_stands_in_the_way_is_said_before_anything_is_written(
    tmp_path: Path, obstacle: str, directory: bool, words: str, force: bool
) -> None:
    path = tmp_path / obstacle
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if directory else path.write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(UsageError, match=words):
        new(tmp_path / "acme", force=force)
    assert everything(tmp_path) == before


def test_a_file_above_the_project(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file is there and is not a directory"):
        new(tmp_path / "file/below/acme")


def test_it_replaces_only_with_force_and_only_its_own(tmp_path: Path) -> None:
    (tmp_path / "acme/containerfiles/mine").mkdir(parents=True)
    (tmp_path / "acme/containerfiles/mine/Containerfile.j2").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "acme/bootcfleet.yaml").symlink_to(elsewhere)
    (tmp_path / "acme/inventory.yaml").write_text("edited")
    with pytest.raises(UsageError) as caught:
        new(tmp_path / "acme")
    # A link that leads nowhere would be lost as well.
    assert caught.value.details == ("bootcfleet.yaml", "inventory.yaml")
    assert "--force" in (caught.value.hint or "")
    written = new(tmp_path / "acme", force=True)
    assert written.replaced == ("bootcfleet.yaml", "inventory.yaml")
    assert not elsewhere.exists()  # the link was replaced, not followed
    assert (tmp_path / "acme/containerfiles/mine/Containerfile.j2").read_text() == "mine"


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, *, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(init, "write_atomic", full)
    with pytest.raises(FleetError, match="cannot be written: No space left on device"):
        new(tmp_path / "acme")


def test_a_place_where_nothing_can_be_made() -> None:
    with pytest.raises(FleetError, match="/proc/acme/"):
        new(Path("/proc/acme"))


def test_the_schemas() -> None:
    assert "images" in str(init.schema("project")["properties"])
    assert "hosts" in str(init.schema("inventory")["properties"])
