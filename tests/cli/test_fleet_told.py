"""A rollout on a lab by the real command: webhooks, metrics and the report of what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.rollout import HostPhase
from tests.cli.test_fleet import Rig, rig  # noqa: F401 - a fixture
from tests.domain.test_rollout_metrics import promtool, samples
from tests.ops.test_notify import SECRET, Chat
from tests.ops.test_rollout_events import documented

PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
rollouts:
  default:
    notify:
      - url_env: TOLD_HERE
      - form: slack
        url_env: NOT_SET_ANYWHERE
"""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    chat = Chat()
    monkeypatch.setenv("TOLD_HERE", chat.url)
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    yield chat
    chat.close()


def test_what_happens_is_told_measured_and_reported(
    rig: Rig,  # noqa: F811
    told: Chat,
    tmp_path: Path,
) -> None:
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    metrics = tmp_path / "rollout.prom"
    rig.publish("2.0", health="bad")
    out, err = rig(
        "upgrade", "--yes", "--json", "--metrics-file", str(metrics),
        "--metrics-listen", "127.0.0.1:0", ends=4,
    )  # fmt: skip
    events = [json.loads(line) for line in out.splitlines()]
    stream = [line for line in events if "at" in line]
    kinds = [line["kind"] for line in stream]
    for kind in ("rollout.started", "wave.started", "host.staging", "host.rolled-back",
                 "rollout.halted", "rollout.finished"):  # fmt: skip
        assert kind in kinds
    assert "notify.failed" in kinds
    told_of, _ = documented()
    assert set(kinds) <= told_of | {f"host.{phase}" for phase in HostPhase}
    assert SECRET not in out + err
    assert all(line["at"].endswith("+00:00") for line in stream)
    [rollout] = {line["data"]["rollout"] for line in stream}

    assert [body["event"] for body in told.bodies] == [
        "started",
        "host-failed",
        "halted",
        "finished",
    ]
    assert [host["host"] for host in told.bodies[1]["hosts"]] == ["h1"]
    assert told.bodies[3]["outcome"] == "halted"
    assert {body["rollout"] for body in told.bodies} == {rollout}

    text = metrics.read_text()
    assert promtool(text) == ""
    said = samples(text)
    assert said[f'bootcfleet_rollout_hosts{{rollout="{rollout}",phase="rolled-back"}}'] == 1
    assert said[f'bootcfleet_rollout_halted{{rollout="{rollout}"}}'] == 1
    assert said[f'bootcfleet_rollout_finished{{rollout="{rollout}"}}'] == 1

    rig.capsys.readouterr()
    assert run(["rollout", "report", rollout, "--json"]) == 0
    report = json.loads(rig.capsys.readouterr().out)
    assert (report["result"], report["counts"]) == ("halted", {"rolled-back": 1, "skipped": 2})
    phases = [one["phase"] for one in report["hosts"]["h1"]["segments"]]
    assert [one for one in phases if one in ("rebooting", "checking", "reverting")] == [
        "rebooting",
        "checking",
        "reverting",
    ]
    notes = [one for one in report["moments"] if one["kind"] == "note"]
    assert any("NOT_SET_ANYWHERE is not set" in one["message"] for one in notes)
    assert run(["rollout", "report", "-o", "r.html"]) == 0
    assert "rolled-back" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metrics-file", "x.txt"], "does not end in .prom"),
        (["--metrics-listen", "nowhere"], "is no address to listen on"),
    ],
)
def test_metrics_that_go_nowhere_stop_it_before_it_begins(
    rig: Rig,  # noqa: F811
    options: list[str],
    said: str,
) -> None:
    rig.publish("2.0")
    _, err = rig("upgrade", "--yes", *options, ends=2)
    assert said in err
    assert rig.reboots() == [0, 0, 0]
    assert run(["rollout", "list", "--json"]) == 0
    assert json.loads(rig.capsys.readouterr().out) == []
