"""`fleet locks` and `fleet unlock` on a lab."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers import hostlock
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.ops.connect import over_ssh
from bootcfleet.ops.lab import Lab

LOCK = f"{hostlock.DIRECTORY}/lock.json"


@dataclass
class Rig:
    """A lab of three hosts, and the commands on it."""

    lab: Lab
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str, ends: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        line = ["fleet", words[0], "-i", str(self.lab.inventory_path), *words[1:]]
        code = run(line)
        said = self.capsys.readouterr()
        assert code == ends, f"{line}: {code}\n{said.out}\n{said.err}"
        return said.out, said.err

    def lock(self, name: str, rollout: str, *, stale: bool = False) -> None:
        fleet = over_ssh(load_inventory(self.lab.inventory_path, LocalExecutor()).hosts, str)
        try:
            hostlock.take(
                fleet.executor(name), name, rollout=rollout, owner="ann@ctl", seconds=600,
                controller="ctl",
            )  # fmt: skip
        finally:
            fleet.close()
        if stale:
            files = self.lab.hosts[name].files
            files[LOCK] = re.sub(rb'"expires": \d+', b'"expires": 1000', files[LOCK])

    def locked(self) -> list[str]:
        return [name for name, host in self.lab.hosts.items() if LOCK in host.files]

    def ledger(self) -> list[tuple[str, str, str]]:
        self.capsys.readouterr()
        assert run(["audit", "--action", "fleet.unlock", "--json"]) == 0
        entries = json.loads(self.capsys.readouterr().out)
        return [(e["subject"], e["outcome"], e["details"]["rollout"]) for e in entries]


@pytest.fixture
def rig(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Rig:
    lab.start_hosts(3, image=lab.seed(), boot_seconds=0.1)
    return Rig(lab, capsys)


def test_nothing_is_locked(rig: Rig) -> None:
    assert rig("locks")[0] == "no host is locked\n"
    assert rig("unlock", "host1", "--yes")[0] == "no host is locked\n"
    assert rig.ledger() == []


def test_locks_are_shown(rig: Rig) -> None:
    rig.lock("host1", "r1")
    rig.lock("host2", "r2", stale=True)
    rig.lab.break_host("host3", "unreachable")
    header, *rows = rig("locks", ends=1)[0].splitlines()
    assert header.split() == ["HOST", "ROLLOUT", "OWNER", "ON", "SINCE", "UNTIL", "LOCK"]
    assert [row.split()[:4] for row in rows[:2]] == [
        ["host1", "r1", "ann@ctl", "ctl"],
        ["host2", "r2", "ann@ctl", "ctl"],
    ]
    assert [row.split()[-1] for row in rows[:2]] == ["live", "stale"]
    assert rows[2].startswith("host3")
    assert "error: " in rows[2]
    found = json.loads(rig("locks", "--json", ends=1)[0])
    assert [one["host"] for one in found] == ["host1", "host2", "host3"]
    assert found[0]["lock"]["rollout"] == "r1"
    assert found[0]["lock"]["stale"] is False
    assert found[1]["lock"]["expires"] == "1970-01-01T00:16:40+00:00"
    assert found[2]["lock"] is None
    assert found[2]["error"]["fault"] == "unreachable"


def test_a_stale_lock_is_broken_and_a_live_one_is_not(rig: Rig) -> None:
    rig.lock("host1", "r1")
    rig.lock("host2", "r2", stale=True)
    out, err = rig("unlock", "host*", "--yes", ends=1)
    assert "host2: unlocked\n" in out
    assert "error: the lock of host1 has not expired\n" in err
    assert "--force" in err
    assert rig.locked() == ["host1"]
    assert rig.ledger() == [("host2", "started", "r2"), ("host2", "done", "r2")]
    out, _ = rig("unlock", "-l", "role=web", "--force", "--yes")
    assert "host1: unlocked" in out
    assert rig.locked() == []


def test_it_says_which_hosts_and_asks(rig: Rig) -> None:
    rig.lock("host1", "r1", stale=True)
    assert "which hosts" in rig("unlock", "--yes", ends=2)[1]
    out, err = rig("unlock", "host1", ends=2)
    assert "stale" in out
    assert "this changes who may roll these hosts" in err
    assert rig.locked() == ["host1"]
    assert rig.ledger() == []


def test_unlock_as_json(rig: Rig) -> None:
    rig.lock("host1", "r1", stale=True)
    (host1, host2) = json.loads(rig("unlock", "host1", "host2", "--yes", "--json")[0])
    assert (host1["broken"], host1["error"], host1["lock"]["rollout"]) == (True, None, "r1")
    assert (host2["broken"], host2["lock"]) == (False, None)


def test_a_lock_that_cannot_be_read_needs_force(rig: Rig) -> None:
    rig.lab.hosts["host1"].files[LOCK] = b"{broken"
    assert "cannot be read" in rig("locks")[0]
    rig("unlock", "host1", "--yes", ends=1)
    rig("unlock", "host1", "--yes", "--force")
    assert rig.locked() == []


def test_a_lock_that_changes_hands_meanwhile_stays(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.lock("host1", "r1")
    before = hostlock.break_lock

    def late(executor, host, **more):  # type: ignore[no-untyped-def]
        files = rig.lab.hosts["host1"].files
        files[LOCK] = files[LOCK].replace(b'"r1"', b'"r2"')
        return before(executor, host, **more)

    monkeypatch.setattr(hostlock, "break_lock", late)
    out, _ = rig("unlock", "host1", "--force", "--yes", ends=1)
    assert "host1: error: its lock has changed hands: rollout r2" in out
    assert rig.locked() == ["host1"]
    assert rig.ledger() == [("host1", "started", "r1"), ("host1", "failed", "r1")]
