"""`bootcfleet image plan`: what it prints, how it exits, and that nothing is started for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.ops.project import load_project
from tests.fakepodman import FakePodman

BASE = "registry.invalid/base@sha256:" + "ba" * 32
PROJECT = f"""\
version: 1
name: acme
registry: registry.invalid/acme
image_version: "1.0"
images:
  soe: {{base: "{BASE}", template: plain}}
  web: {{from: soe, template: plain}}
"""

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePodman:
    fake = FakePodman(tmp_path / "podman")
    fake.add(BASE)
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    template = tmp_path / "acme/containerfiles/plain"
    (template / "files/etc").mkdir(parents=True)
    (template / "Containerfile.j2").write_text("FROM {{ base }}\nCOPY files/ /\n")
    (template / "files/etc/motd").write_text("hello\n")
    (tmp_path / "acme/bootcfleet.yaml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path / "acme")
    return fake


@pytest.fixture
def say(fake: FakePodman, capsys: pytest.CaptureFixture[str]) -> Say:
    def go(*words: str) -> tuple[int, str, str]:
        code = run(["image", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_a_first_plan(say: Say) -> None:
    assert say("plan", "--offline") == (
        0,
        "ACTION  IMAGE  WHY\n"
        "build   soe    never built\n"
        "build   web    parent is rebuilt\n"
        "2 to build, 0 unchanged\n"
        "tags: 1.0, " + _today() + "\n"
        "nothing is pushed (see --push)\n",
        "",
    )
    assert say("plan", "--offline", "--detailed-exitcode")[0] == 2


def _today() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y%m%d")


def test_nothing_to_do_starts_no_podman(
    say: Say, fake: FakePodman, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert say("build")[0] == 0
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    code, out, _ = say("plan", "--detailed-exitcode")
    assert code == 0
    assert out.splitlines()[-1] == "nothing to build"
    assert out.splitlines()[1].startswith("skip    soe    unchanged, built just now as ")
    monkeypatch.undo()


def test_a_change_is_the_reason(say: Say) -> None:
    assert say("build")[0] == 0
    Path("containerfiles/plain/files/etc/motd").write_text("bye\n")
    code, out, _ = say("plan", "soe", "--json", "--detailed-exitcode")
    assert code == 2
    plan = json.loads(out)
    assert plan["changes"] == 1
    assert [(s["action"], s["reason"]) for s in plan["steps"]] == [
        ("build", "context file etc/motd changed")
    ]


def test_an_unchanged_build_builds_nothing(say: Say, fake: FakePodman) -> None:
    assert say("build")[0] == 0
    built = len(fake.calls("build"))
    code, out, _ = say("build")
    assert code == 0
    assert len(fake.calls("build")) == built == 2
    lines = out.splitlines()
    assert lines[0].startswith("soe: unchanged, built just now as sha256:")
    assert lines[-1].split()[:2] == ["web", "unchanged"]


def test_an_image_that_is_gone_is_built_again(say: Say, fake: FakePodman) -> None:
    assert say("build", "soe")[0] == 0
    for image in (fake.folder / "images").iterdir():
        if "base" not in image.name:
            image.unlink()
    assert say("build", "soe")[0] == 0
    assert len(fake.calls("build")) == 2


def test_locked(say: Say) -> None:
    text = Path("bootcfleet.yaml").read_text()
    code, _, err = say("build", "--locked")
    assert (code, err) == (
        2,
        "error: --locked needs a bootcfleet.lock, and there is none\n"
        "hint: make it, and commit it: bootcfleet lock update\n",
    )
    other = "sha256:" + "cc" * 32
    Path("bootcfleet.lock").write_text(
        "version: 1\nbases:\n"
        f"  registry.invalid/base@sha256:{'ba' * 32}:\n"
        f"    digest: sha256:{'ba' * 32}\n"
        "    locked: 2026-11-21T00:00:00Z\n"
        f"    platforms: {{linux/amd64: {other}, linux/arm64: {other}, linux/ppc64le: {other}, "
        f"linux/s390x: {other}}}\n"
    )
    assert say("plan", "--locked", "--offline")[0] == 0
    Path("bootcfleet.yaml").write_text(text.replace(BASE, "registry.invalid/other:1"))
    code, _, err = say("plan", "--locked", "--offline")
    assert (code, err) == (
        2,
        "error: the base registry.invalid/other:1 is not in bootcfleet.lock\n"
        "hint: pin it, and commit the file: bootcfleet lock update\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["plan", "--upstream", "--offline"],
            "--upstream asks the registry and --offline asks nobody: choose one",
        ),
        (["plan", "wbe"], "the project has no image 'wbe'"),
    ],
)
def test_wrong_words(say: Say, words: list[str], message: str) -> None:
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == f"error: {message}"


@pytest.mark.parametrize("text", ["yesterday", "-1", "253402300800", "1.5"])
def test_a_time_that_is_none(say: Say, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    code, _, err = say("build")
    assert code == 2
    assert err.startswith(f"error: SOURCE_DATE_EPOCH is {text!r}, and not a number of seconds")


def test_the_schema_knows_platforms(fake: FakePodman) -> None:
    Path("bootcfleet.yaml").write_text(PROJECT + "platforms: [arm64, linux/amd64, aarch64]\n")
    assert load_project().project.platforms == ("linux/amd64", "linux/arm64")
