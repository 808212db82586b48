"""`bootcfleet channel …` as a user sees it: what it prints, and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.ops.audit import current_actor
from tests.channelproject import ChannelProject

Say = Callable[..., tuple[int, str, str]]
NOT_REVOKED = "  revoked: ok: neither it nor what it stands on is revoked\n"


@pytest.fixture
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


@pytest.fixture
def project(lab: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChannelProject:
    project = ChannelProject.make(
        tmp_path / "acme",
        lab.address,
        "  dev: {}\n  test: {from: dev, checks: true, lint: true}\n",
        images="soe,web",
    )
    monkeypatch.chdir(project.folder)
    return project


@pytest.fixture
def say(project: ChannelProject, capsys: pytest.CaptureFixture[str]) -> Say:
    def go(*words: str) -> tuple[int, str, str]:
        code = run(["channel", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_promote(say: Say, project: ChannelProject) -> None:
    digest = project.build("web", "1.0")
    assert say("promote", "web", "build", "dev", "--dry-run") == (
        0,
        f"web: dev — → {digest} (version 1.0)\n{NOT_REVOKED}",
        "",
    )
    assert say("promote", "web", "build", "dev") == (
        2,
        f"web: dev — → {digest} (version 1.0)\n{NOT_REVOKED}",
        "error: this changes channels and nobody is there to confirm it\n"
        "hint: look at the plan with --dry-run, then run it again with --yes\n",
    )
    assert say("promote", "web", "build", "dev", "--yes") == (
        0,
        f"web: dev — → {digest} (version 1.0)\n{NOT_REVOKED}"
        f"web: dev is now {digest} (version 1.0)\n",
        "",
    )
    assert say("promote", "web", "build", "dev") == (0, f"web: dev is at {digest} already\n", "")


def test_red_gates(say: Say, project: ChannelProject) -> None:
    digest = project.build("web", "1.0")
    say("promote", "web", "build", "dev", "-y")
    plan = (
        f"web: test — → {digest} (version 1.0)\n"
        "  from: ok: it comes from dev\n"
        "  checks: {0}: check was never run on this digest\n"
        "  lint: {0}: lint was never run on this digest\n" + NOT_REVOKED
    )
    error = (
        "error: 2 gates of test are not green for web; nothing was moved\n"
        "  web: checks: check was never run on this digest\n"
        f"    bootcfleet image check web --digest {digest}\n"
        "  web: lint: lint was never run on this digest\n"
        "    bootcfleet image lint web\n"
        "hint: mend it, or answer for it: --skip-gate checks,lint --reason …\n"
    )
    for words in (["--yes"], ["--dry-run"]):
        assert say("promote", "web", "dev", "test", *words) == (3, plan.format("RED"), error)
    skip = ["--skip-gate", "checks,lint"]
    assert say("promote", "web", "dev", "test", "-y", *skip)[0] == 2
    code, out, _ = say("promote", "web", "dev", "test", "-y", *skip, "--reason", "urgent")
    assert (code, out) == (
        0, plan.format("skipped") + f"web: test is now {digest} (version 1.0)\n"
    )  # fmt: skip
    assert "urgent (skipped: checks, lint)" in say("history", "web", "test")[1]


def test_a_train_that_nobody_is_in_says_how_to_get_in(say: Say) -> None:
    assert say("promote", "--all-images", "build", "dev")[2].splitlines() == [
        "error: no image of the project is in build",
        "  soe: no build of soe was pushed, by the ledger",
        "  web: no build of web was pushed, by the ledger",
        "hint: bootcfleet image build --push",
    ]
    code, _, err = say("promote", "--all-images", "dev", "test")
    assert (code, err.splitlines()[-1]) == (
        2, "hint: bootcfleet channel promote --all-images build dev",
    )  # fmt: skip


def test_json(say: Say, project: ChannelProject) -> None:
    digest = project.build("web", "1.0")
    plan = json.loads(say("promote", "web", "build", "dev", "--dry-run", "--json")[1])
    assert plan["moves"][0]["digest"] == digest
    assert plan["refused"] == []
    code, out, err = say("promote", "--all-images", "build", "dev", "--json", "--yes")
    planned, moved = (json.loads(line) for line in out.splitlines())
    assert (code, err) == (0, "")
    assert planned["kind"] == "channel.planned"
    assert list(planned["data"]["left_out"]) == ["soe"]
    assert (moved["kind"], moved["subject"]) == ("channel.promote", "web")
    (entry,) = json.loads(say("history", "web", "dev", "--json")[1])
    assert moved["data"] == entry
    assert json.loads(say("history", "web", "dev", "--json", "--from-registry")[1]) == [entry]
    rows = json.loads(say("list", "--json")[1])
    assert [(row["image"], row["channel"], row["digest"]) for row in rows] == [
        ("soe", "dev", None), ("soe", "test", None), ("web", "dev", digest), ("web", "test", None),
    ]  # fmt: skip
    assert rows[2]["reference"] == f"{project.address}/acme/web@{digest}"


def test_list_and_history(say: Say, project: ChannelProject) -> None:
    digest = project.build("web", "1.0")
    say("promote", "web", "build", "dev", "-y", "-m", "first")
    code, out, _ = say("list", "web")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["IMAGE", "CHANNEL", "VERSION", "DIGEST", "SINCE", "WHO", "HOW"]
    assert lines[1][:4] == ["web", "dev", "1.0", digest[7:19]]
    assert lines[1][5:] == [current_actor(), "promote"]
    assert lines[2] == ["web", "test", "—"]
    header, row = say("history", "web", "dev")[1].splitlines()
    assert header.split() == ["N", "WHEN", "WHO", "ACTION", "FROM", "VERSION", "DIGEST", "WHY"]
    words = row.split()
    assert [words[0], *words[3:]] == [
        "1", current_actor(), "promote", "build", "1.0", digest[7:19], "first",
    ]  # fmt: skip
    assert say("history", "web", "test") == (0, "web was never in test\n", "")
    assert say("list", "wbe") == (
        2, "", "error: the project has no image 'wbe'\nhint: did you mean 'web'?\n",
    )  # fmt: skip


def test_too_few_words(say: Say) -> None:
    assert say("promote", "web") == (
        2,
        "",
        "error: promote needs where the image is and the channel that it goes to\n"
        "hint: bootcfleet channel promote web dev test\n",
    )


def test_rollback(say: Say, project: ChannelProject) -> None:
    old, new = project.push("web", "1"), project.push("web", "2")
    for digest in (old, new):
        assert say("promote", "web", digest, "dev", "-y")[0] == 0
    plan = f"web: dev {new[7:19]} → {old} (version 1)\n{NOT_REVOKED}"
    assert say("rollback", "web", "dev", "--dry-run") == (0, plan, "")
    assert say("rollback", "web", "dev", "--to", "1", "-y", "-m", "it hangs") == (
        0,
        f"{plan}web: dev is now {old} (version 1)\n",
        "",
    )
    assert say("rollback", "web", "dev", "--to", old) == (0, f"web: dev is at {old} already\n", "")
    assert say("history", "web", "dev")[1].splitlines()[3].split()[4:] == [
        "rollback", "entry", "1", "1", old[7:19], "it", "hangs",
    ]  # fmt: skip
    assert say("rollback", "web", "dev", "--to", "known-good") == (
        1,
        "",
        "error: web dev had no other digest whose checks passed and that nobody revoked\n"
        "hint: check one: bootcfleet image check web, or choose: --to DIGEST\n",
    )


def test_verify(say: Say, project: ChannelProject) -> None:
    digest = project.push("web", "1")
    say("promote", "web", digest, "dev", "-y")
    assert say("verify") == (0, "1 history is true\n", "")
    assert say("verify", "web", "dev") == (0, "1 history is true\n", "")
    assert json.loads(say("verify", "--json")[1]) == {"ok": True, "findings": []}
    other = project.push("web", "9", tag="dev")
    code, out, err = say("verify")
    assert (code, out) == (3, "")
    first, *details, hint = err.splitlines()
    assert first == "error: 1 finding: not all channels are as their histories say"
    assert details[0].startswith(f"  web dev: moved: the tag points at {other}; by its history it")
    assert details[1] == "    by its labels: version 9, made 2026-11-21T03:01:00+00:00"
    assert hint == "hint: bootcfleet channel verify web dev --repair"
    code, out, err = say("verify", "--json")
    assert (code, json.loads(err)["error"]["exit_code"]) == (3, 3)
    assert json.loads(out)["findings"][0]["kind"] == "moved"
    assert say("verify", "--repair")[2].splitlines() == [
        "error: this changes channels and nobody is there to confirm it",
        "hint: look at them without --repair, then run it again with --yes",
    ]
    code, out, err = say("verify", "--repair", "--yes")
    assert (code, err) == (0, "")
    assert out.splitlines()[-2:] == [
        f"web: dev is now {digest} (version 1)",
        "1 history is true",
    ]


def test_restore(say: Say, project: ChannelProject) -> None:
    for version in ("1", "2"):
        say("promote", "web", project.push("web", version), "dev", "-y")
    before = say("history", "web", "dev")
    for path in project.folder.glob(".bootcfleet/ledger.db*"):
        path.unlink()
    assert say("history", "web", "dev") == (0, "web was never in dev\n", "")
    assert say("history", "web", "dev", "--from-registry") == before
    assert say("restore")[2].startswith("error: this changes the ledger and nobody is there")
    assert say("restore", "-n") == (0, "web dev: 2 entries would be taken\n", "")
    assert say("restore", "--from-registry", "--yes") == (0, "web dev: 2 entries\n", "")
    assert say("history", "web", "dev") == before
    assert say("restore", "--yes") == (
        0, "the ledger lacks nothing of the histories in the registry\n", "",
    )  # fmt: skip
