"""A thousand hosts behind SSH servers, of which one in fifty has each fault of the lab.

The lab is a process of its own and so is the controller; between them are TCP connections, and
nothing else.  What became of the hosts is read from what they wrote down themselves.

Most of the time is spent on those that do not come back.  $ROLLOUT_HOSTS is another number of
hosts, a multiple of 50.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootcfleet.domain.faults import NUMBERED, Fault, FaultSpec
from bootcfleet.domain.reference import Digest
from bootcfleet.domain.rollout import ENDS, FAILURES, HostPhase, HostState, Rollout, Target
from bootcfleet.domain.rollout_replay import replay
from bootcfleet.drivers.labcontrol import Running
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.drivers.simrecord import HistoryEntry, What
from bootcfleet.errors import HostFault
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.project import load_project
from tests.cli.test_fleet import CREATED
from tests.faultfleet import OF_ITS_OWN, When, most_at_once

# A hundred seconds, where nobody else wants the machine.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

HOSTS = int(os.environ.get("ROLLOUT_HOSTS", "1000"))
EACH = HOSTS // 50

#: What a fault's number is here: seconds, or how often.
NUMBERS = {
    Fault.RETURNS_AFTER: 2.0,
    Fault.CLOCK_SKEW: 7200.0,
    Fault.REGISTRY_5XX: 2.0,
    Fault.RATE_LIMITED: 2.0,
    Fault.SLOW_PULL: 1.0,
    Fault.LOCK_HELD_FOR: 1.0,
}
assert set(NUMBERS) == set(NUMBERED)

POLICY = """
version: 1
name: acme
registry: {registry}/acme
rollouts:
  own:
    waves:
      - {{name: canary, selector: role=web, limit: 1%}}
      - {{name: amsterdam, selector: site=ams}}
    batch: 100%
    budgets:
      max_failures: 100%
      max_unavailable: 18%
      group_by: [site]
      max_unavailable_per_group: 20%
      downloads: 80
      reboots: 80
    timeouts: {{stage: 15s, boot: 15s, settle: 60s, hook: 60s}}
    retries: {{attempts: 2, first: 1s, most: 2s}}
    drain: [{{remote: [drain]}}]
    undrain: [{{remote: [undrain]}}]
    on_failure: rollback
"""


class Fleet:
    """The hosts in their lab, and a controller that moves them while they break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = self.up()
        self.inventory = folder / ".bootcfleet/lab/inventory.yaml"
        body = yaml.load(self.inventory.read_text(), yaml.CSafeLoader)
        self.hosts: dict[str, Any] = body["hosts"]
        registry = self.lab.ask("status")["registry"]
        (folder / "bootcfleet.yaml").write_text(POLICY.format(registry=registry))
        self.targets = {
            role: push_image(
                registry, f"lab/{role}", "stable", version="2.0", files={"v": b"2"}, created=CREATED
            )
            for role in ("web", "database")
        }
        self.struck: set[str] = set()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "bootcfleet", *words]

    def up(self) -> Running:
        words = ["lab", "up", "-n", str(HOSTS), "--boot-seconds", "0.5", "--timer", "1", "--detach"]
        subprocess.run(self.command(*words), check=True, capture_output=True)
        found = Running.read(self.folder / ".bootcfleet/lab")
        assert found is not None
        return found

    def upgrade(self, faults: Mapping[str, tuple[Fault, When]]) -> tuple[int, str]:
        """Its exit code and what it wrote on standard error."""
        self.reach(faults, When.PLAN)
        words = ["fleet", "upgrade", "-i", str(self.inventory), "--policy", "own"]
        words += ["--parallel", "200", "--accept", "usr-unlocked", "--yes", "--json"]
        with (self.folder / "errors").open("w+") as errors:
            process = subprocess.Popen(
                self.command(*words), stdout=subprocess.PIPE, stderr=errors, text=True
            )
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    event = json.loads(line)
                    if event["kind"] == "rollout.planned":
                        self.reach(faults, When.BEGIN)
                    name = event.get("subject")
                    moment = event["kind"].removeprefix("host.")
                    if moment == "problem" and faults.get(name, ("",))[0] is Fault.LOCK_HELD:
                        # Its admin ends what held the lock: else each look would wait a minute.
                        self.lab.ask("heal", host=name)
                    if name in faults and faults[name][1] == moment:
                        self.strike(name, faults[name][0])
                code = process.wait()
            finally:
                process.kill()
                process.wait()
            errors.seek(0)
            return code, errors.read()

    def reach(self, faults: Mapping[str, tuple[Fault, When]], when: When) -> None:
        for name, (fault, moment) in faults.items():
            if moment is when:
                self.strike(name, fault)

    def strike(self, name: str, fault: Fault) -> None:
        """Break a host, once."""
        if name not in self.struck:
            self.struck.add(name)
            self.lab.ask("break", host=name, fault=str(FaultSpec(fault, NUMBERS.get(fault, 0.0))))

    def target(self, name: str) -> Digest:
        return self.targets[self.hosts[name]["labels"]["role"]]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    try:
        yield Fleet(tmp_path)
    finally:
        subprocess.run([sys.executable, "-m", "bootcfleet", "lab", "down"], check=False)


def moment(chance: random.Random, fault: Fault) -> When:
    """When a host breaks; a lock that nobody lets go of keeps a look waiting for minutes."""
    if fault is Fault.LOCK_HELD:
        return When.BEGIN
    return chance.choice([when for when in When if when is not When.REVERT])


def test_every_fault_among_healthy_hosts(fleet: Fleet) -> None:
    chance = random.Random(20261121)
    broken = chance.sample(list(fleet.hosts), EACH * len(Fault))
    kinds = [fault for fault in Fault for _ in range(EACH)]
    faults = {
        name: (fault, moment(chance, fault)) for name, fault in zip(broken, kinds, strict=True)
    }
    code, errors = fleet.upgrade(faults)
    assert code == 1, errors
    assert "Traceback" not in errors
    assert fleet.struck == set(faults)
    with closing(open_ledger(load_project(fleet.folder))) as ledger:
        assert ledger.verify() is None
        store = RolloutStore.open(ledger.db)
        record = store.find()
        end = replay(record, store.entries(record.id))
        audit = {entry.subject for entry in ledger.entries() if entry.action.endswith(".host")}
    assert (end.outcome, end.halted) == ("failed", None)
    seen = {host["host"]: Seen(host) for host in fleet.lab.ask("status")["hosts"]}
    # What moves by its own timer does so in nobody's wave and within nobody's budget.
    ours = {n: h for n, h in seen.items() if n not in faults or faults[n][0] not in OF_ITS_OWN}
    for name, host in seen.items():
        shown = f"{name}: {faults.get(name)} {end.state(name)} {host.history}"
        explained(end, name, shown)
        if name in end.targets and end.state(name).phase is not HostPhase.REFUSED:
            assert name in audit, shown
        if name in ours:
            moved(end.state(name), end.targets.get(name), host, str(fleet.target(name)), shown)
        if name not in faults:
            assert end.state(name).phase is HostPhase.UPDATED, shown
            assert [w for w in host.order if w in ROUND] == ROUND, shown
    within_budgets(end, ours)
    in_waves(end, ours, faults)


#: What a host that is well goes through.
ROUND = [What.DRAINED, What.DOWN, What.UP, What.UNDRAINED]


class Seen:
    """What the lab says of a host, and what the host wrote down itself."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.digest: str = body["digest"]
        self.reboots: int = body["reboots"]
        self.history = [
            HistoryEntry(e["at"], e["monotonic"], What(e["what"]), e["detail"])
            for e in body["history"]
        ]
        self.order = [entry.what for entry in self.history]

    def times(self, what: What) -> list[float]:
        return [entry.monotonic for entry in self.history if entry.what is what]


def explained(end: Rollout, name: str, shown: str) -> None:
    """Every host has come to an end, and there is a reason for those that were not updated."""
    state = end.state(name)
    assert state.phase in ENDS, shown
    if state.phase not in (HostPhase.UPDATED, HostPhase.UNCHANGED):
        assert state.message, shown
    if state.phase in (HostPhase.FAILED, HostPhase.REFUSED):
        assert state.fault is not None, shown
    if state.phase in FAILURES and state.fault is HostFault.HEALTH_FAILED:
        assert name in end.evidence, shown


def moved(state: HostState, plan: Target | None, host: Seen, target: str, shown: str) -> None:
    """What was said of a host is what it runs, and it was not rebooted once too often."""
    assert host.order.count(What.DOWN) == host.reboots, shown
    drained = [*host.order, What.DRAINED].index(What.DRAINED)
    assert What.DOWN not in host.order[:drained], shown
    back = state.phase is HostPhase.ROLLED_BACK
    by_itself = state.fault is HostFault.GREENBOOT
    assert host.reboots <= (2 if back or by_itself or state.bad_boot_id else 1), shown
    if state.phase is HostPhase.UPDATED:
        assert (host.digest, host.reboots) == (target, 1), shown
    if back:
        assert plan is not None
        assert (host.digest, host.reboots) == (plan.before, 2), shown
    if state.phase in (HostPhase.REFUSED, HostPhase.SKIPPED):
        assert host.reboots == 0, shown


def within_budgets(end: Rollout, ours: Mapping[str, Seen]) -> None:
    """At no instant were more hosts away than the policy allows."""
    budgets = end.policy.budgets
    assert budgets.max_unavailable is not None
    assert budgets.per_group is not None
    most = budgets.max_unavailable.at_most(len(end.hosts))
    assert most_at_once([host.history for host in ours.values()]) <= most
    for site in ("ams", "fra"):
        there = [name for name, host in end.hosts.items() if host.labels["site"] == site]
        most = budgets.per_group.at_most(len(there))
        assert most_at_once([ours[name].history for name in there if name in ours]) <= most, site


def in_waves(end: Rollout, ours: Mapping[str, Seen], faults: Collection[str]) -> None:
    """No host went down before the healthy ones of the wave before were back."""
    assert len(end.waves) == 3
    for before, after in pairwise(end.waves):
        done = [t for name in before.hosts if name not in faults for t in ours[name].times(What.UP)]
        begun = [t for n in after.hosts if n in ours for t in ours[n].times(What.DOWN)]
        assert max(done) < min(begun)
