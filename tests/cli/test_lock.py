"""`bootcfleet lock …` as a user sees it, against the lab's registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabRegistry]:
    """A registry with two bases, and a project that stands on them as the current directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "registries.conf").write_text("")
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "acme"
    project.mkdir()
    monkeypatch.chdir(project)
    with LabRegistry() as registry:
        rhel(registry, "10.0")
        push_image(registry.address, "edge", "1", version="1", files={}, created=CREATED)
        (project / "bootcfleet.yaml").write_text(
            f"version: 1\nname: acme\nregistry: {registry.address}/acme\nimages:\n"
            f"  soe: {{base: '{registry.address}/rhel:10'}}\n  web: {{from: soe}}\n"
            f"  edge: {{base: '{registry.address}/edge:1'}}\n"
        )
        yield registry


def rhel(registry: LabRegistry, version: str) -> Digest:
    return push_index(
        registry.address, "rhel", "10", version=version, files={"v": version.encode()},
        created=CREATED,
    )  # fmt: skip


@pytest.fixture
def say(registry: LabRegistry, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs one command line in this process: exit code, stdout, stderr."""

    def go(*words: str) -> tuple[int, str, str]:
        code = run(["lock", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def rows(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_life_of_a_lock(registry: LabRegistry, say: Say) -> None:
    at, file = registry.address, Path("bootcfleet.lock")
    code, out, err = say("verify")
    assert code == 3
    assert rows(out)[0] == "BASE RESULT WHAT"
    assert err == (
        "error: bootcfleet.lock does not hold: 2 of 2 checks are not green\n"
        f"  {at}/edge:1 is not pinned: there is no bootcfleet.lock\n"
        "    bootcfleet lock update\n"
        f"  {at}/rhel:10 is not pinned: there is no bootcfleet.lock\n"
        "    bootcfleet lock update\n"
    )

    code, out, err = say("update", "--dry-run")
    assert (code, err, file.exists()) == (0, "", False)
    assert rows(out)[-1] == "bootcfleet.lock would be written"

    code, out, err = say("update")
    assert (code, err) == (0, "")
    assert rows(out)[2].startswith(f"{at}/rhel:10 added ")
    assert rows(out)[2].endswith(" 10.0 soe, web")
    assert rows(out)[-1] == "wrote bootcfleet.lock; commit it: git add bootcfleet.lock"
    code, out, err = say("verify")
    assert (code, err) == (0, "")
    assert rows(out)[1].startswith(f"{at}/edge:1 ok ")
    assert rows(out)[1].endswith(" is there for linux/amd64")
    assert rows(out)[2].endswith(" is there for linux/amd64, linux/arm64")
    assert say("update") == (0, "no base moved\n", "")
    rhel(registry, "10.1")
    code, out, err = say("update", "web")
    assert (code, err) == (0, "")
    assert rows(out)[1].startswith(f"{at}/rhel:10 moved ")
    assert rows(out)[1].endswith(" 10.0 → 10.1 soe, web")
    assert rows(out)[2] == "wrote bootcfleet.lock; look at what moved: git diff bootcfleet.lock"
    assert say("update", "-n") == (0, "bootcfleet.lock would stay as it is\n", "")


def test_markdown(registry: LabRegistry, say: Say) -> None:
    at = registry.address
    assert say("update")[0] == 0
    assert say("update", "--markdown") == (0, "## No base moved\n", "")
    before = json.loads(say("update", "--json")[1])["unchanged"][1]["digest"]
    after = rhel(registry, "10.1")
    code, out, err = say("update", "--markdown", "soe")
    assert (code, err) == (0, "")
    assert out == (
        "## Bases: 1 moved\n\n"
        "| base | digest | version | images to rebuild |\n"
        "|---|---|---|---|\n"
        f"| `{at}/rhel:10` | `{before[7:19]}` → `{after.short}` | 10.0 → 10.1 | soe, web |\n"
    )
    assert str(after) in Path("bootcfleet.lock").read_text()


def test_json(registry: LabRegistry, say: Say) -> None:
    at = registry.address
    code, out, err = say("update", "--json")
    assert (code, err) == (0, "")
    body = json.loads(out)
    assert (body["written"], body["moved"], body["removed"], body["failed"]) == (True, [], [], [])
    assert [(one["base"], one["images"]) for one in body["added"]] == [
        (f"{at}/edge:1", ["edge"]),
        (f"{at}/rhel:10", ["soe", "web"]),
    ]
    assert set(body["added"][1]["platforms"]) == {"linux/amd64", "linux/arm64"}
    assert body["added"][1]["reference"] == f"{at}/rhel@{body['added'][1]['digest']}"
    code, out, err = say("verify", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["ok"] is True
    Path("bootcfleet.lock").unlink()
    code, out, err = say("verify", "--json")
    assert code == 3
    assert json.loads(out)["bases"][0] == {
        "base": f"{at}/edge:1",
        "ok": False,
        "message": "is not pinned: there is no bootcfleet.lock",
        "hint": "bootcfleet lock update",
    }
    assert json.loads(err)["error"]["exit_code"] == 3


def test_a_base_that_is_not_there(registry: LabRegistry, say: Say) -> None:
    at = registry.address
    text = Path("bootcfleet.yaml").read_text().replace("edge:1", "edge:2")
    Path("bootcfleet.yaml").write_text(text)
    code, out, err = say("update", "--markdown")
    assert code == 1
    assert f"### Not updated\n\n- `{at}/edge:2`: " in out
    assert err == (
        "error: 1 base was not resolved\n"
        f"  {at}/edge:2 has no pin: {at}/edge:2 is not in the registry\n"
        f"    there are: {at}/edge:1\n"
        "hint: when that is mended, run it again: bootcfleet lock update\n"
    )
    assert f"{at}/rhel:10:" in Path("bootcfleet.lock").read_text()  # the other one is pinned


def test_usage(registry: LabRegistry, say: Say) -> None:
    assert say("update", "--json", "--markdown")[0] == 2
    code, _, err = say("update", "shop")
    assert (code, err) == (
        2,
        "error: the project has no image 'shop'\nhint: known: edge, soe, web\n",
    )
    Path("bootcfleet.lock").write_text("version: 1\nbase: {}\n")
    for words in (["update"], ["verify"]):
        code, _, err = say(*words)
        assert code == 2
        assert err.endswith("bootcfleet.lock:2: base: unknown key\nhint: did you mean 'bases'?\n")
