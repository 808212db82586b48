"""The commands of shell scripts: words, lines, pipes, redirects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.shell import Redirect, parse_script


def names(text: str) -> list[tuple[str, int]]:
    return [(command.name, command.line) for command in parse_script(text).commands]


def test_commands_and_their_lines() -> None:
    text = (
        "set -e; A=b /usr/bin/dnf -y install \\\n"
        '  "kernel-$kver" \'x y\' p"q"r \\\n'
        '&& for q in /usr/*; do test -e "$q" || continue; done\n'
        "if a; then $(b); fi\n"
    )
    assert names(text) == [
        ("set", 0), ("dnf", 0), ("test", 2), ("continue", 2), ("a", 3), ("$(b)", 3), ("b", 3),
    ]  # fmt: skip
    dnf = parse_script(text).commands[1]
    assert dnf.words == ("/usr/bin/dnf", "-y", "install", "kernel-$kver", "x y", "pqr")
    assert dnf.assignments == ("A=b",)
    assert dnf.operands == ("install", "kernel-$kver", "x y", "pqr")


def test_braces() -> None:
    (command,) = parse_script("rm /a/{b,c}/* \"{d,e}\" ${f} {} x{1,2}{3,4} '{g,h}'").commands
    assert command.words == (
        "rm", "/a/b/*", "/a/c/*", "{d,e}", "${f}", "{}", "x13", "x14", "x23", "x24", "{g,h}",
    )  # fmt: skip


def test_characters_beyond_ascii() -> None:
    """The grammar alone crashes on some of them, now and then."""
    (command,) = parse_script("echo grüße '→ {\U000a51dc' > /Straße").commands
    assert command.words == ("echo", "grüße", "→ {\U000a51dc")
    assert command.redirects == (Redirect(">", "/Straße"),)
    crash = "\x0b]\U0009d92444\x02{\U000d0ef9ÙW%\U0001bf76\x00\U000a5d44!W`C"
    for _ in range(50):
        parse_script(crash)


def test_long_chains() -> None:
    assert len(parse_script("a && " * 3000 + "b").commands) == 3001
    assert len(parse_script("(" * 2000 + "a" + ")" * 2000).commands) <= 1
    assert parse_script("a | " * 500 + "b").commands[-1].pipe == 500
    (command,) = parse_script("a " + "{b,c}" * 40).commands
    assert command.words == ("a", "{b,c}" * 40)


def test_options() -> None:
    (command,) = parse_script("useradd -rm -u 5 -g7 --shell=/bin/sh --home /x name").commands
    assert command.has("-m")
    assert command.has("--shell")
    assert not command.has("-x", "--sh")
    assert command.value("-u", "--uid") == "5"
    assert command.value("-g") == "7"
    assert command.value("--shell") == "/bin/sh"
    assert command.value("--home") == "/x"
    assert command.value("-z") is None


def test_pipes_and_redirects() -> None:
    commands = parse_script(
        "a 2>&1 | b | c >> /x; (d; e) > /y; > /z; f <<E > /w\ntext\nE\n"
    ).commands
    assert [(c.name, c.pipe, c.pipe_length) for c in commands[:3]] == [
        ("a", 0, 3), ("b", 1, 3), ("c", 2, 3),
    ]  # fmt: skip
    assert commands[2].redirects == (Redirect(">>", "/x"),)
    assert (commands[3].words, commands[3].redirects) == ((), (Redirect(">", "/y"),))
    assert commands[6].redirects == (Redirect(">", "/z"),)
    assert (commands[7].heredoc, commands[7].redirects) == ("text\n", (Redirect(">", "/w"),))


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("a || true", True),
        ("a || :", True),
        ("b && a || true", True),
        ("a || exit 1", False),
        ("a && true", False),
        ("true || a", False),
    ],
)
def test_thrown_away_failures(text: str, ignored: bool) -> None:
    (a,) = [command for command in parse_script(text).commands if command.name == "a"]
    assert a.ignored is ignored


def test_what_cannot_be_read_is_said() -> None:
    assert parse_script("a; b").complete
    assert not parse_script("if a; then").complete


@given(st.text(max_size=60))
def test_anything_is_read(text: str) -> None:
    for command in parse_script(text).commands:
        assert 0 <= command.line <= text.count("\n") + text.count("\r") + 1
        assert command.pipe < command.pipe_length
