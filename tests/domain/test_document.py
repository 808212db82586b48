"""Documents: where a value stands, what was probably meant, and what a model complains about."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bootcfleet.domain.document import Document, Path, did_you_mean, dotted, validate
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError, ExitCode


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Leaf(Strict):
    colour: str = "red"
    from_: str | None = Field(default=None, alias="from")
    image: str | None = None

    @field_validator("image")
    @classmethod
    def _image(cls, value: str | None) -> str | None:
        if value is not None:
            ImageRef.parse(value)
        return value


class Branch(Strict):
    leaves: dict[str, Leaf | None] = {}
    either: list[Leaf] | dict[str, Leaf] | int = 0


class Tree(Strict):
    version: int
    branch: Branch = Branch()


def read(text: str, at: Path = ()) -> Tree:
    return validate(yamlfile.parse(text, "f.yaml"), Tree, at=at)


def test_a_right_document() -> None:
    tree = read("version: 1\nbranch:\n  leaves: {a: {colour: blue}, b: }\n")
    assert tree.branch.leaves == {"a": Leaf(colour="blue"), "b": None}
    assert read("x: {version: 2}", at=("x",)).version == 2


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("versoin: 1\nversion: 1", "1: versoin: unknown key", "did you mean 'version'?"),
        ("branch: {}", "1: version: is required and is not there", None),
        ("version: x", "1: version: Input should be a valid integer", None),
        (
            "version: 1\nbranch:\n  leaves:\n    a:\n      color: red",
            "5: branch.leaves.a.color: unknown key",
            "did you mean 'colour'?",
        ),
        (
            "version: 1\nbranch:\n  leaves:\n    a: {form: b}",
            "4: branch.leaves.a.form: unknown key",
            "did you mean 'from'?",
        ),
        (
            "version: 1\nbranch: {leaves: {a: {image: soe}}}",
            "2: branch.leaves.a.image: 'soe' does not name its registry",
            "write it in full",
        ),
        ("version: 1\nbranch:\n  leaves: [a]", "3: branch.leaves: Input should be a valid", None),
        ("version: 1\nbranch:\n  leaves:\n    1: {}", "4: branch.leaves[1]: is a number", "'1'"),
        ("version: 1\nbranch:\n  leaves: {a: 1}", "3: branch.leaves.a: Input should be", None),
        # A union's branches are no keys of the file.
        ("version: 1\nbranch:\n  either:\n  - {colour: [1]}", "4: branch.either[0].colour: ", None),
        ("[]", "1: Input should be a valid dictionary", None),
    ],
)
def test_a_wrong_document(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message.startswith(f"f.yaml:{message}")
    assert hint is None or hint in (caught.value.hint or "")
    assert caught.value.exit_code is ExitCode.USAGE


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read("version: x\nbranch: 1\nother: 2")
    assert caught.value.message.startswith("f.yaml:1: version: ")
    assert [detail.split(":")[0:4] for detail in caught.value.details] == [
        ["also", " f.yaml", "2", " branch"],
        ["also", " f.yaml", "3", " other"],
    ]


def test_a_part_of_a_document_is_named_from_the_top() -> None:
    with pytest.raises(ConfigError) as caught:
        read("x:\n  y:\n    version: 1\n    brunch: 1", at=("x", "y"))
    assert caught.value.message == "f.yaml:4: x.y.brunch: unknown key"
    assert caught.value.hint == "did you mean 'branch'?"


def test_a_document_without_lines_names_file_and_field() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Document("f.json", {"version": "x"}), Tree)
    assert caught.value.message.startswith("f.json: version: ")
    assert (caught.value.file, caught.value.line) == ("f.json", None)


def test_the_nearest_line() -> None:
    document = yamlfile.parse("a:\n  b:\n  - 1\n  - c: 2\n", "f")
    lines: list[tuple[Path, int]] = [
        ((), 1), (("a",), 1), (("a", "b"), 2), (("a", "b", 0), 3), (("a", "b", 1, "c"), 4),
        (("a", "b", 1, "none", 7), 4), (("z",), 1),
    ]  # fmt: skip
    for path, line in lines:
        assert document.line(path) == line
    error = document.error(("a", "b", 1), "is wrong", hint="h", details=["d"])
    assert (error.message, error.hint, error.details) == ("f:4: a.b[1]: is wrong", "h", ("d",))


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("a",), "a"), (("a", 2, "b"), "a[2].b"), ((0, "a"), "[0].a")],
)
def test_paths_for_people(path: Path, text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("wbe", ["web", "db"], "did you mean 'web'?"),
        ("x", ["b", "a"], "known: a, b"),
        ("x", [], None),
        ("x", [f"name{n}" for n in range(13)], None),
        ("", ["a"], "known: a"),
    ],
)
def test_what_was_probably_meant(word: str, known: list[str], hint: str | None) -> None:
    assert did_you_mean(word, known) == hint


@pytest.mark.parametrize(
    "data", [None, 1, "x", [], [{}], {"version": {}}, {1: 2}, {"branch": None}]
)
def test_any_data_is_a_clear_error(data: Any) -> None:
    with pytest.raises(ConfigError, match=r"^f"):
        validate(Document("f", data, {(): 1}), Tree)
