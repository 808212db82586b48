"""What a rollout's policy costs for many hosts: waves, budgets and windows, and is it linear.

    python bench/rollout_policy.py [HOSTS]

The peer is the same work for a tenth of the hosts: a ratio of 10 is linear. The policy has eight
waves by label, limits in percent, four budgets and a window in each host's own time zone.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bootcfleet.domain.budget import Budget
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import Budgets, RolloutPolicy, WaveRule
from bootcfleet.domain.waves import plan_waves
from bootcfleet.domain.window import Window, Windows

ROLES = ("web", "db", "cache", "mail")
ZONES = ("Europe/Amsterdam", "America/New_York", "Asia/Tokyo", "UTC")
POLICY = RolloutPolicy(
    waves=tuple(
        WaveRule(f"{role}-{limit}", f"role={role},site!=s999", limit=limit)
        for role in ROLES
        for limit in (Limit(1, percent=True), None)
    ),
    batch=Limit(5),
)
BUDGETS = Budgets(
    max_unavailable=Limit(10, percent=True),
    group_by=("site", "cluster"),
    per_group=Limit(25, percent=True),
    reboots=500,
)
NIGHTS = Windows((Window("0 22 * * 1-5", 8 * 3600.0, wall=True),), "host")


def fleet(count: int) -> list[Host]:
    """Hosts with a role, a site of 500 hosts and a cluster of 3; each tenth is in no wave."""
    return [
        Host(
            f"host{n}",
            labels={
                "role": "other" if n % 10 == 0 else ROLES[n % 4],
                "site": f"s{n // 500}",
                "cluster": f"c{n // 3}",
            },
        )
        for n in range(count)
    ]


def budgets(hosts: list[Host]) -> None:
    """Each host once: may it, away, rebooted, back; so that a tenth of them is away at a time."""
    budget = Budget(BUDGETS, hosts)
    gone: deque[str] = deque()
    for host in hosts:
        if budget.reboot_blocked(host.name) is None:
            budget.rebooting(host.name)
            gone.append(host.name)
        if len(gone) > len(hosts) // 20:
            budget.back(gone.popleft())


def windows(hosts: list[Host]) -> None:
    """Each host asks at ten moments, as one controller does."""
    start = datetime(2026, 6, 3, 12, 0, 0, 1, tzinfo=UTC)
    for step in range(10):
        now = start + timedelta(seconds=step)
        for n in range(len(hosts)):
            NIGHTS.open_at(now, ZONES[n % 4])


def taken(work: Callable[[list[Host]], object], hosts: list[Host]) -> float:
    """The least CPU time of three runs, in seconds."""
    times = []
    for _ in range(3):
        began = time.process_time()
        work(hosts)
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Print the CPU time of each part, and its ratio to that of a tenth of the hosts."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    small, large = fleet(count // 10), fleet(count)
    rows: dict[str, Callable[[list[Host]], object]] = {
        "plan_waves": lambda hosts: plan_waves(hosts, POLICY),
        "budgets": budgets,
        "windows, 10 times": windows,
    }
    print(f"{'part':<20} {count // 10:>10} {count:>10} {'ratio':>7}")
    for name, work in rows.items():
        few, many = taken(work, small), taken(work, large)
        print(f"{name:<20} {few * 1000:>7.0f} ms {many * 1000:>7.0f} ms {many / few:>6.1f}×")


if __name__ == "__main__":
    main()
