"""A thousand hosts, of which one in fifty has each fault of the lab."""

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


@pytest.mark.parametrize(
    ("budgets", "outcome"),
    [
        (Budgets(max_failures=Limit(HOSTS), max_unavailable=Limit(500)), "failed"),
        # Sooner or later three of one cluster are lost, and it can only stop.
        (
            Budgets(
                max_failures=Limit(HOSTS),
                max_unavailable=Limit(500),
                group_by=("cluster",),
                per_group=Limit(3),
            ),
            "halted",
        ),
    ],
    ids=["to the end", "clusters"],
)
def test_ends_explained_and_within_its_budgets(budgets: Budgets, outcome: str) -> None:
    chance = random.Random(20261121)
    names = [f"h{n:04}" for n in range(HOSTS)]
    labels = {name: {"cluster": f"c{n // 4}"} for n, name in enumerate(names)}
    broken = chance.sample(names, EACH * len(Fault))
    faults = {
        name: (list(Fault)[n // EACH], chance.choice(list(When))) for n, name in enumerate(broken)
    }
    policy = replace(TOLERANT, batch=Limit(250), budgets=budgets)
    with TemporaryDirectory(dir="/dev/shm") as directory:
        ledger = Ledger.open("sqlite:///ledger.db", base=Path(directory))
        fleet = FaultFleet(ledger, names, faults, labels=labels)
        end = fleet.play(policy)
        laws(fleet, end, policy)
        ledger.close()
    assert end.outcome == outcome
    ends = Counter(end.state(name).phase for name in names if name not in faults)
    if outcome == "failed":
        assert set(ends) == {HostPhase.UPDATED}, ends
    else:
        assert "max_unavailable_per_group: cluster=" in (end.halted or "")
        assert set(ends) == {HostPhase.UPDATED, HostPhase.SKIPPED}, ends
