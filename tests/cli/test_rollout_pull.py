"""`bootcfleet rollout …` with a rollout in pull mode: channels as waves, a sample as hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from bootcfleet.cli.app import run
from bootcfleet.domain.pull_policy import PullChannel, PullPlan, PullPolicy
from bootcfleet.domain.pull_rollout import sample_entry
from bootcfleet.domain.pull_sample import Verdict, VerdictKind
from bootcfleet.domain.rollout_journal import PULL, EntryKind, NewEntry, RolloutRecord
from bootcfleet.ops.rollout_pull import read_state
from bootcfleet.ops.rollouts import Rollouts, open_rollouts

Say = Callable[..., tuple[int, str, str]]
ID = "20261121-050100-e5f6"
DIGEST = "sha256:" + "b" * 64
BEGAN = datetime(2026, 11, 21, 5, 1, tzinfo=UTC)


@pytest.fixture
def rollouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollouts]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    plan = PullPlan(
        id=ID,
        image="web",
        digest=DIGEST,
        accepted=frozenset({DIGEST}),
        source="dev",
        policy=PullPolicy((PullChannel("prod-canary"), PullChannel("prod", approve=True)),
                          name="calm"),
        references={},
        followers={"prod-canary": 3, "prod": 500},
    )  # fmt: skip
    body: dict[str, Any] = TypeAdapter(PullPlan).dump_python(plan, mode="json")
    with open_rollouts(None) as rollouts:
        about = {"hosts": 503, "waves": 2, "image": "web 1.1"}
        rollouts.store.create(RolloutRecord(ID, PULL, BEGAN, "ann@ctl1", body, about))
        started = NewEntry(EntryKind.STARTED, body={"controller": "ctl1", "pid": 3})
        base = {"booted": "sha256:a", "boot_id": "x", "system_state": "running"}
        wave = {"wave": 1, "phase": "running", "message": "go", "number": 4, "before": None}
        sample = {"sample": {"web1": base, "web2": base}}
        told = [
            sample_entry(host, Verdict(verdict, "so"), 1)
            for host, verdict in (
                ("web1", VerdictKind.GOOD),
                ("web2", VerdictKind.CAME_BACK_OLD),
            )
        ]
        done = {"wave": 1, "phase": "done", "message": "1 of 2 sampled hosts are good"}
        for number, entry in enumerate(
            [
                started,
                NewEntry(EntryKind.WAVE, body={**wave, **sample}),
                *told,
                NewEntry(EntryKind.WAVE, body=done),
            ]
        ):
            at = BEGAN + timedelta(minutes=number)
            rollouts.store.append(ID, [entry], at=at, actor="ann@ctl1")
        yield rollouts


@pytest.fixture
def say(rollouts: Rollouts, capsys: pytest.CaptureFixture[str]) -> Say:
    def go(*words: str) -> tuple[int, str, str]:
        code = run(["rollout", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_show(say: Say) -> None:
    code, out, _ = say("show")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines == [
        f"{ID}: pull of 2 hosts to web {DIGEST}, policy calm",
        "begun 2026-11-21 05:01:00Z by ann@ctl1",
        "left behind by its controller ctl1 (process 3), which is gone: "
        f"bootcfleet rollout resume {ID}",
        f"waits: wave 2 (prod) waits for approval (bootcfleet rollout approve {ID})",
        "WAVE HOSTS PHASE SINCE SO FAR NOTE",
        "wave 1 (prod-canary) 2 done 2026-11-21 05:05:00Z 1 updated, 1 failed "
        "1 of 2 sampled hosts are good",
        "wave 2 (prod) 0 waiting to be approved",
        "HOST WAVE PHASE MESSAGE",
        "web2 1 failed so",
    ]
    (row,) = json.loads(say("list", "--json")[1])
    assert (row["operation"], row["hosts"], row["image"]) == ("pull", 503, "web 1.1")
    assert json.loads(say("show", "--json")[1])["operation"] == "pull"


def test_its_controller_understands_what_is_asked(say: Say, rollouts: Rollouts) -> None:
    assert say("pause", "-m", "lunch")[0] == 0
    assert say("pause")[0] == 1
    assert say("approve")[1].startswith(f"{ID}: wave 2 (prod) is approved\n")
    record = rollouts.store.record(ID)
    state = read_state(rollouts.store, record)
    assert state.approved == {2}
    assert (state.paused or "").endswith(" paused it: lunch")
    assert say("abort", "-m", "fire")[0] == 0
    assert say("abort")[0] == 1
    assert (read_state(rollouts.store, record).aborted or "").endswith(" aborted it: fire")


def test_no_host_is_tried_again(say: Say) -> None:
    code, out, err = say("retry", "web2", "-y")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the hosts of the rollout {ID} try again by themselves")


def test_watch_one_that_nobody_carries_out(say: Say) -> None:
    code, out, err = say("watch", "--from-start", "--patience", "0", "--interval", "0.2")
    assert code == 1
    assert "wave 1 (prod-canary): started: go" in out
    assert err.startswith(f"error: nobody carries the rollout {ID} out any more\n")


def test_an_entry_that_is_none_of_ours(say: Say, rollouts: Rollouts) -> None:
    bad = NewEntry(EntryKind.WAVE, body={"wave": 1, "phase": "asleep"})
    rollouts.store.append(ID, [bad], at=BEGAN, actor="x")
    code, out, err = say("show")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the journal of the rollout {ID} cannot be read\n")


def test_the_report(say: Say, tmp_path: Path) -> None:
    code, out, _ = say("report", "--format", "markdown")
    assert code == 0
    assert "prod-canary" in out
    assert "web2" in out
    assert say("report", "-o", str(tmp_path / "r.html"))[0] == 0
    assert "came-back-old" in (tmp_path / "r.html").read_text()


def test_its_report_has_the_sampled_hosts_along_time(say: Say) -> None:
    code, out, err = say("report", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["operation"], report["result"]) == ("pull", "left-behind")
    assert report["counts"] == {"updated": 1, "failed": 1}
    assert [wave["hosts"] for wave in report["waves"]] == [["web1", "web2"], []]
    host = report["hosts"]["web2"]
    assert (host["phase"], host["fault"], host["message"]) == ("failed", "came-back-old", "so")
    assert [one["phase"] for one in host["segments"]] == ["pending"]
    code, out, _ = say("report")
    assert code == 0
    assert "came-back-old" in out


def test_its_report_says_nothing_of_push_mode(say: Say) -> None:
    """Its waves are channels, and no canary of hosts is rolled back."""
    assert json.loads(say("report", "--json")[1])["policy"] == {
        "Policy": "calm",
        "Channels": "prod-canary, prod (approved by hand)",
        "When it halts": "its channels go back to what they were at",
    }


def note(rollouts: Rollouts, kind: str, message: str) -> None:
    body = {"kind": kind, "wave": 1, "message": message}
    rollouts.store.append(ID, [NewEntry(EntryKind.NOTE, body=body)], at=BEGAN, actor="ann@ctl1")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("put-back", "prod-canary is back at sha256:a"),
        ("left", "prod-canary could not be put back"),
    ],
)
def test_where_its_channels_are_now(say: Say, rollouts: Rollouts, kind: str, message: str) -> None:
    halted = NewEntry(EntryKind.HALTED, body={"reason": "prod: bad"})
    rollouts.store.append(ID, [halted], at=BEGAN, actor="ann@ctl1")
    note(rollouts, kind, message)
    assert message in say("show")[1]
    assert "1 of 2 sampled hosts are good" not in say("show")[1]
    _, _, err = say("approve", "2")
    assert "hint: its channels go back; begin another: bootcfleet rollout pull\n" in err
    end = NewEntry(EntryKind.FINISHED, body={"outcome": "halted"})
    rollouts.store.append(ID, [end], at=BEGAN, actor="ann@ctl1")
    code, _, err = say("watch", ID)
    assert (code, err.splitlines()[-1]) == (4, f"hint: see why: bootcfleet rollout show {ID}")


def test_why_its_controller_let_go_of_it(say: Say, rollouts: Rollouts) -> None:
    stopped = NewEntry(EntryKind.STOPPED, body={"reason": "prod: only 1 of its hosts can be asked"})
    rollouts.store.append(ID, [stopped], at=BEGAN, actor="ann@ctl1")
    assert (
        "stopped (prod: only 1 of its hosts can be asked), carried out by nobody (last by ctl1"
    ) in say("show")[1]
