"""Pull rollouts over hosts that misbehave in every way: what always holds."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootcfleet.domain.channel import check_history
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.pull_policy import needed
from bootcfleet.domain.rollout_journal import EntryKind
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.errors import FleetError
from bootcfleet.ops.rollout_pull import start_pull
from tests import machines
from tests.pullfleet import ID, NAMES, Follower, PullFleet

NUMBERS = itertools.count()


class Odd(Follower):
    """A follower with a fault of its own."""

    fault = "good"

    def follow(self, digest: str) -> None:
        """What its timer does, and what goes wrong then."""
        moves = self.timer and digest != self.booted
        match self.fault:
            case "stuck":
                return
            case "gone" if moves:
                self.down, self.never_returns = 1, True
                return
            case "old" if moves:
                # The new one does not boot, or greenboot takes it back: tried again each time.
                super().follow(digest)
                self.booted, self.rollback = self.rollback or self.booted, self.booted
                return
            case "theirs" if moves:
                super().follow(machines.OTHER)
                return
            case "rebooted" if self.reboots == 0:
                self.reboot()
                self.down = 0
                return
        super().follow(digest)


FAULTS = ["good", "good", "good", "good", "stuck", "gone", "old", "theirs", "sick", "rebooted"]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    faults=st.lists(st.sampled_from(FAULTS), min_size=12, max_size=12),
    offline=st.sets(st.integers(0, 11), max_size=2),
    sample=st.integers(1, 4),
    success=st.sampled_from([50, 75, 100]),
    bake=st.sampled_from([0.0, 6.0]),
)
def test_it_ends_whole_whatever_its_hosts_do(
    lab: LabRegistry,
    faults: list[str],
    offline: set[int],
    sample: int,
    success: int,
    bake: float,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = PullFleet.make(Path(folder) / "acme", f"{lab.address}/p{next(NUMBERS)}", count=4)
        old = fleet.tag("prod")
        new = fleet.tag("test")
        assert old
        assert new
        for number, (host, fault) in enumerate(zip(list(fleet.machines), faults, strict=True)):
            plain = fleet.machines[host]
            odd = Odd(host, booted=plain.booted, reference=plain.reference)
            odd.fault = fault
            odd.sick_on = frozenset({new}) if fault == "sick" else frozenset()
            odd.timer = number not in offline
            fleet.machines[host] = odd
        with fleet.tools() as tools:
            plan = fleet.plan(tools, sample=Limit(sample), success=success, bake=bake, poll=10.0)
            try:
                end = start_pull(tools, plan)
            except FleetError as error:
                # Too few of a channel can be asked: it stays open, and nothing is half-way.
                assert "of its hosts can be asked" in str(error)
                assert len(offline) > 0
                end = None
            entries = tools.store.entries(ID)
            for name in NAMES:
                assert check_history(tools.channels.store.history("web", name)) is None
            assert tools.channels.store.open_intents() == ()
        histories = [fleet.history(name) for name in NAMES]
        if end is not None and end.outcome == "done":
            assert histories == [["1", "2"]] * 3
            assert fleet.tags() == ["2"] * 3
        elif end is not None:
            assert end.outcome == "halted"
            assert fleet.tags() == ["1"] * 3
            assert all(history in (["1"], ["1", "2", "1"]) for history in histories)
        # One channel after the other, each only after its sample was good, really.
        done = [e for e in entries if e.kind is EntryKind.WAVE and e.body["phase"] == "done"]
        begun = [e for e in entries if e.kind is EntryKind.WAVE and e.body["phase"] == "running"]
        assert [e.body["wave"] for e in begun] == list(range(1, len(begun) + 1))
        assert len(begun) <= len(done) + 1
        for entry in done:
            index = entry.body["wave"] - 1
            asked = begun[index].body["sample"]
            fine = [host for host in asked if fleet.machines[host].fault in ("good", "rebooted")]  # type: ignore[attr-defined]
            assert len(fine) >= needed(plan.channels[index], plan.wanted(plan.channels[index]))
        # Nobody outside of the sample and its substitutes was spoken to, or was moved before.
        for index, name in enumerate(NAMES):
            asked_here = {host for host in fleet.contacts if host.startswith(f"{name}-h")}
            assert len(asked_here) <= 2 * plan.wanted(plan.channels[index])
            if index >= len(begun):
                assert set(fleet.versions(name)) == {"1"}
