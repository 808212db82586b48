"""Waves and decisions for 100,000 hosts: seconds of CPU, and whether they are linear.

    python bench/plan_100k.py [HOSTS]

The peer is the same work for a tenth of the hosts: a ratio of 10 is linear.  A decision
(`next_actions`) looks at every host once; it is measured where nothing has begun, half way,
and with everything done.  `apply` takes in the journal entries of 1,000 hosts.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from bootcfleet.domain.action import World
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
    WaveState,
)
from bootcfleet.domain.rollout_journal import JournalEntry, WavePhase
from bootcfleet.domain.rollout_policy import Budgets, RolloutPolicy
from bootcfleet.domain.rollout_replay import apply, host_entry
from bootcfleet.domain.rollout_step import next_actions
from bootcfleet.domain.waves import plan_waves

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
POLICY = RolloutPolicy(
    canary=Limit(1, percent=True),
    batch=Limit(20, percent=True),
    budgets=Budgets(max_unavailable=Limit(10, percent=True), group_by=("site",)),
)


def fleet(count: int) -> list[Host]:
    """Hosts at sites of 200."""
    return [Host(f"host{n}", labels={"site": f"s{n // 200}"}) for n in range(count)]


def rollout_of(hosts: list[Host]) -> Rollout:
    """A planned upgrade of all of them."""
    names = [host.name for host in hosts]
    return Rollout(
        "bench",
        Operation.UPGRADE,
        POLICY,
        plan_waves(hosts, POLICY),
        {name: Target(name, None, frozenset({NEW}), OLD, "boot", "bench") for name in names},
        hosts={host.name: host for host in hosts},
        began=NOW,
    )


def at(rollout: Rollout, share: float) -> tuple[Rollout, World]:
    """The rollout when so much of each wave is updated, and what is known then."""
    states, seen = {}, {}
    for wave in rollout.waves:
        done = int(len(wave.hosts) * share)
        for name in wave.hosts[:done]:
            states[name] = HostState(HostPhase.UPDATED, "runs it")
            seen[name] = Observation("boot2", NEW, rollback=OLD)
        for name in wave.hosts[done:]:
            seen[name] = Observation("boot", OLD)
    phase = WavePhase.RUNNING if share < 1 else WavePhase.DONE
    waves = {wave.number: WaveState(phase, NOW) for wave in rollout.waves} if share else {}
    return replace(rollout, states=states, wave_states=waves), World(seen, room=1000)


def entries(rollout: Rollout) -> list[JournalEntry]:
    """Entries about a thousand hosts."""
    staging = HostState(HostPhase.STAGING)
    made = [host_entry(name, staging) for name in rollout.names[:1000]]
    return [
        JournalEntry(number, NOW, one.kind, one.host, "bench", one.body)
        for number, one in enumerate(made, 1)
    ]


def seconds(work: Callable[[], object]) -> float:
    """The median of three runs, in CPU seconds."""
    taken = []
    for _ in range(3):
        gc.collect()
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return statistics.median(taken)


def measure(count: int) -> dict[str, float]:
    """Everything for so many hosts."""
    hosts = fleet(count)
    rollout = rollout_of(hosts)
    found = {"plan_waves": seconds(lambda: plan_waves(hosts, POLICY))}
    for title, share in (("begin", 0.0), ("half way", 0.5), ("all done", 1.0)):
        there, world = at(rollout, share)
        found[f"next_actions, {title}"] = seconds(
            lambda there=there, world=world: next_actions(there, world, NOW)  # type: ignore[misc]
        )
    there, _ = at(rollout, 0.5)
    made = entries(there)
    found["apply, 1,000 entries"] = seconds(lambda: apply(there, made))
    return found


def main() -> None:
    """Measure both sizes and print them side by side."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    few, many = measure(count // 10), measure(count)
    print(f"{'work':<26} {count // 10:>9,} {count:>9,} {'ratio':>7}")
    for name, spent in many.items():
        print(f"{name:<26} {few[name]:>7.3f} s {spent:>7.3f} s {spent / few[name]:>6.1f}×")


if __name__ == "__main__":
    main()
