"""Suppressions, order and counts of a lint; places of files; SARIF of what has no template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.lint.catalogue import RULES
from bootcfleet.domain.lint.engine import lint
from bootcfleet.domain.lint.model import CONTAINERFILE, Finding, RuleSet, Severity, Subject
from bootcfleet.domain.lint.report import LintReport
from bootcfleet.domain.lint.sarif import sarif
from bootcfleet.domain.template import ContextFile, RenderedImage
from tests.domain.test_lint_rules import EXAMPLES, subject

FROM = "FROM a.example/b@sha256:" + "ab" * 32 + "\n"


def report(text: str, files: dict[str, str] | None = None) -> LintReport:
    context = {path: ContextFile(data.encode()) for path, data in (files or {}).items()}
    return lint(Subject("image", RenderedImage(text, context)))


def rules(one: LintReport) -> set[str]:
    return {finding.rule for finding in one.findings}


def test_before_an_instruction_it_covers_that_one_alone() -> None:
    text = f"{FROM}# bootcfleet: ignore=BCF108 tried with podman run\nENV A=b\nENV C=d\n"
    found = report(text)
    assert [f.line for f in found.findings if f.rule == "BCF108"] == [4]
    ((finding, reason),) = found.suppressed.items()
    assert (finding.rule, finding.line, reason) == ("BCF108", 3, "tried with podman run")


def test_between_the_lines_of_an_instruction() -> None:
    comment = "# bootcfleet: ignore=BCF501,BCF502 a test machine"
    found = report(f"{FROM}RUN a \\\n{comment}\n && systemctl start b\n")
    assert "BCF501" not in rules(found)
    assert [f.message for f in found.findings if f.rule == "BCF902"] == [
        "ignore=BCF502 suppresses nothing here"
    ]


def test_before_copy_it_covers_what_is_copied() -> None:
    files = {"files/etc/hostname": "web1\n", "files/etc/a.conf": "password = hunter2\n"}
    text = f"{FROM}# bootcfleet: ignore=BCF454 known to everybody\nCOPY files/ /\n"
    found = report(text, files)
    assert "BCF454" not in rules(found)
    assert "BCF313" in rules(found)
    found = report(f"{FROM}# bootcfleet: ignore=BCF454 x\nCOPY files/etc/hostname /etc/\n", files)
    assert {"BCF454", "BCF902"} <= rules(found)


def test_at_the_top_it_covers_the_containerfile_and_no_file() -> None:
    files = {"files/etc/a.conf": "password = hunter2\n"}
    text = f"# bootcfleet: ignore=BCF108,BCF454 all of it\n{FROM}ENV A=b\nENV C=d\nCOPY files/ /\n"
    found = report(text, files)
    assert "BCF108" not in rules(found)
    assert {"BCF454", "BCF902"} <= rules(found)


@pytest.mark.parametrize(
    "comment",
    ["# {}", "; {}", "// {}", "<!-- {} -->", "password = hunter2 # {}", "-- {}", "/etc # {}"],
)
def test_in_a_file_it_covers_that_file(comment: str) -> None:
    line = comment.format("bootcfleet: ignore=BCF454 a test's own")
    files = {"files/etc/a.conf": f"x = y\npassword = hunter2\n{line}\n", "files/etc/b.conf": ""}
    found = report(f"{FROM}COPY files/ /\n", files)
    assert "BCF454" not in rules(found)
    assert set(found.suppressed.values()) == {"a test's own"}


def test_a_suppression_cannot_be_suppressed() -> None:
    found = report(f"# bootcfleet: ignore=BCF902 never\n{FROM}")
    assert "BCF903" in rules(found)


def test_order_and_counts() -> None:
    files = {"files/etc/a.conf": "password = hunter2\n", "files/etc/sudoers.d/a.b": "x\n"}
    found = report(f"{FROM}COPY files/ /\nRUN dnf update\nENV A=b\n", files)
    places = [(one.file, one.line) for one in found.findings]
    assert [file for file, _ in places if file != CONTAINERFILE] == [
        "files/etc/a.conf", "files/etc/sudoers.d/a.b",
    ]  # fmt: skip
    own = [line for file, line in places if file == CONTAINERFILE]
    assert own == sorted(own)
    assert places[: len(own)] == [(CONTAINERFILE, line) for line in own]
    assert sum(found.count(one) for one in Severity) == len(found.findings)
    assert not found.ok()
    quiet = LintReport("a", (Finding("X", Severity.WARNING, "", CONTAINERFILE, 1),))
    assert quiet.ok()
    assert not quiet.ok(strict=True)


def test_an_id_is_given_once() -> None:
    rules = RuleSet()
    words = {"reason": "r", "source": "s", "remedy": "x"}
    rules.add("BCF1", Severity.INFO, "a", **words)(lambda _: ())
    with pytest.raises(ValueError, match="two rules have the id BCF1"):
        rules.add("BCF1", Severity.INFO, "b", **words)(lambda _: ())


def test_sarif_without_a_template_names_the_rendered_file() -> None:
    found = report(f"{FROM}RUN dnf update\n")
    (run,) = sarif([found], "1", lambda *_: None)["runs"]
    uris = {
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"]
    }
    assert uris == {"image/Containerfile"}


_PARTS = st.sampled_from(
    [line for entry in EXAMPLES.values() for kind in ("fails", "passes")
     for example in entry[kind] for line in subject(example).rendered.containerfile.split("\n")]
)  # fmt: skip


@given(st.lists(_PARTS, max_size=12), st.sampled_from(["", "\\", "&&", "<<E", '"', "'"]))
def test_no_rule_fails_on_any_mix_of_lines(lines: list[str], end: str) -> None:
    """Each finding points at a line that is there."""
    text = "\n".join(lines) + end
    files = {"files/etc/a": ContextFile(text.encode("utf-8", "surrogateescape"))}
    found = lint(Subject("image", RenderedImage(text, files), {"A": "b"}))
    for one in found.findings:
        assert 1 <= one.line <= text.count("\n") + 1
        assert one.rule in RULES or one.rule.startswith("BCF9")


@pytest.mark.parametrize("folder", [
    "usr/lib/tmpfiles.d/a.conf", "usr/lib/sysusers.d/a.conf", "usr/lib/bootc/kargs.d/a.toml",
    "usr/lib/bootc/install/a.toml", "etc/containers/registries.conf", "etc/containers/policy.json",
    "etc/firewalld/zones/a.xml", "usr/share/containers/systemd/a.container",
    "etc/yum.repos.d/a.repo", "usr/lib/systemd/system/a.service", "etc/ostree/auth.json",
])  # fmt: skip
@given(data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_no_rule_fails_on_any_file(folder: str, data: bytes) -> None:
    files = {f"files/{folder}": ContextFile(data)}
    for one in lint(Subject("image", RenderedImage(f"{FROM}COPY files/ /\n", files))).findings:
        assert one.line >= 1
