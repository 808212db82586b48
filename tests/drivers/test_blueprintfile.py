"""Blueprints are read with the line of every value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.tomltext import toml_text
from bootcfleet.drivers.blueprintfile import load, parse_json, parse_toml
from bootcfleet.errors import ConfigError

TOML = """\
# A comment.
name = "web"
[customizations]
kernel.append = "quiet"
[[customizations.user]]
name = "admin"
groups = [
  "wheel",  # may sudo
  "adm",
]
[[customizations.user]]
"key" = "k"
[customizations.disk]
partitions = [{ type = "plain", minsize = 1 },
  { logical_volumes = [{ name = "a" }] }]
[[customizations.tree.branches]]
[[customizations.tree.branches.leaves]]
a.b = 1
[[customizations.tree.branches]]
[[customizations.tree.branches.leaves]]
[[customizations.tree.branches.leaves]]
"x.y" = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("name",), 2),
        (("customizations", "kernel", "append"), 4),
        (("customizations", "user", 0), 5),
        (("customizations", "user", 0, "name"), 6),
        (("customizations", "user", 0, "groups"), 7),
        (("customizations", "user", 0, "groups", 1), 9),
        (("customizations", "user", 1, "key"), 12),
        (("customizations", "disk", "partitions", 0, "minsize"), 14),
        (("customizations", "disk", "partitions", 1, "logical_volumes", 0, "name"), 15),
        (("customizations", "tree", "branches", 0, "leaves", 0, "a", "b"), 18),
        (("customizations", "tree", "branches", 1, "leaves", 1, "x.y"), 22),
    ],
)
def test_lines_of_toml(path: tuple[str | int, ...], line: int) -> None:
    document = parse_toml(TOML, "config.toml")
    assert document.lines[path] == line
    value = document.data
    for part in path:
        value = value[part]


def paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield at
    if isinstance(value, dict):
        for key, one in value.items():
            yield from paths(one, (*at, key))
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from paths(one, (*at, number))


KEY = st.one_of(
    st.text("abz-_1", min_size=1, max_size=4),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=4),
)
VALUE = st.recursive(
    st.one_of(st.integers(-9, 9), st.booleans(), st.text("a\n\"'\\#[]={} é", max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEY, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(KEY, VALUE, max_size=4), st.sampled_from([tomli_w.dumps, toml_text]))
@settings(max_examples=300, deadline=None)
def test_every_value_has_a_line(data: dict[str, Any], write: Callable[..., str]) -> None:
    text = write(data)
    document = parse_toml(text, "f")
    assert document.data == data
    assert set(document.lines) == set(paths(data))
    rows = text.split("\n")
    for path, line in document.lines.items():
        if path and isinstance(path[-1], str) and path[-1].isalpha() and path[-1].isascii():
            assert path[-1] in rows[line - 1]


@given(st.dictionaries(KEY, VALUE, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_value_of_json_has_a_line(data: dict[str, Any]) -> None:
    document = parse_json(json.dumps(data, indent=2), "f")
    assert document.data == data
    assert set(document.lines) == set(paths(data))


def test_lines_of_json_with_tabs() -> None:
    document = parse_json('{\n\t"customizations": {\n\t\t"user": []\n\t}\n}', "config.json")
    assert document.lines[("customizations", "user")] == 3


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        (
            "c.toml",
            "[a\n",
            "is not valid TOML: Expected ']' at the end of a table declaration",
            None,
        ),
        (
            "c.toml",
            '{"customizations": {}}',
            "is not valid TOML: Invalid statement",
            "it looks like JSON: call it config.json",
        ),
        (
            "c.json",
            "[customizations]\n",
            "is not valid JSON: Expecting value",
            None,
        ),
        (
            "c.json",
            'name = "x"\n',
            "is not valid JSON: Expecting value",
            "it looks like TOML: call it config.toml",
        ),
        ("c.json", "{} {}", "is not valid JSON: something stands after its end", None),
        ("c.json", "[]", "is not a JSON object", None),
        ("c.json", '{"a": 1, "a": 2}', "the key 'a' stands here twice", None),
    ],
)
def test_what_cannot_be_decoded(
    tmp_path: Path, name: str, text: str, message: str, hint: str | None
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name)
    assert caught.value.message == f"{tmp_path / name}:1: {message}"
    assert caught.value.hint == hint


def test_another_ending(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"is neither \.toml nor \.json"):
        load(tmp_path / "c.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "\\ud800"}', "c.json: is not valid JSON: half of a surrogate pair"),
        ('{"a": NaN}', "c.json: is not valid JSON: NaN is no number of JSON"),
        ('{"a": 1,\n "b": x}', "c.json:2: is not valid JSON: Expecting value"),
    ],
)
def test_json_that_only_python_would_take(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_json(text, "c.json")
    assert caught.value.message == message
