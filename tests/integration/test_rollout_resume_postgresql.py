"""A rollout whose controller is killed on one machine is taken up on another: PostgreSQL, SSH."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.rollout_journal import EntryKind
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.ops.lab import Lab, LabHost
from tests.integration.postgresqlserver import crash, start_again, wait_until
from tests.integration.test_rollouts_postgresql import checkout, cli, environment

pytestmark = pytest.mark.integration

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        publish(lab, "1.0")
        image = f"{lab.registry_address}/acme/web:prod"
        hosts = [LabHost(f"h{n}", image, {"role": "web"}, ("web",)) for n in range(1, 5)]
        lab.start_hosts(hosts, image=image, boot_seconds=1.5)
        publish(lab, "1.1")
        yield lab


def publish(lab: Lab, version: str) -> None:
    files = {"version": version.encode()}
    push_image(
        lab.registry_address, "acme/web", "prod", version=version, files=files, created=CREATED
    )


@pytest.mark.parametrize("phase", ["rebooting", "updated"])
def test_killed_here_and_resumed_there(
    lab: Lab, empty_database: str, tmp_path: Path, phase: str
) -> None:
    here = checkout(tmp_path / "here", empty_database)
    there = checkout(tmp_path / "there", empty_database)
    store = RolloutStore.open_url(empty_database, base=tmp_path)
    inventory = str(lab.inventory_path)
    controller = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "fleet", "upgrade", "-i", inventory, "--yes"],
        cwd=here,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def phases() -> set[str]:
        found = store.all()
        entries = store.entries(found[0][0].id) if found else []
        return {str(entry.body.get("phase")) for entry in entries if entry.host}

    try:
        wait_until(lambda: phase in phases())
        # It lives, and does nothing more: what is looked at meanwhile takes its time.
        controller.send_signal(signal.SIGSTOP)
        (row,) = json.loads(cli(there, "list", "--json").stdout)
        assert row["state"] == "running"
        assert cli(there, "resume", "--yes").returncode == 1
    finally:
        controller.kill()
        controller.communicate()
    rollout = store.find().id
    wait_until(lambda: not store.held(rollout))
    done = cli(there, "resume", "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {str(host["booted"]) for host in lab.status()} == {"1.1"}
    assert [host["reboots"] for host in lab.status()] == [1, 1, 1, 1]
    (row,) = json.loads(cli(here, "list", "--json").stdout)
    assert row["state"] == "done"
    ledger = Ledger.open(empty_database, base=tmp_path)
    assert ledger.verify() is None
    hosts = [entry.subject for entry in ledger.entries(action="fleet.upgrade.host")]
    assert sorted(hosts) == ["h1", "h2", "h3", "h4"]
    assert [entry.outcome for entry in ledger.entries(subject=rollout)] == [
        "started",
        "started",
        "done",
    ]
    ledger.close()
    store.close()


def test_two_that_resume_at_once(lab: Lab, empty_database: str, tmp_path: Path) -> None:
    """Both see a rollout that nobody carries out: one gets it."""
    folders = [checkout(tmp_path / name, empty_database) for name in ("one", "two")]
    store = RolloutStore.open_url(empty_database, base=tmp_path)
    controller = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "fleet", "upgrade", "-i", str(lab.inventory_path),
         "--yes"],
        cwd=folders[0], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: bool(store.all()) and store.all()[0][1].entries > 2)
    finally:
        controller.kill()
        controller.communicate()
    rollout = store.find().id
    wait_until(lambda: not store.held(rollout))
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "bootcfleet", "rollout", "resume", "--yes"],
            cwd=folder, env=os.environ | environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for folder in folders
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 1], [0, 0]), said
    if codes == [0, 1]:
        (_, err) = said[0 if both[0].returncode else 1]
        assert "another controller" in err or "carried out by" in err or "has ended" in err
    assert [host["reboots"] for host in lab.status()] == [1, 1, 1, 1]
    store.close()


@pytest.mark.parametrize("phase", ["staging", "rebooting"])
def test_the_database_crashes_during_a_rollout(
    lab: Lab, empty_database: str, tmp_path: Path, phase: str
) -> None:
    """The controller begins nothing while it is away, and goes on when it is back."""
    here = checkout(tmp_path / "here", empty_database)
    store = RolloutStore.open_url(empty_database, base=tmp_path)
    controller = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "fleet", "upgrade", "-i", str(lab.inventory_path),
         "--yes"],
        cwd=here, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_until(
            lambda: any(
                entry.body.get("phase") == phase
                for record, _ in store.all()
                for entry in store.entries(record.id)
            )
        )
        crash()
        try:
            time.sleep(2)
            assert controller.poll() is None
        finally:
            start_again()
        out, _ = controller.communicate(timeout=300)
    finally:
        controller.kill()
        controller.communicate()
    assert controller.returncode == 0, out
    assert {str(host["booted"]) for host in lab.status()} == {"1.1"}
    assert [host["reboots"] for host in lab.status()] == [1, 1, 1, 1]
    ((record, summary),) = store.all()
    assert not summary.unfinished
    phases: dict[str, list[str]] = {}
    for entry in store.entries(record.id):
        if entry.kind is EntryKind.HOST:
            phases.setdefault(entry.host, []).append(str(entry.body["phase"]))
    for host, seen in phases.items():
        assert seen.count("updated") == 1, (host, seen)
    ledger = Ledger.open(empty_database, base=tmp_path)
    assert ledger.verify() is None
    assert len(ledger.entries(action="fleet.upgrade.host")) == 4
    ledger.close()
    store.close()
