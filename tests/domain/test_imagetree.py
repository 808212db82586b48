"""Layers over one another: whiteouts, opaque folders, hard links, replaced kinds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.imagetree import Entry, Kind, Tree, flatten, normal


def file(path: str, text: str = "x", **more: object) -> Entry:
    return Entry(path, Kind.FILE, 0o644, 0, 0, len(text), text, **more)  # type: ignore[arg-type]


def folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0o755, 0, 0)


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, 0, 0, link=target)


def hard(path: str, target: str) -> Entry:
    return Entry(path, Kind.HARDLINK, 0o644, 0, 0, link=target)


def paths(*layers: Sequence[Entry]) -> list[str]:
    return sorted(flatten(layers).entries)


def test_a_later_layer_replaces_and_adds() -> None:
    tree = flatten([[folder("etc"), file("etc/a", "1")], [file("etc/a", "2"), file("etc/b")]])
    assert tree.entries["etc/a"].sha256 == "2"
    assert tree.names("etc") == ("a", "b")


def test_a_whiteout_removes_a_file_and_a_whole_folder() -> None:
    base = [folder("d"), file("d/a"), folder("d/s"), file("d/s/x"), file("f")]
    assert paths(base, [file("d/.wh.a")]) == ["d", "d/s", "d/s/x", "f"]
    assert paths(base, [file(".wh.d")]) == ["f"]
    assert paths(base, [file(".wh.nothing")]) == paths(base)


def test_an_opaque_folder_hides_what_was_below_and_not_what_comes_with_it() -> None:
    base = [folder("d"), file("d/a"), folder("d/s"), file("d/s/x")]
    for layer in (
        [folder("d"), file("d/new"), file("d/.wh..wh..opq")],
        [folder("d"), file("d/.wh..wh..opq"), file("d/new")],
    ):
        assert paths(base, layer) == ["d", "d/new"]


def test_a_whiteout_is_not_about_its_own_layer() -> None:
    assert paths([file("a", "old")], [file("a", "new"), file(".wh.a")]) == ["a"]


def test_another_kind_takes_the_place() -> None:
    base = [folder("d"), folder("d/s"), file("d/s/x")]
    assert paths(base, [file("d")]) == ["d"]
    assert paths([file("d")], [file("d/a")]) == ["d", "d/a"]
    assert flatten([[file("d")], [file("d/a")]]).entries["d"].kind is Kind.DIRECTORY
    # A folder in the place of a link does not go where the link went.
    tree = flatten([[folder("r"), file("r/a"), link("l", "r")], [folder("l"), file("l/b")]])
    assert sorted(tree.entries) == ["l", "l/b", "r", "r/a"]


def test_a_folder_again_keeps_what_is_in_it() -> None:
    changed = Entry("d", Kind.DIRECTORY, 0o700, 5, 6)
    tree = flatten([[folder("d"), file("d/a")], [changed]])
    assert sorted(tree.entries) == ["d", "d/a"]
    assert tree.entries["d"].mode == 0o700


def test_a_hard_link_is_the_file_also_of_a_lower_layer_and_stays_without_it() -> None:
    tree = flatten([[file("a", "text", kept="k")], [hard("b", "a")], [file(".wh.a")]])
    assert sorted(tree.entries) == ["b"]
    assert (tree.entries["b"].kind, tree.entries["b"].sha256) == (Kind.FILE, "text")
    assert tree.entries["b"].kept == "k"
    assert paths([hard("b", "nowhere")]) == []


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("bin/sh", "usr/bin/dash"),
        ("usr/bin/dash", "usr/bin/dash"),
        ("bin/../etc", "usr/etc"),
        ("away/sh", "usr/bin/dash"),
        ("loop/x", "loop/x"),
        ("up/usr/bin", "usr/bin"),
        ("none/at/all", "none/at/all"),
    ],
)
def test_links_are_followed_inside_the_tree(path: str, real: str) -> None:
    tree = flatten(
        [
            [link("bin", "usr/bin"), folder("usr"), folder("usr/bin"), link("usr/bin/sh", "dash")],
            [file("usr/bin/dash"), link("away", "/bin"), link("loop", "loop")],
            [link("up", "../../..")],
        ]
    )
    assert tree.real(path) == real


@pytest.mark.parametrize(
    ("path", "clean"),
    [("./a/b/", "a/b"), ("/a", "a"), (".", ""), ("./", ""), ("../../a", "a"), ("a//b", "a/b")],
)
def test_normal(path: str, clean: str) -> None:
    assert normal(path) == clean


class Naive:
    """The same by scanning all paths each time."""

    def __init__(self) -> None:
        self.found: dict[str, Entry] = {}

    def apply(self, layer: Sequence[Entry]) -> None:
        for entry in layer:
            base, _, name = entry.path.rpartition("/")
            prefix = f"{base}/" if base else ""
            if name == ".wh..wh..opq":
                self.drop(lambda p, q=prefix: p.startswith(q))
            elif name.startswith(".wh."):
                gone = prefix + name[4:]
                self.drop(lambda p, g=gone: p == g or p.startswith(g + "/"))
        for entry in layer:
            if ".wh." in entry.path.rpartition("/")[2]:
                continue
            parts = entry.path.split("/")
            for count in range(1, len(parts)):
                parent = "/".join(parts[:count])
                if parent not in self.found or self.found[parent].kind is not Kind.DIRECTORY:
                    self.found[parent] = folder(parent)
            if entry.kind is not Kind.DIRECTORY:
                self.drop(lambda p, e=entry.path: p.startswith(e + "/"))
            self.found[entry.path] = entry

    def drop(self, gone) -> None:  # type: ignore[no-untyped-def]
        self.found = {path: one for path, one in self.found.items() if not gone(path)}


names = st.sampled_from(["a", "b", ".wh.a", ".wh.b", ".wh..wh..opq"])
parents = st.lists(st.sampled_from("ab"), max_size=2)
entries = st.builds(
    lambda up, name, kind, text: Entry(
        "/".join([*up, name]),
        Kind.FILE if name.startswith(".wh.") else kind,
        0o755,
        0,
        0,
        sha256=text if kind is Kind.FILE else "",
    ),
    parents,
    names,
    st.sampled_from([Kind.FILE, Kind.DIRECTORY]),
    st.sampled_from("12"),
)


@given(st.lists(st.lists(entries, max_size=6), max_size=4))
def test_as_a_naive_one_does_it(layers: list[list[Entry]]) -> None:
    tree, naive = Tree(), Naive()
    for layer in layers:
        tree.apply(layer)
        naive.apply(layer)
        assert dict(tree.entries) == naive.found
    for path in tree.entries:
        above, _, name = path.rpartition("/")
        assert name in tree.names(above)
