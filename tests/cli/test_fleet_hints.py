"""What is said of hosts that cannot be asked: the reason, and the command that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.cli.fleet_hints import host_hints
from bootcfleet.cli.output import Output
from bootcfleet.errors import FleetError
from bootcfleet.ops.lab import Lab


def test_each_hint_once_and_not_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    def error(hint: str | None) -> FleetError:
        return FleetError("no", hint=hint)

    host_hints(
        Output(),
        [
            ("a", error("one")), ("b", None), ("c", error("two")), ("d", error("one")),
            ("e", error(None)), ("f", error("three")), ("g", error("four")), ("h", error("five")),
            ("i", error("one")),
        ],
    )  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "hint: a and 2 more: one",
        "hint: c: two",
        "hint: f: three",
        "hint: of 2 more hosts: bootcfleet fleet preflight",
    ]
    host_hints(Output(), [("a", error("one"))])
    assert capsys.readouterr().out == "hint: a: one\n"


def test_a_host_key_that_nobody_trusts_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first thing that a new admin meets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        lab.start_hosts(1, image=lab.seed(), boot_seconds=0.1)
        (name,) = lab.hosts
        known = tmp_path / "lab" / "known_hosts"
        known.write_text("")
        more = ["-i", str(lab.inventory_path)]
        for words in (["status"], ["drift"], ["facts"], ["locks"], ["preflight"],
                      ["upgrade", "--dry-run"]):  # fmt: skip
            capsys.readouterr()
            assert run(["fleet", *words, *more]) in (1, 3), words
            said = capsys.readouterr().out
            assert "is not known" in said, words
            assert said.count("then trust it: ssh-keyscan -p ") == 1, f"{words}: {said}"
        assert run(["fleet", "exec", *more, "--", "true"]) == 1
        assert f"hint: {name}: compare the fingerprint" in capsys.readouterr().out
        assert run(["fleet", "exec", *more, "--json", "--", "true"]) == 1
        assert "ssh-keyscan" in json.loads(capsys.readouterr().out)["hint"]
        assert run(["fleet", "drift", *more, "--json"]) == 1
        (host,) = json.loads(capsys.readouterr().out)["hosts"]
        assert "ssh-keyscan" in host["error"]["hint"]
