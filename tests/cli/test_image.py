"""`bootcfleet image …` as a user sees it: what it prints, and how it exits."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from tests.fakepodman import FakePodman

REPOSITORY = "registry.invalid/acme"
BASE = "registry.invalid/base@sha256:" + "ba" * 32
PROJECT = f"""\
version: 1
name: acme
registry: {REPOSITORY}
image_version: "1.0"
images:
  soe: {{base: "{BASE}", template: plain, description: The SOE}}
  web: {{from: soe, template: plain}}
  shop: {{from: web, template: plain}}
"""

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePodman:
    """A podman that plays along, in a project that is the current directory."""
    fake = FakePodman(tmp_path / "podman")
    fake.add(BASE)
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    template = tmp_path / "acme/containerfiles/plain"
    (template / "files/etc").mkdir(parents=True)
    (template / "Containerfile.j2").write_text("FROM {{ base }}\nLABEL n={{ image.name }}\n")
    (template / "files/etc/motd.j2").write_text("{{ image.name }}\n")
    (template / "files/logo").write_bytes(b"\xff")
    (tmp_path / "acme/bootcfleet.yaml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path / "acme")
    return fake


@pytest.fixture
def say(fake: FakePodman, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs one command line in this process: exit code, stdout, stderr."""

    def go(*words: str) -> tuple[int, str, str]:
        code = run(["image", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_list(say: Say) -> None:
    code, out, err = say("list")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines == [
        ["IMAGE", "TEMPLATE", "FROM", "LAST", "BUILD", "DIGEST"],
        ["soe", "plain", BASE, "never"],
        ["web", "plain", "soe", "never"],
        ["shop", "plain", "web", "never"],
    ]
    say("build", "soe")
    assert say("list")[1].splitlines()[1].endswith("not pushed")
    (soe, web, _) = json.loads(say("list", "--json")[1])
    assert (soe["name"], soe["base"], soe["description"]) == ("soe", BASE, "The SOE")
    assert soe["last_build"]["tags"][0] == f"{REPOSITORY}/soe:1.0"
    assert soe["repository"] == f"{REPOSITORY}/soe"
    assert (web["from"], web["last_build"]) == ("soe", None)


def test_graph(say: Say) -> None:
    assert say("graph") == (
        0,
        f"{BASE}\n└── soe\n    └── web\n        └── shop\n",
        "",
    )
    assert say("graph", "--format", "dot")[1].startswith("digraph images {\n")
    assert say("graph", "-f", "mermaid")[1].startswith("flowchart LR\n")
    for words in (["--format", "json"], ["--json"]):
        assert [one["name"] for one in json.loads(say("graph", *words)[1])["images"]] == [
            "soe", "web", "shop",
        ]  # fmt: skip


def test_render(say: Say, tmp_path: Path) -> None:
    assert say("render", "soe") == (
        0,
        f"==> Containerfile\nFROM {BASE}\nLABEL n=soe\n\n==> files/etc/motd (0644)\nsoe\n\n"
        "==> files/logo (0644)\n(binary, 1 bytes)\n\n",
        "",
    )
    body = json.loads(say("render", "soe", "--json")[1])
    assert body == {
        "image": "soe",
        "containerfile": f"FROM {BASE}\nLABEL n=soe\n",
        "files": [
            {"path": "files/etc/motd", "mode": "0644", "text": "soe\n"},
            {"path": "files/logo", "mode": "0644", "base64": "/w=="},
        ],
    }
    assert say("render", "soe", "-o", str(tmp_path / "out"))[:2] == (
        0,
        f"wrote {tmp_path}/out: Containerfile and 2 files\n",
    )
    assert (tmp_path / "out/files/logo").read_bytes() == b"\xff"


def test_render_diff(say: Say, fake: FakePodman) -> None:
    say("build", "soe")
    assert say("render", "soe", "--diff")[1] == "soe: nothing differs from the last build\n"
    Path("containerfiles/plain/files/etc/motd.j2").write_text("changed\n")
    expected = "--- a/files/etc/motd\n+++ b/files/etc/motd\n@@ -1 +1 @@\n-soe\n+changed\n"
    assert say("render", "soe", "--diff")[1] == expected
    assert json.loads(say("render", "soe", "--diff", "--json")[1])["diff"] == expected


def test_an_undefined_variable(say: Say) -> None:
    path = Path("containerfiles/plain/Containerfile.j2")
    path.write_text("FROM {{ base }}\n{{ timezone }}\n")
    for words in (["render", "web"], ["build"], ["build", "--dry-run"]):
        assert say(*words) == (
            2,
            "",
            f"error: {path.absolute()}:2: 'timezone' is undefined\n"
            "hint: declare it in template.yaml\n",
        )


def test_a_cycle(say: Say) -> None:
    path = Path("bootcfleet.yaml")
    path.write_text(PROJECT.replace(f'base: "{BASE}"', "from: shop"))
    for words in (["list"], ["graph"], ["build"]):
        assert say(*words) == (
            2,
            "",
            f"error: {path.absolute()}:6: images.soe.from: these images are built from each "
            "other: soe → shop → web → soe\n"
            "hint: give one of them a base: instead of from:\n",
        )


@pytest.mark.parametrize("words", [["render", "wbe"], ["build", "wbe"]])
def test_an_unknown_image(say: Say, words: list[str]) -> None:
    assert say(*words) == (
        2,
        "",
        "error: the project has no image 'wbe'\nhint: did you mean 'web'?\n",
    )


def test_dry_run_builds_nothing(say: Say, fake: FakePodman) -> None:
    code, out, _ = say("build", "web", "--dry-run")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["ACTION", "IMAGE", "WHY"]
    assert lines[1] == ["build", "soe", "never", "built"]
    assert lines[2] == ["build", "web", "parent", "is", "rebuilt"]
    assert out.splitlines()[3] == "2 to build, 0 unchanged"
    assert lines[4][:2] == ["tags:", "1.0,"]
    assert out.splitlines()[5] == "nothing is pushed (see --push)"
    assert fake.calls("build") == []
    plan = json.loads(say("build", "--dry-run", "--push", "--json")[1])
    assert plan["push"] is True
    assert [step["image"] for step in plan["steps"]] == ["soe", "web", "shop"]


def test_a_plan_needs_no_podman(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert say("build", "--dry-run")[0] == 0
    assert say("build") == (
        5,
        "",
        "error: podman 4.3.0 or newer is needed, and the program 'podman' is not installed\n"
        "hint: install it: dnf install podman, or apt-get install podman\n",
    )


def test_an_old_podman(say: Say, fake: FakePodman) -> None:
    fake.control(version="4.2.0")
    assert say("build") == (
        5,
        "",
        "error: podman 4.3.0 or newer is needed, found 4.2.0\n"
        "hint: update podman with the system's package manager\n",
    )
    assert fake.calls("build") == []


def test_build_in_plain_lines(say: Say, fake: FakePodman) -> None:
    code, out, err = say("build", "web")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"soe: building FROM {BASE}"
    assert "soe: soe line 1" in lines
    table = [line.split() for line in lines[-3:]]
    assert table[0] == ["IMAGE", "RESULT", "TIME", "IMAGE", "ID"]
    assert table[1][:2] == ["soe", "built"]
    assert table[2][-1].startswith("sha256:")


def test_build_in_json_lines(say: Say) -> None:
    code, out, _ = say("build", "web", "--json")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0]["kind"] == "image.build.planned"
    assert next(e["kind"] for e in events if e["subject"] == "web") == "image.build.started"
    assert events[-1]["kind"] == "image.build.report"
    assert events[-1]["data"]["ok"] is True
    assert [image["outcome"] for image in events[-1]["data"]["images"]] == ["built", "built"]


def test_a_failed_image(say: Say, fake: FakePodman) -> None:
    fake.control(fail=["web"], lines=0)
    code, out, err = say("build")
    assert code == 1
    assert [line.split()[:2] for line in out.splitlines()[-3:]] == [
        ["soe", "built"], ["web", "failed"], ["shop", "skipped"],
    ]  # fmt: skip
    (log,) = Path(".bootcfleet/logs/build").absolute().glob("*/web.log")
    parent = fake.calls("build")[1]["base"]
    assert err.splitlines() == [
        "error: 1 of 3 images failed: web",
        "  web: podman build ended with exit code 1",
        f"    | STEP 1/2: FROM {parent}",
        '    | Error: building at STEP "RUN dnf -y install web": exit status 1',
        f"    log: {log}",
        "  not built, because what they stand on failed: shop",
    ]
    code, out, err = say("build", "--json")
    assert code == 1
    assert json.loads(err)["error"]["exit_code"] == 1
    assert json.loads(out.splitlines()[-1])["data"]["ok"] is False


def test_the_build_is_in_the_ledger(say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    say("build", "soe")
    assert run(["audit", "--json"]) == 0
    assert "image.build" in capsys.readouterr().out


def test_on_a_terminal_what_ended_scrolls_by(fake: FakePodman) -> None:
    fake.control(hang=["shop"])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "image", "build"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(theirs)
    screen = ""
    # The live view shows the image that hangs, how many ended, and podman's last line.
    while not re.search(r"2 of 3 images ended[^§]*shop +\d+ s +STEP 1/2", _plain(screen)):
        screen += os.read(ours, 4096).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal is gone with its last user
        while piece := os.read(ours, 4096):
            screen += piece.decode(errors="replace")
    os.close(ours)
    assert process.wait(60) == 130
    text = _plain(screen)
    for line in ("soe: built in", "web: built in", "shop: cancelled by ^C", "error: interrupted"):
        assert line in text


def _plain(screen: str) -> str:
    """What a terminal was sent, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)


def test_interrupt(fake: FakePodman) -> None:
    fake.control(hang=["web"])
    process = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "image", "build"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (fake.folder / "hangs-web").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == (
        "error: interrupted: 1 of 3 images were built\n"
        "hint: run the same build again: what is built is not built again\n"
    )
    assert "shop: cancelled by ^C" in out
    with pytest.raises(ProcessLookupError):
        os.kill(fake.calls("build")[-1]["pid"], 0)
