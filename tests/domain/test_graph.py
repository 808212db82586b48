"""The image graph: order, subsets, mistakes, drawings."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.document import Document
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.graph_format import GraphFormat, draw
from bootcfleet.errors import ConfigError, UsageError

RHEL = "registry.redhat.io/rhel10/rhel-bootc:10.0"


def graph(parents: dict[str, str | None], base: str = RHEL) -> ImageGraph:
    """A graph of images by name → parent (None: on the base)."""
    images = {
        name: SimpleNamespace(from_=parent, base=None if parent else base)
        for name, parent in parents.items()
    }
    lines = {("images", name, "from"): number for number, name in enumerate(parents, 10)}
    return ImageGraph.of(
        SimpleNamespace(images=images),  # type: ignore[arg-type]
        Document("bootcfleet.yaml", None, lines),
    )


ACME = {"web": "soe", "soe": None, "shop": "web", "database": "soe", "rescue": None}


def test_parents_come_first_and_otherwise_the_file_decides() -> None:
    assert graph(ACME).names == ("soe", "web", "shop", "database", "rescue")


def test_relations() -> None:
    found = graph(ACME)
    assert found.children()["soe"] == ["web", "database"]
    assert found.descendants("soe") == ("web", "shop", "database")
    assert found.descendants("rescue") == ()
    assert found.ancestors("shop") == ("web", "soe")


@pytest.mark.parametrize(
    ("parents", "message", "hint"),
    [
        (
            {"a": "b", "b": "c", "c": "a"},
            "bootcfleet.yaml:10: images.a.from: these images are built from each other: "
            "a → b → c → a",
            "give one of them a base: instead of from:",
        ),
        (
            {"x": "a", "a": "b", "b": "a", "ok": None},
            "bootcfleet.yaml:11: images.a.from: these images are built from each other: a → b → a",
            "give one of them a base: instead of from:",
        ),
        (
            {"a": "a"},
            "bootcfleet.yaml:10: images.a.from: the image 'a' is built from itself",
            "give one of them a base: instead of from:",
        ),
        (
            {"soe": None, "web": "so"},
            "bootcfleet.yaml:11: images.web.from: the project has no image 'so'",
            "did you mean 'soe'?",
        ),
        (
            {"web": "wbe"},
            "bootcfleet.yaml:10: images.web.from: the project has no image 'wbe'",
            None,
        ),
    ],
)
def test_mistakes(parents: dict[str, str | None], message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        graph(parents)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ["soe", "web", "shop", "database", "rescue"]),
        (["shop"], ["soe", "web", "shop"]),
        (["database", "rescue"], ["soe", "database", "rescue"]),
        (["soe", "soe"], ["soe"]),
    ],
)
def test_subset_has_what_the_images_stand_on(names: list[str], expected: list[str]) -> None:
    assert list(graph(ACME).subset(names).names) == expected


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        graph(ACME).subset(["databse"])
    assert caught.value.message == "the project has no image 'databse'"
    assert caught.value.hint == "did you mean 'database'?"


@st.composite
def forests(draw_: st.DrawFn) -> dict[str, str | None]:
    """Any forest, its images in any order."""
    size = draw_(st.integers(1, 25))
    parents = {
        f"i{n}": f"i{p}" if (p := draw_(st.integers(-1, n - 1))) >= 0 else None for n in range(size)
    }
    return {name: parents[name] for name in draw_(st.permutations(sorted(parents)))}


@given(forests(), st.data())
def test_any_forest(parents: dict[str, str | None], data: st.DataObject) -> None:
    found = graph(parents)
    place = {name: number for number, name in enumerate(found.names)}
    assert place.keys() == parents.keys()
    assert dict(found.parents) == parents
    assert all(place[p] < place[n] for n, p in parents.items() if p)
    # Stable: of two images that do not depend on each other's ancestors, the first one stays first.
    roots = [name for name in parents if parents[name] is None]
    for name in parents:
        assert set(found.descendants(name)) == {
            other for other in parents if name in found.ancestors(other)
        }
    asked = data.draw(st.lists(st.sampled_from(sorted(parents))))
    chosen = found.subset(asked)
    for name in asked:
        assert {name, *found.ancestors(name)} <= set(chosen.names)
    assert sum(
        line.startswith(("├", "└")) for line in draw(found, GraphFormat.TREE).split("\n")
    ) == (len(roots))


@given(forests(), st.data())
def test_any_cycle_is_found_and_named(parents: dict[str, str | None], data: st.DataObject) -> None:
    found = graph(parents)
    last = data.draw(st.sampled_from(found.names))
    first = data.draw(st.sampled_from([last, *found.ancestors(last)]))
    with pytest.raises(ConfigError) as caught:
        graph({**parents, first: last})
    circle = {last, *found.ancestors(last)} - set(found.ancestors(first))
    if len(circle) == 1:
        assert f"the image {first!r} is built from itself" in caught.value.message
    else:
        named = caught.value.message.partition("each other: ")[2].split(" → ")
        assert set(named) == circle
        assert named[0] == named[-1]


def test_a_deep_chain_and_a_wide_family_are_no_problem() -> None:
    chain = {f"i{n}": f"i{n + 1}" if n < 4999 else None for n in range(5000)}
    assert graph(chain).names[0] == "i4999"
    assert len(draw(graph(chain), GraphFormat.TREE).splitlines()) == 5001
    wide: dict[str, str | None] = {"root": None, **{f"i{n}": "root" for n in range(5000)}}
    assert len(graph(wide).subset(["i7"]).names) == 2


def test_tree() -> None:
    assert draw(graph(ACME), GraphFormat.TREE).splitlines() == [
        RHEL,
        "├── soe",
        "│   ├── web",
        "│   │   └── shop",
        "│   └── database",
        "└── rescue",
    ]


def test_dot() -> None:
    assert draw(graph({"soe": None, "web": "soe"}, 'a"b'), GraphFormat.DOT).splitlines() == [
        "digraph images {",
        "  rankdir=LR;",
        "  node [shape=box];",
        '  "a\\"b" [shape=ellipse];',
        '  "soe";',
        '  "web";',
        '  "a\\"b" -> "soe";',
        '  "soe" -> "web";',
        "}",
    ]


def test_mermaid() -> None:
    assert draw(graph({"soe": None, "web": "soe"}), GraphFormat.MERMAID).splitlines() == [
        "flowchart LR",
        f'  b0(["{RHEL}"])',
        '  n0["soe"]',
        '  n1["web"]',
        "  b0 --> n0",
        "  n0 --> n1",
    ]


def test_json() -> None:
    assert json.loads(draw(graph({"soe": None, "web": "soe"}), GraphFormat.JSON)) == {
        "images": [
            {"name": "soe", "base": RHEL, "from": None, "children": ["web"]},
            {"name": "web", "base": None, "from": "soe", "children": []},
        ]
    }
