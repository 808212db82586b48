"""Text from hosts, made safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.plaintext import harmless, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web1: staged", "web1: staged"),
        ("a\tb\r\n  c ", "a b c"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07x\x1b]52;c;aGk=\x1b\\y", "xy"),
        ("\x1b[2J\x1b[Hgone\x07", "gone�"),
        ("\x9b2J", "�2J"),
        ("file\u202egnp.exe\u200b", "file�gnp.exe�"),
        ("Grüße an 東京", "Grüße an 東京"),
        ("[bold]not markup[/]", "[bold]not markup[/]"),
        ("\ud800", "�"),
    ],
)
def test_nothing_in_it_is_obeyed(text: str, shown: str) -> None:
    assert one_line(text) == shown


@given(st.text(st.characters(codec=None)))
def test_it_is_printable_whatever_it_was(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert one_line(shown) == shown


@given(st.text(), st.integers(1, 30))
def test_it_is_cut(text: str, most: int) -> None:
    shown = one_line(text, most)
    assert len(shown) <= most
    if len(one_line(text)) <= most and len(text) <= 8 * most:
        assert shown == one_line(text)


@given(st.text(st.characters(codec=None)))
def test_text_of_many_lines_keeps_them_and_nothing_in_it_is_obeyed(text: str) -> None:
    shown = harmless(text)
    shown.encode()
    assert not any(one in shown for one in ("\x1b", "\x07", "\r", "\x9b", "\u202e"))
    assert harmless(shown) == shown
    plain = "a\tb\n  c: Grüße\xa0an 東京 [bold]\n"
    assert harmless(plain) == plain
    assert harmless("\x1b[31ma\r\nb\rc\x1b]0;t\x07") == "a\nb\N{REPLACEMENT CHARACTER}c"
