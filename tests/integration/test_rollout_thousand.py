"""A thousand hosts, of which one in fifty has each fault of the lab, and a budget for each cluster.

Without their SSH servers; `test_rollout_thousand_ssh.py` has them, and comes to the end.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bootcfleet.domain.faults import Fault
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_policy import Budgets
from bootcfleet.drivers.ledger import Ledger
from tests.faultfleet import FaultFleet, When, laws
from tests.ops.test_rollout_faults import TOLERANT

pytestmark = pytest.mark.integration

HOSTS = 1000
EACH = HOSTS // 50


def test_ends_explained_and_within_the_budgets_of_clusters() -> None:
    chance = random.Random(20261121)
    names = [f"h{n:04}" for n in range(HOSTS)]
    labels = {name: {"cluster": f"c{n // 4}"} for n, name in enumerate(names)}
    broken = chance.sample(names, EACH * len(Fault))
    faults = {
        name: (list(Fault)[n // EACH], chance.choice(list(When))) for n, name in enumerate(broken)
    }
    budgets = Budgets(
        max_failures=Limit(HOSTS),
        max_unavailable=Limit(500),
        group_by=("cluster",),
        per_group=Limit(3),
    )
    policy = replace(TOLERANT, batch=Limit(250), budgets=budgets)
    with TemporaryDirectory(dir="/dev/shm") as directory:
        ledger = Ledger.open("sqlite:///ledger.db", base=Path(directory))
        fleet = FaultFleet(ledger, names, faults, labels=labels)
        end = fleet.play(policy)
        laws(fleet, end, policy)
        ledger.close()
    # Sooner or later three of one cluster are lost, and it can only stop.
    assert end.outcome == "halted"
    assert "max_unavailable_per_group: cluster=" in (end.halted or "")
    ends = Counter(end.state(name).phase for name in names if name not in faults)
    assert set(ends) == {HostPhase.UPDATED, HostPhase.SKIPPED}, ends
