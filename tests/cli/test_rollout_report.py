"""`bootcfleet rollout report` as a user sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.rollout_journal import NewEntry
from bootcfleet.ops.rollouts import Rollouts, open_rollouts
from tests.rolloutjournal import played

Say = Callable[..., tuple[int, str, str]]
ID = "20261121-020000-ab12"


@pytest.fixture
def rollouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollouts]:
    """A ledger with one rollout that has ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    record, entries = played(12, bad=0.3)
    with open_rollouts(None) as rollouts:
        rollouts.store.create(record)
        for entry in entries:
            new = NewEntry(entry.kind, entry.host, entry.body)
            rollouts.store.append(ID, [new], at=entry.at, actor=entry.actor)
        yield rollouts


@pytest.fixture
def say(rollouts: Rollouts, capsys: pytest.CaptureFixture[str]) -> Say:
    def go(*words: str) -> tuple[int, str, str]:
        code = run(["rollout", "report", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_the_page_goes_into_a_file_or_to_standard_output(say: Say, tmp_path: Path) -> None:
    code, out, err = say("last", "-o", "night.html")
    assert (code, err) == (0, "")
    assert out == f"wrote night.html: {ID}, failed, 14 hosts\n"
    text = (tmp_path / "night.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "web0001.example.com" in text
    code, out, err = say(ID[:10])
    assert (code, err) == (0, "")
    assert out.startswith("<!doctype html>")


def test_markdown_and_json(say: Say, tmp_path: Path) -> None:
    code, out, _ = say("-f", "markdown")
    assert code == 0
    assert out.startswith(f"# Rollout {ID}: failed\n")
    code, out, _ = say("--json")
    assert code == 0
    assert json.loads(out)["counts"]["updated"] == 9
    code, out, _ = say("--json", "-o", "both.html")
    assert code == 0
    assert json.loads(out)["rollout"] == ID
    assert (tmp_path / "both.html").read_text().startswith("<!doctype html>")


def test_what_is_not_there_is_said(say: Say, tmp_path: Path) -> None:
    code, out, err = say("1999")
    assert (code, out) == (2, "")
    assert "1999" in err
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name, why in (
        ("file/x.html", "file"),
        (".", "Is a directory"),
        ("folder", "Is a directory"),
        ("x" * 300, "File name too long"),
    ):
        code, out, err = say("-o", name)
        assert (code, out) == (1, "")
        assert why in err
        assert "Traceback" not in err
    assert [one for one in tmp_path.rglob("*") if "html" in one.name] == []
