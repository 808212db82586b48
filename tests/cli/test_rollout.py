"""`bootcfleet rollout …` as a user sees it: what it prints, and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry, WavePhase
from bootcfleet.errors import HostFault
from bootcfleet.ops.audit import current_actor
from bootcfleet.ops.rollouts import Rollouts, open_rollouts
from tests.rolloutmaker import NEW, OLD, Writer, a_rollout

Say = Callable[..., tuple[int, str, str]]
ID, BAD = "20261121-030100-a1b2", "20261121-040100-c3d4"


@pytest.fixture
def rollouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rollouts]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with open_rollouts(None) as rollouts:
        yield rollouts


@pytest.fixture
def say(rollouts: Rollouts, capsys: pytest.CaptureFixture[str]) -> Say:
    def go(*words: str) -> tuple[int, str, str]:
        code = run(["rollout", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


@pytest.fixture
def good(rollouts: Rollouts) -> Writer:
    """The first wave is done, the second waits for approval, and the controller was killed."""
    writer = Writer(rollouts.store)
    writer.start()
    writer.first_wave()
    return writer


@pytest.fixture
def bad(rollouts: Rollouts) -> Writer:
    """Halted by its first host, and ended."""
    writer = Writer(rollouts.store, a_rollout(BAD))
    writer.start("bob@ctl2")
    writer.wave(1, WavePhase.RUNNING)
    writer.host(
        "web1",
        HostPhase.FAILED,
        "came back on the old deployment",
        fault=HostFault.CAME_BACK_OLD,
        evidence=("booted sha256:aaa\x1b[31m",),
    )
    found = {
        "host": "web1",
        "boot_id": "x",
        "failed_units": ["nginx.service"],
        "journal": {"greenboot": ["no"]},
    }
    writer.write(NewEntry(EntryKind.EVIDENCE, "web1", found))
    writer.host("web2", HostPhase.UPDATED)
    writer.write(NewEntry(EntryKind.HALTED, body={"reason": "1 host failed", "unwind": False}))
    writer.host("web3", HostPhase.SKIPPED)
    writer.host("db1", HostPhase.SKIPPED)
    writer.end("halted")
    return writer


def rows(text: str) -> list[list[str]]:
    """A table's cells, which are two blanks apart or more."""
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()
    ]


# --- looking ------------------------------------------------------------------------------


def test_no_rollout(say: Say, rollouts: Rollouts) -> None:
    assert say("list") == (0, "there is no rollout yet\n", "")
    assert say("list", "--open") == (0, "no rollout is open\n", "")
    assert say("list", "--json") == (0, "[]\n", "")
    code, out, err = say("show")
    assert (code, out) == (2, "")
    assert err == (
        f"error: there is no rollout in the ledger {rollouts.ledger.db.where}\n"
        "hint: a rollout that was begun on another machine or in another project is in that one's "
        "ledger: this one is a file (for a ledger that machines share, see docs/ledger.md)\n"
    )


def test_list(say: Say, good: Writer, bad: Writer, rollouts: Rollouts) -> None:
    assert rows(say("list")[1]) == [
        ["ROLLOUT", "BEGAN", "OPERATION", "HOSTS", "WAVE", "STATE", "WHO", "CONTROLLER"],
        [BAD, "2026-11-21 03:01:00Z", "upgrade", "4", "1 of 2 halted", "halted", "ann@ctl1",
         "bob@ctl2"],
        [ID, "2026-11-21 03:01:00Z", "upgrade", "4", "1 of 2 done", "left-behind", "ann@ctl1",
         "ann@ctl1"],
    ]  # fmt: skip
    assert [row[0] for row in rows(say("list", "--open")[1])] == ["ROLLOUT", ID]
    assert [row[0] for row in rows(say("list", "--limit", "1")[1])] == ["ROLLOUT", BAD]
    with rollouts.store.hold(ID):
        (row,) = json.loads(say("list", "--open", "--json")[1])
    assert row == {
        "rollout": ID,
        "operation": "upgrade",
        "image": None,
        "policy": "prod",
        "hosts": 4,
        "waves": 2,
        "wave": 1,
        "wave_phase": "done",
        "state": "running",
        "began": "2026-11-21T03:01:00Z",
        "actor": "ann@ctl1",
        "controller": {
            "name": "ann@ctl1",
            "pid": 4711,
            "version": "0.5",
            "since": "2026-11-21T03:01:01Z",
            "alive": True,
        },
        "finished": None,
        "halted": None,
    }
    first, _ = json.loads(say("list", "--json")[1])
    assert (first["state"], first["halted"]) == ("halted", "1 host failed")
    assert first["finished"] == "2026-11-21T03:01:09Z"
    assert first["controller"]["alive"] is False


def test_show_what_waits(say: Say, good: Writer) -> None:
    code, out, err = say("show")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:4] == [
        f"{ID}: upgrade of 4 hosts, policy prod",
        "begun 2026-11-21 03:01:00Z by ann@ctl1",
        "left behind by its controller ann@ctl1 (process 4711), which is gone: "
        f"bootcfleet rollout resume {ID}",
        f"waits: wave 2 (rest) waits for approval (bootcfleet rollout approve {ID})",
    ]
    assert rows("\n".join(lines[4:])) == [
        ["WAVE", "HOSTS", "PHASE", "SINCE", "SO FAR", "NOTE"],
        ["wave 1 (first)", "2", "done", "2026-11-21 03:01:07Z", "2 updated"],
        ["wave 2 (rest)", "2", "waiting", "to be approved"],
    ]


@pytest.mark.parametrize(
    ("entries", "held", "line"),
    [
        ([], False, f"not begun: bootcfleet rollout resume {ID}"),
        ([], True, "running, carried out by a controller"),
        (
            ["started"],
            True,
            "running, carried out by ann@ctl1 (process 4711) since 2026-11-21 03:01:01Z",
        ),
        (
            ["started", "paused"],
            True,
            "paused, carried out by ann@ctl1 (process 4711) since 2026-11-21 03:01:01Z",
        ),
        (
            ["started", "halted"],
            True,
            "halting, carried out by ann@ctl1 (process 4711) since 2026-11-21 03:01:01Z: too bad",
        ),
        (
            ["started", "stopped"],
            False,
            "stopped, carried out by nobody (last by ann@ctl1 (process 4711)): "
            f"bootcfleet rollout resume {ID}",
        ),
        (["started", "finished"], False, "done"),
    ],
)
def test_where_it_stands(
    say: Say, rollouts: Rollouts, entries: list[str], held: bool, line: str
) -> None:
    writer = Writer(rollouts.store)
    body = {
        "paused": {"reason": "lunch"},
        "halted": {"reason": "too bad"},
        "finished": {"outcome": "done"},
    }
    for kind in entries:
        if kind == "started":
            writer.start()
        else:
            writer.write(NewEntry(EntryKind(kind), body=body.get(kind, {})))
    if held:
        with rollouts.store.hold(ID):
            out = say("show")[1]
    else:
        out = say("show")[1]
    assert out.splitlines()[2] == line
    paused = f"waits: it is paused: lunch (bootcfleet rollout resume {ID})"
    assert (paused in out) == ("paused" in entries)


def test_show_what_failed(say: Say, bad: Writer) -> None:
    lines = say("show", BAD)[1].splitlines()
    assert lines[2] == "halted: 1 host failed"
    assert rows(lines[4]) == [
        ["wave 1 (first)", "2", "halted", "2026-11-21 03:01:09Z", "1 updated, 1 failed"]
    ]
    assert rows("\n".join(lines[6:8])) == [
        ["HOST", "WAVE", "PHASE", "MESSAGE"],
        ["web1", "1", "failed", "came back on the old deployment"],
    ]
    assert lines[8:] == [
        "  web1: booted sha256:aaa",
        "  web1: failed units: nginx.service",
    ]


def test_show_a_host(say: Say, bad: Writer) -> None:
    out = say("show", "last", "--host", "web1")[1]
    assert out.splitlines()[:9] == [
        "web1 (wave 1): failed: came back on the old deployment",
        "  plan: upgrade to 1.1 bbbbbbbbbbbb from 1.0 aaaaaaaaaaaa",
        f"  before: {OLD}",
        f"  planned: {NEW}",
        "  fault: came-back-old",
        "  booted sha256:aaa",
        "  boot id: x",
        "  failed units: nginx.service",
        "  journal greenboot: no",
    ]
    assert [row[:1] + row[2:4] for row in rows(out)[9:]] == [
        ["N", "KIND", "HOST"],
        ["3", "host", "web1"],
        ["4", "evidence", "web1"],
    ]
    assert say("show", "-H", "wbe1") == (
        2,
        "",
        f"error: wbe1 is not in the rollout {BAD}\nhint: did you mean 'web1'?\n",
    )


def test_show_as_json(say: Say, bad: Writer) -> None:
    shown = json.loads(say("show", "--json", "--journal")[1])
    assert {key: shown[key] for key in ("rollout", "state", "halted", "outcome", "waits")} == {
        "rollout": BAD,
        "state": "halted",
        "halted": "1 host failed",
        "outcome": "halted",
        "waits": [],
    }
    assert shown["counts"] == {"updated": 1, "failed": 1, "skipped": 2}
    assert shown["waves"][0] == {
        "number": 1,
        "title": "wave 1 (first)",
        "hosts": ["web1", "web2"],
        "phase": "halted",
        "since": "2026-11-21T03:01:09Z",
        "message": "",
        "approve": False,
        "approved": False,
        "counts": {"updated": 1, "failed": 1},
    }
    assert shown["hosts"]["web1"] == {
        "wave": 1,
        "phase": "failed",
        "message": "came back on the old deployment",
        "fault": "came-back-old",
        "evidence": ["booted sha256:aaa\x1b[31m"],
        "found": {
            "host": "web1",
            "boot_id": "x",
            "failed_units": ["nginx.service"],
            "journal": {"greenboot": ["no"]},
        },
        "tries": 0,
        "not_before": None,
        "before": OLD,
        "planned": [NEW],
        "reason": "upgrade to 1.1 bbbbbbbbbbbb from 1.0 aaaaaaaaaaaa",
    }
    assert [entry["number"] for entry in shown["journal"]] == list(range(1, 10))
    assert shown["journal"][-1] == {
        "number": 9,
        "at": "2026-11-21T03:01:09Z",
        "kind": "finished",
        "host": None,
        "actor": "ann@ctl1",
        "body": {"outcome": "halted"},
    }
    one = json.loads(say("show", "--json", "--host", "web2")[1])
    assert list(one["hosts"]) == ["web2"]
    some = json.loads(say("show", "--json", "--host", "db*", "--host", "web[12]")[1])
    assert list(some["hosts"]) == ["db1", "web1", "web2"]
    assert "journal" not in one


def test_show_the_journal(say: Say, bad: Writer) -> None:
    table = rows(say("show", "--journal")[1])[-10:]
    assert table[0] == ["N", "WHEN", "KIND", "HOST", "WHO", "WHAT"]
    assert table[1] == ["1", "2026-11-21 03:01:01Z", "started", "ann@ctl1", "bob@ctl2"]
    assert table[2][2:] == ["wave", "ann@ctl1", "wave 1 running"]
    assert table[3][2:] == ["host", "web1", "ann@ctl1", "failed: came back on the old deployment"]
    assert table[9][2:] == ["finished", "ann@ctl1", "halted"]


def test_ids(say: Say, good: Writer, bad: Writer) -> None:
    assert say("show", "20261121-03")[1].startswith(f"{ID}: ")
    assert say("show", "last")[1].startswith(f"{BAD}: ")
    assert say("show", "2026") == (
        2,
        "",
        f"error: '2026' is the beginning of 2 rollouts\nhint: one of {BAD}, {ID}\n",
    )
    code, _, err = say("pause", f"{ID}x")
    assert code == 2
    assert f"hint: did you mean {ID}? bootcfleet rollout list shows them; " in err


# --- asking -------------------------------------------------------------------------------


def test_pause_and_approve(say: Say, good: Writer, rollouts: Rollouts) -> None:
    with rollouts.store.hold(ID):
        assert say("pause", "--reason", "lunch") == (
            0,
            f"{ID}: paused: nothing more is begun, and what is under way comes to its end\n"
            "its controller ann@ctl1 takes it in within seconds\n",
            "",
        )
    assert say("pause") == (
        1,
        "",
        f"error: the rollout {ID} is paused already: lunch\n"
        f"hint: let it go on: bootcfleet rollout resume {ID}\n",
    )
    assert say("approve", ID, "-m", "looks good") == (
        0,
        f"{ID}: wave 2 (rest) is approved\nnobody carries it out: bootcfleet rollout resume {ID}\n",
        "",
    )
    assert rows(say("show")[1])[-1] == ["wave 2 (rest)", "2", "waiting", "approved"]
    assert say("approve", "--wave", "2")[::2] == (
        1,
        f"error: wave 2 (rest) of the rollout {ID} is approved already\n",
    )
    assert say("approve", "--wave", "7")[::2] == (
        2,
        f"error: the rollout {ID} has no wave 7\nhint: its waves are 1 to 2\n",
    )
    assert say("approve")[0] == 1
    *_, paused, approved = rollouts.store.entries(ID)
    assert (paused.kind, paused.body) == (EntryKind.PAUSED, {"reason": "lunch"})
    assert (approved.kind, approved.body) == (
        EntryKind.APPROVED,
        {"wave": 2, "reason": "looks good"},
    )
    assert approved.actor == current_actor()
    audited = rollouts.ledger.entries(action="rollout")
    assert [(one.action, one.subject, one.outcome, dict(one.details)) for one in audited] == [
        ("rollout.pause", ID, "done", {"reason": "lunch"}),
        ("rollout.approve", ID, "done", {"wave": 2, "reason": "looks good"}),
    ]


def test_pause_without_a_controller(say: Say, good: Writer) -> None:
    assert say("pause")[1].splitlines()[1:] == ["nobody carries it out just now"]


def test_what_is_asked_as_json(say: Say, good: Writer) -> None:
    said = json.loads(say("approve", "--json")[1])
    assert said.pop("entry").pop("body") == {"wave": 2, "reason": ""}
    assert said == {"rollout": ID, "message": "wave 2 (rest) is approved", "taken_in": False}
    code, out, err = say("approve", "--json")
    assert (code, out) == (1, "")
    assert json.loads(err)["error"]["message"] == (
        f"no wave of the rollout {ID} waits for approval"
    )


def test_abort(say: Say, good: Writer, rollouts: Rollouts) -> None:
    code, out, err = say("abort", "--rollback")
    assert (code, out) == (2, "")
    assert err == (
        "error: this changes machines and nobody is there to confirm it\n"
        f"hint: look at it with `bootcfleet rollout show {ID}`, then run it again with --yes\n"
    )
    assert len(rollouts.store.entries(ID)) == 7
    assert say("abort", "-m", "fire")[1].splitlines()[0] == (
        f"{ID}: aborted: nothing more is begun"
    )
    assert say("abort")[::2] == (
        1,
        f"error: the rollout {ID} has halted already: aborted: fire\n"
        "hint: --rollback takes the hosts back that were updated\n",
    )
    assert say("abort", "--rollback", "--yes")[1].splitlines()[0] == (
        f"{ID}: aborted: nothing more is begun, and its updated hosts go back"
    )
    shown = json.loads(say("show", "--json")[1])
    assert (shown["halted"], shown["unwind"]) == ("aborted: fire", True)
    assert [dict(one.details) for one in rollouts.ledger.entries(action="rollout.abort")] == [
        {"reason": "aborted: fire"},
        {"reason": "aborted", "unwind": True},
    ]


def test_retry(say: Say, bad: Writer, rollouts: Rollouts) -> None:
    assert say("retry", "web2", "-y") == (
        1,
        "",
        "error: web2 did not fail: it is updated\n"
        "hint: what can be tried again: hosts that are rolled-back, failed, refused, skipped\n",
    )
    assert say("retry", "wbe1", "-y")[::2] == (
        2,
        f"error: wbe1 is not in the rollout {BAD}\nhint: did you mean 'web1'?\n",
    )
    assert say("retry", "web1")[0] == 2
    assert json.loads(say("list", "--open", "--json")[1]) == []
    assert say("retry", "web1", "--yes", "--rollout", BAD, "-m", "disk replaced") == (
        0,
        f"{BAD}: web1 is to be tried again, and 2 others that the halt stopped\n"
        f"nobody carries it out: bootcfleet rollout resume {BAD}\n",
        "",
    )
    (row,) = json.loads(say("list", "--open", "--json")[1])
    assert (row["state"], row["finished"]) == ("stopped", None)
    assert (row["wave_phase"], row["halted"]) == ("running", None)
    (audited,) = rollouts.ledger.entries(action="rollout.retry")
    assert audited.details == {"host": "web1", "reason": "disk replaced"}


def test_retry_all(say: Say, bad: Writer) -> None:
    assert say("retry", "-y")[1].startswith(f"{BAD}: 3 hosts are to be tried again\n")
    assert say("retry", "-y")[0] == 1


def test_an_ended_rollout(say: Say, bad: Writer) -> None:
    for words in (["pause"], ["approve"], ["abort"], ["abort", "--rollback", "-y"]):
        code, out, err = say(*words)
        assert (code, out) == (1, "")
        assert err == (
            f"error: the rollout {BAD} has ended (halted): there is nothing to {words[0]}\n"
            f"hint: what came of it: bootcfleet rollout show {BAD}\n"
        )


def test_neither_is_written_when_one_cannot_be(
    say: Say, good: Writer, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal and the ledger's entry are one transaction."""
    from bootcfleet.drivers.ledger import Ledger
    from bootcfleet.errors import FleetError

    def full(*_: object, **__: object) -> None:
        raise FleetError("the disk is full")

    monkeypatch.setattr(Ledger, "record", full)
    assert say("pause") == (1, "", "error: the disk is full\n")
    assert len(rollouts.store.entries(ID)) == 7


def test_a_damaged_journal(say: Say, good: Writer, rollouts: Rollouts) -> None:
    good.write(NewEntry(EntryKind.HOST, "web1", {"phase": "asleep"}))
    code, out, err = say("show")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: entry 8 of rollout {ID} cannot be read\n")
    assert "Traceback" not in err
    assert say("list")[0] == 0


# --- which one is meant -------------------------------------------------------------------


def test_without_an_id_it_is_the_one_that_can_be_meant(
    say: Say, good: Writer, bad: Writer, rollouts: Rollouts
) -> None:
    """The last one has ended: the one that is open is older."""
    assert say("pause")[1].startswith(f"{ID}: paused")
    third = "20261121-050100-e5f6"
    Writer(rollouts.store, a_rollout(third)).start()
    assert say("abort") == (
        2,
        "",
        "error: 2 rollouts are open\n"
        f"hint: say which: {third}, {ID} (bootcfleet rollout list --open)\n",
    )
    with rollouts.store.hold(ID):
        assert say("approve")[1].startswith(f"{ID}: wave 2 (rest) is approved")
    with rollouts.store.hold(ID), rollouts.store.hold(third):
        assert say("abort")[0] == 2
        assert say("pause", third[:13])[0] == 0
    assert say("approve", "last")[0] == 1
    assert say("abort", ID)[0] == 0


def test_without_an_open_one_it_is_the_last(say: Say, bad: Writer) -> None:
    assert say("watch") == (
        4,
        f"{BAD}: halted: 1 host failed\n",
        f"error: the rollout {BAD} was halted: 1 host failed\n"
        f"hint: see why: bootcfleet rollout show {BAD}; when the cause is gone: bootcfleet rollout "
        f"retry --rollout {BAD}\n",
    )
    assert say("retry", "web1", "-y")[1].startswith(f"{BAD}: web1 is to be tried again, and 2 ")


def test_choosing_one_to_resume(good: Writer, rollouts: Rollouts) -> None:
    from bootcfleet.errors import UsageError
    from bootcfleet.ops.rollouts import choose

    assert choose(rollouts, None, idle=True) == ID
    running = Writer(rollouts.store, a_rollout("running"))
    running.start()
    with rollouts.store.hold("running"):
        assert choose(rollouts, None, idle=True) == ID
        assert choose(rollouts, None) == "running"
        running.write(NewEntry(EntryKind.PAUSED))
        with pytest.raises(UsageError, match="2 rollouts are open"):
            choose(rollouts, None, idle=True)
        with rollouts.store.hold(ID):
            assert choose(rollouts, None, idle=True) == "running"
