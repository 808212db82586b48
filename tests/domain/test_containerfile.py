"""The parser of Containerfiles: by examples, against BuildKit's own parser, and on anything."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bootcfleet.domain.containerfile import KEYWORDS, parse
from bootcfleet.domain.containerfile_words import expand, split_words, unquote
from tests.shippedtemplates import render, variable_sets

dockerfile = pytest.importorskip("dockerfile", reason="has wheels for x86_64 alone")


def test_lines_flags_and_continuations() -> None:
    text = (
        "FROM a.example/b:1\n"
        "\n"
        "RUN --mount=type=secret,id=x,target=/run/x \\\n"
        "    --network=none \\\n"
        "    # why\n"
        "    one && \\  \n"
        "\n"
        "    two\n"
        "COPY --chmod=0600 a b /c/\n"
    )
    parsed = parse(text)
    run, copy = parsed.instructions[1:]
    assert (run.line, run.end, run.script_line) == (3, 8, 6)
    assert run.script.split("\n") == ["one && \\", "\\", "    two"]
    assert run.text == "one &&     two"
    assert run.flag("network") == "none"
    assert run.mounts() == ({"type": "secret", "id": "x", "target": "/run/x"},)
    assert copy.words == ("a", "b", "/c/")
    assert copy.flag("chmod") == "0600"
    assert copy.flag("from") is None
    assert parsed.comments == {5: "# why"}
    assert parsed.problems == ()


def test_heredocs() -> None:
    text = "FROM a:1\nRUN <<A cat && cat 3<<-'B'\nin a\nA\n\tin b\n\tB\nCMD [\"/sbin/init\"]\n"
    _, run, cmd = parse(text).instructions
    assert [(one.name, one.text, one.line) for one in run.heredocs] == [
        ("A", "in a\n", 3),
        ("B", "in b\n", 5),
    ]
    assert (run.line, run.end, cmd.line) == (2, 6, 7)
    assert cmd.exec_form == ("/sbin/init",)


def test_stages_and_what_the_image_is_made_of() -> None:
    text = (
        "ARG V=1\nFROM a:$V AS one\nRUN a\nFROM one AS two\nRUN b\nFROM c:1 AS other\nRUN c\n"
        "FROM Two\nRUN d\n"
    )
    parsed = parse(text)
    assert [(stage.base, stage.alias) for stage in parsed.stages] == [
        ("a:$V", "one"), ("one", "two"), ("c:1", "other"), ("Two", None),
    ]  # fmt: skip
    assert [stage.index for stage in parsed.lineage()] == [0, 1, 3]
    assert parsed.stage("2") == parsed.stages[2]
    assert parsed.stage("other", before=2) is None
    assert parsed.arguments({}) == {"V": "1"}
    assert parsed.arguments({"V": "2", "W": "3"}) == {"V": "2"}


def test_another_escape_character() -> None:
    parsed = parse("# escape=`\nFROM a:1\nRUN one `\n    C:\\\nRUN two\n")
    assert [one.text for one in parsed.instructions] == ["a:1", "one     C:\\", "two"]
    assert parsed.directives == {"escape": "`"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "there is no FROM"),
        ("FROM a:1\nNOPE x\n", 2, "NOPE is not an instruction"),
        ("RUN x\nFROM a:1\n", 1, "RUN stands before any FROM"),
        ("FROM a b\n", 1, "FROM takes IMAGE or IMAGE AS NAME"),
        ("FROM a:1\nRUN\n", 2, "RUN has no arguments"),
        ("FROM a:1\nRUN cat <<E\nx\n", 2, "the heredoc E has no end"),
        ("# escape=x\nFROM a:1\n", 1, "the escape character cannot be 'x'"),
    ],
)
def test_problems(text: str, line: int, message: str) -> None:
    assert [(one.line, one.message) for one in parse(text).problems] == [(line, message)]


def test_pairs() -> None:
    text = "FROM a:1\nLABEL a=\"b \\\"c\\\" \\$d\" 'e'='f g' \\\n  h=i\\ j\nENV k l m\nARG n=o p\n"
    _, label, env, arg = parse(text).instructions
    assert label.pairs() == (("a", 'b "c" $d'), ("e", "f g"), ("h", "i j"))
    assert env.pairs() == (("k", "l m"),)
    assert arg.pairs() == (("n", "o"), ("p", ""))


def test_expand() -> None:
    values = {"A": "1", "E": ""}
    text = "$A ${A} $B ${B:-b} ${E:-e} ${E-e} ${A:+x} ${B:+x} \\$A"
    assert expand(text, values) == "1 1 $B b e  x  \\$A"


def _no_tabs(text: str) -> str:
    """BuildKit takes the tabs of ``<<-`` away later than its parser."""
    return "\n".join(line.lstrip("\t") for line in text.split("\n"))


def both(text: str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """The instructions as we and BuildKit read them: keyword, lines, flags, heredocs, JSON."""
    ours = [
        (
            one.keyword,
            one.line,
            one.end if not one.heredocs else None,
            [f"--{f.name}" for f in one.flags],
            [(h.name, _no_tabs(h.text)) for h in one.heredocs],
            one.exec_form,
        )
        for one in parse(text).instructions
    ]
    theirs = [
        (
            one.cmd.upper(),
            one.start_line,
            one.end_line if not one.heredocs else None,
            [flag.partition("=")[0] for flag in one.flags],
            [(h.name, _no_tabs(h.content)) for h in one.heredocs],
            tuple(one.value) if one.json else None,
        )
        for one in dockerfile.parse_string(text)
    ]
    return ours, theirs


@pytest.mark.parametrize(("name", "label", "variables"), variable_sets())
def test_agrees_with_buildkit_on_the_shipped_templates(
    name: str, label: str, variables: dict[str, object]
) -> None:
    text = render(name, variables).containerfile
    ours, theirs = both(text)
    assert ours == theirs
    for one, other in zip(parse(text).instructions, dockerfile.parse_string(text), strict=True):
        if one.keyword == "RUN":
            assert one.text == other.value[0]


_WORD = st.sampled_from(["a", "b=c", '"d e"', "'f g'", "$X", "&&", "x\\ y", "#h", "--flag=1"])
_GAP = st.sampled_from([" ", "  ", " \\\n", " \\\n   ", " \\ \n# note\n ", "\\\n\n "])
_LINE = st.one_of(
    st.builds(
        lambda keyword, words, gaps: keyword + "".join(
            gap + word for gap, word in zip(gaps, words, strict=False)
        ),
        st.sampled_from(["RUN", "run", "COPY", "LABEL a=b", "EXPOSE 1", "RUN --network=none x"]),
        st.lists(_WORD, min_size=2, max_size=4),
        st.lists(_GAP, min_size=4, max_size=4),
    ),
    st.sampled_from(
        ["", "# comment", "RUN cat <<E >x\nin\n\n# in\nE", "COPY <<'E' /x\nRUN no\nE",
         "CMD [\"a\", \"b\"]", "RUN cat <<-E\n\tx\n\tE", "FROM b:1 AS x", "RUN echo '<<E'"]
    ),
)  # fmt: skip


@given(st.lists(_LINE, max_size=8))
@example(["RUN a \\\n# c\n\\\n b"])
@example(["RUN\\\n\n #h \\\na"])
def test_agrees_with_buildkit(lines: list[str]) -> None:
    text = "\n".join(["FROM a:1", *lines, ""])
    try:
        theirs = both(text)[1]
    except dockerfile.GoParseError:
        return
    # BuildKit's parser leaves it to a later step whether an instruction exists.
    known = [one for one in theirs if one[0] in KEYWORDS]
    assert both(text)[0] == known


@given(st.text(alphabet=st.sampled_from("FROMRUNA a=\\\n\t#`<E-'\"[]{}$&|;\r"), max_size=80))
def test_anything_is_parsed_and_every_line_is_in_the_file(text: str) -> None:
    parsed = parse(text)
    count = text.count("\n") + 1
    for one in parsed.instructions:
        assert 1 <= one.line <= one.script_line <= one.end <= count
        assert one.words is not None
    for problem in parsed.problems:
        assert 1 <= problem.line <= count


@given(st.text(max_size=40))
def test_words_hold_everything_but_white_space(text: str) -> None:
    assert "".join("".join(split_words(text)).split()) == "".join(text.split())
    assert unquote("".join(f"\\{char}" for char in "a b")) == "a b"
