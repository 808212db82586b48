"""Every rule of `kickstart lint` against its examples in tests/data/kickstart/rules.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.kickstartfile import parse_kickstart
from bootcfleet.domain.kslint.engine import (
    KICKSTART_RULES,
    OUTDATED,
    SYNTAX,
    every_kickstart_rule,
    kickstart_table,
    lint_kickstart,
)
from bootcfleet.domain.kslint.model import KickstartSubject
from bootcfleet.domain.lint.engine import LintReport
from bootcfleet.domain.release import Release
from bootcfleet.drivers.pykickstart import check_syntax
from tests.shippedkickstarts import ALL, render_case

ROOT = Path(__file__).parent.parent
EXAMPLES: dict[str, dict[str, list[dict[str, Any]]]] = yaml.safe_load(
    (ROOT / "data/kickstart/rules.yaml").read_text()
)
GOOD = """\
# A kickstart without any finding.
text
lang C.UTF-8
keyboard us
timezone UTC --utc
network --device=link --bootproto=dhcp --activate
rootpw --lock
ignoredisk --only-use=sda
clearpart --all --initlabel --disklabel=gpt --drives=sda
zerombr
reqpart --add-boot
part / --fstype=xfs --size=10240 --grow --ondisk=sda
bootloader --boot-drive=sda
ostreecontainer --url=registry.example.com/acme/web:prod --transport=registry
reboot --eject
"""


def text_of(example: dict[str, Any]) -> str:
    if "text" in example:
        return str(example["text"])
    text = GOOD
    for old, new in example.get("replace", {}).items():
        assert old in text, old
        text = text.replace(old, new)
    for start in example.get("drop", ()):
        assert re.search(rf"^{start}\b", text, re.MULTILINE), start
        text = re.sub(rf"^{start}\b.*\n", "", text, flags=re.MULTILINE)
    return text + (example["add"] + "\n" if "add" in example else "")


def lint_text(text: str, release: str = "rhel9") -> LintReport:
    chosen = Release.parse(release)
    syntax = check_syntax(text, chosen)
    assert syntax.note is None
    return lint_kickstart(KickstartSubject("a.ks", text, chosen), syntax=syntax.findings)


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(rule, example, id=f"{rule}-{number}")
        for rule, entry in EXAMPLES.items()
        for number, example in enumerate(entry[kind])
    ]


@pytest.mark.parametrize(("rule", "example"), cases("fails"))
def test_finds(rule: str, example: dict[str, Any]) -> None:
    text = text_of(example)
    report = lint_text(text, example.get("release", "rhel9"))
    found = [one.line for one in report.findings if one.rule == rule]
    assert found
    if "at" in example:
        lines = text.split("\n")
        last = text.rstrip("\n").count("\n") + 1
        assert [lines[n - 1] if n != last or "" not in example["at"] else "" for n in found] == (
            example["at"]
        )


@pytest.mark.parametrize(("rule", "example"), cases("passes"))
def test_finds_nothing(rule: str, example: dict[str, Any]) -> None:
    report = lint_text(text_of(example), example.get("release", "rhel9"))
    assert [one for one in report.findings if one.rule == rule] == []


def test_every_rule_has_examples_of_both_kinds() -> None:
    assert set(EXAMPLES) == {SYNTAX.id, OUTDATED.id, *KICKSTART_RULES}
    for rule in every_kickstart_rule():
        assert rule.reason
        assert rule.source
        assert rule.remedy
        assert not rule.title.endswith(".")


def test_the_good_kickstart_is_good_on_every_release() -> None:
    for release in ("rhel9", "rhel10", "centos-stream10", "fedora42", "fedora44", "rhel11"):
        assert lint_text(GOOD, release).findings == ()


@pytest.mark.parametrize(("name", "release", "case"), ALL)
def test_the_shipped_kickstarts_are_clean(name: str, release: str, case: str) -> None:
    report = lint_text(render_case(name, release, case).text, release)
    assert report.findings == ()
    assert report.suppressed == {}


def test_the_rules_are_documented() -> None:
    text = (ROOT.parent / "docs/kickstarts.md").read_text()
    assert text.partition("<!-- rules -->\n\n")[2] == kickstart_table()


def suppressed(text: str) -> tuple[set[str], set[str]]:
    report = lint_text(text)
    return {one.rule for one in report.findings}, {one.rule for one in report.suppressed}


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "# bootcfleet: ignore=BKS307 a test machine\nselinux --disabled\n",
        GOOD + "selinux --disabled  # bootcfleet: ignore=BKS307 a test machine\n",
        "# bootcfleet: ignore=BKS307 a test machine\n" + GOOD + "selinux --disabled\n",
        GOOD + "# bootcfleet: ignore=BKS404 it is there\n%post\ndnf install x\n%end\n",
        GOOD + "%post\n# bootcfleet: ignore=BKS404 it is there\ndnf install x\n%end\n",
        GOOD + "%post\ndnf install x # bootcfleet: ignore=BKS404 it is there\n%end\n",
        "# bootcfleet: ignore=BKS305 it asks\n" + GOOD.replace("reboot --eject\n", ""),
        GOOD + "# bootcfleet: ignore=BKS001 our own installer has it\nfrobnicate\n",
    ],
)
def test_a_suppression_covers_what_it_stands_at(text: str) -> None:
    left, gone = suppressed(text)
    assert left == set()
    assert len(gone) == 1


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("# bootcfleet: ignore=BKS307 x\ntext\nselinux --disabled\n", {"BKS307"}),
        ("selinux --disabled\n# bootcfleet: ignore=BKS307 x\ntext\n", {"BKS307", "BCF902"}),
        ("%post\n# bootcfleet: ignore=BKS404 x\ntrue\ndnf install x\n%end\n", {"BKS404", "BCF902"}),
        ("# bootcfleet: ignore=BKS307\nselinux --disabled\n", {"BCF901"}),
        ("# bootcfleet: ignore=BKS999 x\ntext\n", {"BCF903"}),
        ("# bootcfleet: ignore=BCF101 x\ntext\n", {"BCF903"}),
    ],
)
def test_a_suppression_covers_nothing_else(text: str, left: set[str]) -> None:
    found, _ = suppressed(GOOD + text)
    assert found - {"BCF902"} == left - {"BCF902"}
    assert "BCF902" in found or "BCF902" not in left


def test_nothing_is_fetched_or_read(tmp_path: Path) -> None:
    other = tmp_path / "other.ks"
    other.write_text("frobnicate\n")
    assert check_syntax(f"%include {other}\n%ksappend {other}\n", Release.parse("rhel9")) == (
        check_syntax("\n\n", Release.parse("rhel9"))
    )


def test_a_release_that_pykickstart_does_not_know() -> None:
    result = check_syntax(GOOD, Release.parse("fedora199"))
    assert result.findings == ()
    assert result.note is not None
    assert "does not know fedora199" in result.note


def test_without_pykickstart(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [one for one in sys.modules if one.startswith("pykickstart")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pykickstart", None)
    assert check_syntax(GOOD, Release.parse("rhel9")).note == (
        "pykickstart is not installed, so the syntax was not checked: "
        "pip install bootcfleet[kickstart]"
    )


def test_lines_and_sections() -> None:
    parsed = parse_kickstart(
        "text # quiet\n\n%include /a.ks\n%pre --log=x\n%packages\n%end # done\npart / 'a b'\n"
    )
    assert [(one.name, one.words, one.line) for one in parsed.commands] == [
        ("text", (), 1),
        ("part", ("/", "a b"), 7),
    ]
    (section,) = parsed.sections
    assert (section.name, section.body, section.end) == ("%pre", ("%packages",), 6)
    assert [one.line for one in parsed.includes] == [3]


_LINES = st.sampled_from(
    [line for entry in EXAMPLES.values() for kind in ("fails", "passes")
     for example in entry[kind] for line in text_of(example).split("\n")]
)  # fmt: skip


@given(
    st.lists(st.one_of(_LINES, st.text(max_size=20)), max_size=15),
    st.sampled_from(["rhel9", "rhel10", "fedora44"]),
)
def test_no_rule_fails_on_any_mix_of_lines(lines: list[str], release: str) -> None:
    """Each finding points at a line that is there."""
    text = "\n".join(lines)
    subject = KickstartSubject("a.ks", text, Release.parse(release))
    for one in lint_kickstart(subject).findings:
        assert 1 <= one.line <= text.count("\n") + 1
        assert one.rule in KICKSTART_RULES or one.rule.startswith("BCF9")


@given(st.lists(_LINES, max_size=8))
def test_what_pykickstart_says_is_at_a_line_that_is_there(lines: list[str]) -> None:
    text = "\n".join(lines)
    for _, at in check_syntax(text, Release.parse("rhel10")).findings:
        assert 1 <= at.line <= text.count("\n") + 1
        assert at.message
