"""A controller that was suspended, and whose rollout another machine has taken up: PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.ops.lab import Lab
from tests.integration.test_rollout_resume_postgresql import lab
from tests.integration.test_rollouts_postgresql import checkout, cli, environment, wait_until

__all__ = ["lab"]

pytestmark = pytest.mark.integration

CUT = sa.text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("phase", ["staged", "rebooting", "updated"])
def test_wakes_up_and_leaves_the_hosts_to_the_other(
    lab: Lab,  # noqa: F811 - the fixture
    empty_database: str,
    tmp_path: Path,
    phase: str,
) -> None:
    here = checkout(tmp_path / "here", empty_database)
    there = checkout(tmp_path / "there", empty_database)
    store = RolloutStore.open_url(empty_database, base=tmp_path)
    words = ["fleet", "upgrade", "-i", str(lab.inventory_path), "--yes"]
    suspended = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", *words],
        cwd=here, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def phases() -> set[str]:
        found = store.all()
        entries = store.entries(found[0][0].id) if found else []
        return {str(entry.body.get("phase")) for entry in entries if entry.host}

    try:
        wait_until(lambda: phase in phases())
        suspended.send_signal(signal.SIGSTOP)
        rollout = store.find().id
        with store.db.engine.connect() as connection:
            assert connection.execute(CUT).scalar()
        wait_until(lambda: not store.held(rollout))
        done = cli(there, "resume", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        after = [list(host["history"]) for host in lab.status()]
        suspended.send_signal(signal.SIGCONT)
        _, err = suspended.communicate(timeout=120)
        time.sleep(1)
    finally:
        suspended.kill()
        suspended.communicate()
    # It says so, or has read in the journal that the other one is through.
    assert suspended.returncode == 0 or "taken" in err, err
    assert [list(host["history"]) for host in lab.status()] == after
    assert [host["reboots"] for host in lab.status()] == [1, 1, 1, 1]
    assert {str(host["booted"]) for host in lab.status()} == {"1.1"}
    ledger = Ledger.open(empty_database, base=tmp_path)
    assert ledger.verify() is None
    hosts = [entry.subject for entry in ledger.entries(action="fleet.upgrade.host")]
    assert sorted(hosts) == ["h1", "h2", "h3", "h4"]
    ledger.close()
    store.close()
