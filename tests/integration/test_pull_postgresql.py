"""A rollout in pull mode with its ledger in PostgreSQL, taken up on another machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.drivers.labregistry import LabRegistry
from tests.integration.postgresqlserver import crash, start_again
from tests.ops.test_pull_kill import GOOD, WORKER, carry, ended
from tests.pullfleet import PullFleet

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


def test_killed_here_and_ended_there(lab: LabRegistry, empty_database: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    address = f"{lab.address}/machines"
    PullFleet.make(here, address, count=2, ledger=empty_database)
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(here), address, "2"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    # The project as it is in git, and nothing of what the other machine has beside it.
    there.mkdir()
    shutil.copy(here / "bootcfleet.yaml", there)
    shutil.rmtree(here)
    fleet = PullFleet.reopen(there, address)
    assert fleet.tags() == ["2", "2", "1"]
    fleet.fire()
    carry(fleet)
    assert ended(fleet) == GOOD


@pytest.mark.parametrize("after", [1, 2, 3])
def test_the_database_is_restarted_meanwhile(
    lab: LabRegistry, empty_database: str, tmp_path: Path, after: int
) -> None:
    """The lock ends with the connection, and the rollout does not."""
    fleet = PullFleet.make(
        tmp_path / "acme", f"{lab.address}/restart{after}", count=2, ledger=empty_database
    )
    fire, down = fleet.fire, [False]

    def restart() -> None:
        if len(fleet.slept) == after:
            crash()
            down[0] = True
        if len(fleet.slept) == after + 4:
            start_again()
            down[0] = False
        fire()

    fleet.fire = restart  # type: ignore[method-assign]
    try:
        carry(fleet)
    finally:
        if down[0]:
            start_again()
    fleet.fire = fire  # type: ignore[method-assign]
    assert len(fleet.slept) >= after + 4
    assert ended(fleet) == GOOD
    assert [event.kind for event in fleet.project.events].count("rollout.retry") >= 3
