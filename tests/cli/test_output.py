"""What the commands say: nothing that a host, a hook or a file wrote is obeyed by a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.cli import fleet_view
from bootcfleet.cli.app import report, run
from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry, WavePhase
from bootcfleet.errors import FleetError, HostFault
from bootcfleet.ops.rollouts import Rollouts, look, open_rollouts
from tests.rolloutmaker import Writer

#: A title, a cleared screen, a colour of eight bits, a change of direction, half a pair, a NUL.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\ud83d\x00\rbad"
OBEYED = ("\x1b", "\x07", "\x9b", "\u202e", "\ud83d", "\x00", "\r")


def harmless(text: str) -> None:
    assert "bad" in text
    for one in OBEYED:
        assert one not in text, ascii(text)


def test_lines_tables_events_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line(f"one\ttwo\n{HOSTILE}")
    output.table(["HOST"], [[f"web1 {HOSTILE}"]])
    output.event(Event("host.failed", "web1", HOSTILE))
    report(FleetError(HOSTILE, hint=HOSTILE, details=[HOSTILE]), as_json=False)
    said = capsys.readouterr()
    harmless(said.out)
    harmless(said.err)
    assert said.out.startswith("one\ttwo\n")
    assert said.err.count("bad") == 3


@pytest.fixture
def rollouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollouts]:
    """A ledger with a rollout that was halted, every word of which is hostile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with open_rollouts(None) as rollouts:
        writer = Writer(rollouts.store, actor=HOSTILE.replace("\ud83d", ""))
        writer.start(HOSTILE)
        writer.wave(1, WavePhase.RUNNING, HOSTILE)
        writer.host(
            "web1", HostPhase.FAILED, HOSTILE, fault=HostFault.REGISTRY, evidence=(HOSTILE,)
        )
        found = {"journal": {HOSTILE: [HOSTILE]}, "notes": [HOSTILE], HOSTILE: HOSTILE}
        writer.write(NewEntry(EntryKind.EVIDENCE, "web1", found))
        writer.write(NewEntry(EntryKind.NOTE, "web1", {"message": HOSTILE}))
        writer.write(NewEntry(EntryKind.HALTED, "", {"reason": HOSTILE}))
        writer.end("halted")
        yield rollouts


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("show",),
        ("show", "--journal"),
        ("show", "--host", "web1"),
        ("watch", "--from-start"),
        ("report", "-f", "markdown"),
        ("report",),
    ],
)
def test_a_rollout_that_hosts_wrote(
    rollouts: Rollouts, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code = run(["rollout", *words])
    said = capsys.readouterr()
    assert code == (4 if words[0] == "watch" else 0)
    harmless(said.out)
    for one in OBEYED:
        assert one not in said.err


@pytest.mark.parametrize(
    "words", [("list",), ("show", "--journal"), ("watch", "--from-start"), ("report",)]
)
def test_json_has_all_of_it_and_is_read_back(
    rollouts: Rollouts, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    run(["rollout", *words, "--json"])
    out = capsys.readouterr().out
    for one in OBEYED:
        assert one not in out
    lines = out.splitlines() if words[0] == "watch" else [out]
    assert any(HOSTILE in _words(json.loads(line)) for line in lines)


def _words(value: object) -> list[str]:
    """All texts of a JSON value."""
    if isinstance(value, dict):
        return [*map(str, value), *(word for one in value.values() for word in _words(one))]
    if isinstance(value, list):
        return [word for one in value for word in _words(one)]
    return [value] if isinstance(value, str) else []


def test_the_end_of_a_move(rollouts: Rollouts, capsys: pytest.CaptureFixture[str]) -> None:
    fleet_view.show_rollout(Output(), look(rollouts, "last").rollout)
    out = capsys.readouterr().out
    harmless(out)
    assert [line.split()[0] for line in out.splitlines()][:3] == ["HOST", "web1", "web2"]
