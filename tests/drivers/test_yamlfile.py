"""YAML with lines, and what is refused before it does harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
)


def test_every_value_knows_its_line() -> None:
    document = yamlfile.parse("a:\n  b: [1,\n      2]\nc: &x {d: 1}\ne:\n  <<: *x\n  f: 2\n", "f")
    assert document.data == {"a": {"b": [1, 2]}, "c": {"d": 1}, "e": {"d": 1, "f": 2}}
    assert document.line(("a", "b", 1)) == 3
    assert document.line(("e", "f")) == 7
    assert document.line(("a", "missing")) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "YAML bomb"),
        ("a: &x [*x]", "nested too deeply"),
        ("a: 1\nb: 2\na: 3", "f:3: the key 'a' stands here twice"),
        ("a: !!python/object/apply:os.system [id]", "is not valid YAML"),
        ("a: !custom x", "is not valid YAML"),
        ("a: [1", "is not valid YAML"),
        ("? [a]\n: b", "a key must be a plain word"),
        ("a: 1\n---\nb: 2", "is not valid YAML"),
        ("a: *nobody", "is not valid YAML"),
        ("<<: 1", "needs a mapping"),
        ("[" * 5000, "f"),
        ("a: \x00", "is not valid YAML"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yamlfile.parse(text, "f")
    assert words in caught.value.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        yamlfile.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a directory"):
        yamlfile.load(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xfcber\n")
    with pytest.raises(ConfigError, match=r"latin.yaml:2: is not UTF-8 \(byte 0xfc\)") as caught:
        yamlfile.load(latin)
    assert "iconv" in (caught.value.hint or "")


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "MAX_BYTES", 4)
    (tmp_path / "big.yaml").write_text("a: 123")
    with pytest.raises(ConfigError, match="is larger than"):
        yamlfile.load(tmp_path / "big.yaml")


def test_a_byte_order_mark_is_no_word(tmp_path: Path) -> None:
    (tmp_path / "windows.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    document = yamlfile.load(tmp_path / "windows.yaml")
    assert (document.data, document.line(("b",))) == ({"a": 1, "b": 2}, 2)


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert yamlfile.parse("# nothing\n", "f").data == {}


@given(st.text(max_size=60))
def test_any_text_is_data_or_a_clear_error(text: str) -> None:
    try:
        document = yamlfile.parse(text, "f")
    except ConfigError as error:
        document = None
        said = error.message
    assert document is not None or said.startswith("f")
