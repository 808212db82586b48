"""hadolint: its real output, a fake that prints the same, and what it may do wrong."""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.lint.model import Finding, Severity
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.hadolint import LEFT_OUT, Hadolint
from bootcfleet.errors import FleetError
from tests.shippedtemplates import render, variable_sets
from tests.tools import need

#: As hadolint 2.15.1 prints it.
OUTPUT = (
    '[{"code":"DL3020","column":1,"file":"-","level":"error","line":2,"message":"Use COPY instead '
    'of ADD for files and folders"},{"code":"DL3041","column":1,"file":"-","level":"warning",'
    '"line":3,"message":"Specify version with `dnf install -y <package>-<version>`."},{"code":'
    '"SC2016","column":1,"file":"-","level":"info","line":4,"message":"Expressions don\'t expand '
    'in single quotes, use double quotes for that."},{"code":"DL3042","column":1,"file":"-",'
    '"level":"style","line":5,"message":"two\\nlines"}]'
)


def fake(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Hadolint:
    program = folder / "bin/hadolint"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return Hadolint(LocalExecutor(cwd=folder))


def test_findings_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").write_text(OUTPUT)
    script = 'test "$*" = "--no-fail --format json -" || exit 9; cat > given; cat out'
    result = fake(tmp_path, script, monkeypatch).check("FROM a\n")
    assert (tmp_path / "given").read_text() == "FROM a\n"
    assert result.findings is not None
    assert [(one.rule, one.severity, one.line) for one in result.findings] == [
        ("DL3020", Severity.ERROR, 2),
        ("SC2016", Severity.INFO, 4),
        ("DL3042", Severity.INFO, 5),
    ]
    assert result.findings[0] == Finding(
        "DL3020",
        Severity.ERROR,
        "Use COPY instead of ADD for files and folders",
        "Containerfile",
        2,
        "see https://github.com/hadolint/hadolint/wiki/DL3020",
    )
    assert result.findings[2].message == "two lines"
    assert result.findings[1].remedy == "see https://www.shellcheck.net/wiki/SC2016"


@pytest.mark.parametrize("script", ["exit 3", "echo '{}'", "echo nonsense", "echo '[{}]'"])
def test_what_is_not_readable_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    hadolint = fake(tmp_path, f"cat > /dev/null; echo broken config >&2; {script}", monkeypatch)
    with pytest.raises(FleetError, match="said nothing readable") as caught:
        hadolint.check("FROM a\n")
    assert caught.value.details == ("broken config",)


def test_the_docs_name_what_is_left_out() -> None:
    page = (Path(__file__).parent.parent.parent / "docs/lint.md").read_text()
    paragraph = page.partition("Left out are rules")[2].partition("\n\n")[0]
    assert set(re.findall(r"DL\d+", paragraph)) == set(LEFT_OUT)


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = Hadolint(LocalExecutor()).check("FROM a\n")
    assert result.findings is None
    assert result.note == "hadolint is not installed: its rules were not looked at"


def test_what_it_cannot_read_is_said_and_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = '[{"code":"DL1000","column":1,"file":"-","level":"error","line":7,"message":"x"}]'
    result = fake(tmp_path, f"cat > /dev/null; echo '{entry}'", monkeypatch).check("FROM a\n")
    assert result.findings is None
    assert result.note == "hadolint cannot read line 7: its rules were not looked at"


@pytest.mark.integration
def test_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
    need("hadolint")
    assert shutil.which("hadolint")
    text = (
        "FROM a.example/b:1\nADD files/a /a\nRUN dnf -y install a\nRUN echo '$HOME'\n"
        "# hadolint ignore=SC2016\nRUN echo '$HOME'\n"
    )
    result = Hadolint(LocalExecutor(cwd=tmp_path)).check(text)
    assert result.findings is not None
    assert [(one.rule, one.line) for one in result.findings] == [("DL3020", 2), ("SC2016", 4)]
    local = text.replace("a.example/b:1", "localhost:5000/a/b:1")
    assert Hadolint(LocalExecutor(cwd=tmp_path)).check(local) == result
    (tmp_path / ".hadolint.yaml").write_text("ignored: [SC2016]\n")
    monkeypatch.chdir("/")
    result = Hadolint(LocalExecutor(), tmp_path).check(text)
    assert result.findings is not None
    assert [one.rule for one in result.findings] == ["DL3020"]


@pytest.mark.integration
@pytest.mark.parametrize(("name", "label", "variables"), variable_sets())
def test_the_shipped_templates_are_clean(
    name: str, label: str, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only infos: ShellCheck takes a pattern of grep in single quotes for a variable."""
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
    need("hadolint")
    result = Hadolint(LocalExecutor()).check(render(name, variables).containerfile)
    assert result.findings is not None
    assert {one.rule for one in result.findings if one.severity is not Severity.INFO} == set()
