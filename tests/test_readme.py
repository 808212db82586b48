"""The README's commands do what it says, and its documents exist and agree with the code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.cli.app import COMMANDS, run
from bootcfleet.domain.channel import ChannelAction
from bootcfleet.domain.channel_spec import ChannelSpec
from bootcfleet.domain.disk_spec import AmiSpec, DiskSpec
from bootcfleet.domain.evidence import EvidenceKind
from bootcfleet.domain.faults import DESCRIPTIONS
from bootcfleet.domain.fleetdrift import DESCRIPTIONS as DRIFT
from bootcfleet.domain.inventory_native import ConnectionModel, HostModel
from bootcfleet.domain.preflight import RULES
from bootcfleet.domain.project import ImageSpec, Project
from bootcfleet.domain.revocation import RESTORE, REVOKE
from bootcfleet.domain.rollout_standing import Standing
from bootcfleet.drivers.labcontrol import Running
from bootcfleet.ops.labservice import stop_lab
from bootcfleet.ops.rollouts import ACTIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(marker: str) -> list[list[str]]:
    """The commands of the shell block after ``<!-- marker -->``, as words."""
    match = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert match, f"the README has no block {marker}"
    return [shlex.split(line, comments=True) for line in match.group(1).splitlines() if line]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path
    if Running.read(tmp_path / ".bootcfleet/lab"):
        stop_lab(tmp_path / ".bootcfleet/lab")


@pytest.mark.parametrize("marker", ["run", "lab"])
def test_the_commands_of_the_readme(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], marker: str
) -> None:
    for words in block(marker):
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
            continue
        assert words[0] == "bootcfleet", words
        code = run(words[1:])
        said = capsys.readouterr()
        assert code == 0, f"{words}: exit code {code}\n{said.out}\n{said.err}"
        assert "Traceback" not in said.out + said.err


def test_every_command_of_the_readme_exists(capsys: pytest.CaptureFixture[str]) -> None:
    found = {tuple(m.split()) for m in re.findall(r"bootcfleet ([a-z]+(?: [a-z]+)?)", README)}
    for words in found:
        if words[0] not in COMMANDS:
            continue
        group = COMMANDS[words[0]].function is None
        line = list(words) if group else [words[0]]
        assert run([*line, "--help"]) == 0, words
        capsys.readouterr()


def test_the_documents_exist() -> None:
    texts = {path: path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
    for path, text in texts.items():
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"


def test_every_field_is_documented() -> None:
    project = (ROOT / "docs/project.md").read_text()
    for model in (Project, ImageSpec, DiskSpec, AmiSpec):
        for name, info in model.model_fields.items():
            assert f"`{info.alias or name}`" in project, f"{name} is not in docs/project.md"
    channels = (ROOT / "docs/channels.md").read_text()
    for name, info in ChannelSpec.model_fields.items():
        assert f"`{info.alias or name}`" in channels, f"{name} is not in docs/channels.md"
    inventory = (ROOT / "docs/inventory.md").read_text()
    for model in (HostModel, ConnectionModel):
        for name in model.model_fields:
            assert f"`{name}`" in inventory, f"{name} is not in docs/inventory.md"


def test_every_action_of_the_ledger_is_documented() -> None:
    text = (ROOT / "docs/ledger.md").read_text()
    moves = [f"channel.{action.value}" for action in ChannelAction]
    for action in [*EvidenceKind, REVOKE, RESTORE, *moves, "channel.restore", "channel.prune"]:
        assert f"`{action}`" in text, f"{action} is not in docs/ledger.md"


def test_every_request_is_documented() -> None:
    text = (ROOT / "docs/ledger.md").read_text()
    for action in ACTIONS.values():
        assert f"`{action}`" in text, f"{action} is not in docs/ledger.md"
    rollouts = (ROOT / "docs/rollouts.md").read_text()
    for standing in Standing:
        assert f"`{standing}`" in rollouts, f"{standing} is not in docs/rollouts.md"


@pytest.mark.parametrize(
    "name", ["list", "show", "watch", "pause", "approve", "abort", "retry", "resume"]
)
def test_every_option_of_rollouts_is_documented(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollout", name, "--help"]) == 0
    options = set(re.findall(r"(--[a-z][a-z-]+)", capsys.readouterr().out))
    text = (ROOT / "docs/rollouts.md").read_text()
    for option in options - {"--help", "--json"}:
        assert option in text, f"{option} of rollout {name} is not in docs/rollouts.md"


def test_every_fault_is_documented() -> None:
    text = (ROOT / "docs/lab.md").read_text()
    for fault, description in DESCRIPTIONS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{fault}"))
        assert row.split("|")[2].strip() == re.sub(r" \(.*\)$", "", description)


@pytest.mark.parametrize("name", ["status", "upgrade", "switch", "rollback", "reboot", "exec"])
def test_every_option_of_the_fleet_is_documented(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fleet", name, "--help"]) == 0
    options = set(re.findall(r"(--[a-z][a-z-]+)", capsys.readouterr().out))
    text = (ROOT / "docs/fleet.md").read_text()
    everywhere = {"--help", "--json", "--inventory", "--selector", "--group"}
    for option in options - everywhere:
        assert option in text, f"{option} of fleet {name} is not in docs/fleet.md"


@pytest.mark.parametrize("name", ["preflight", "facts", "drift"])
def test_every_option_of_a_look_is_documented(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fleet", name, "--help"]) == 0
    options = set(re.findall(r"(--[a-z][a-z-]+)", capsys.readouterr().out))
    text = (ROOT / "docs/host-truth.md").read_text()
    everywhere = {"--help", "--json", "--inventory", "--selector", "--group", "--parallel"}
    for option in options - everywhere:
        assert option in text, f"{option} of fleet {name} is not in docs/host-truth.md"


def test_every_rule_of_the_preflight_is_documented() -> None:
    text = (ROOT / "docs/host-truth.md").read_text()
    for rule in ("reach", *RULES):
        assert f"| `{rule}` |" in text, f"{rule} is not in docs/host-truth.md"


def test_every_kind_of_drift_is_documented() -> None:
    text = (ROOT / "docs/host-truth.md").read_text()
    for kind, description in DRIFT.items():
        assert f"| `{kind}` | {description} |" in text, f"{kind} is not in docs/host-truth.md"


def test_the_schemas_of_a_new_project_are_those_of_the_code(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "acme"]) == 0
    for kind, file in (("project", "bootcfleet"), ("inventory", "inventory")):
        capsys.readouterr()
        assert run(["schema", kind]) == 0
        assert capsys.readouterr().out == (here / f"acme/{file}.schema.json").read_text()
        text = (here / f"acme/{file}.yaml").read_text()
        assert text.startswith(f"# yaml-language-server: $schema=./{file}.schema.json\n")
