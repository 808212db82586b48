"""Disruption budgets: who may go, and that no order of events goes over one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.budget import Budget
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import Budgets


def host(name: str, **labels: str) -> Host:
    return Host(name, labels=labels)


def test_without_budgets_all_may_go() -> None:
    budget = Budget(Budgets(), [host("a"), host("b")])
    budget.rebooting("a")
    budget.downloading("a")
    assert budget.reboot_blocked("b") is None
    assert budget.download_blocked("b") is None


def test_max_unavailable() -> None:
    hosts = [host(f"h{n}") for n in range(8)]
    budget = Budget(Budgets(max_unavailable=Limit(25, percent=True)), hosts)
    budget.away("h0")
    budget.away("h0")
    assert budget.reboot_blocked("h1") is None
    budget.rebooting("h1")
    reason = "max_unavailable: 2 of at most 2 are away (h0, h1)"
    assert budget.reboot_blocked("h2") == reason
    budget.rebooted("h1")
    assert budget.reboot_blocked("h2") == reason, "it is rebooted, but not yet well"
    budget.back("h1")
    assert budget.reboot_blocked("h2") is None


def test_who_is_away_already_takes_nothing_more() -> None:
    budget = Budget(Budgets(max_unavailable=Limit(1)), [host("a"), host("b")])
    budget.away("a")
    assert budget.reboot_blocked("a") is None
    assert budget.reboot_blocked("b") == "max_unavailable: 1 of at most 1 is away (a)"


def test_hosts_that_went_down_by_themselves_block_the_others() -> None:
    budget = Budget(Budgets(max_unavailable=Limit(1)), [host(name) for name in "abcdef"])
    for name in "abcde":
        budget.away(name)
    assert (
        budget.reboot_blocked("f")
        == "max_unavailable: 5 of at most 1 are away (a, b, c and 2 more)"
    )


def test_never_two_members_of_one_cluster() -> None:
    hosts = [
        host("a1", cluster="a", site="ams"),
        host("a2", cluster="a", site="fra"),
        host("b1", cluster="b", site="ams"),
        host("alone"),
    ]
    budget = Budget(Budgets(group_by=("cluster", "site"), per_group=Limit(1)), hosts)
    budget.away("alone")
    budget.away("a1")
    assert (
        budget.reboot_blocked("a2")
        == "max_unavailable_per_group: cluster=a: 1 of at most 1 is away (a1)"
    )
    assert (
        budget.reboot_blocked("b1")
        == "max_unavailable_per_group: site=ams: 1 of at most 1 is away (a1)"
    )
    assert budget.reboot_blocked("alone") is None


def test_a_percentage_is_of_the_group() -> None:
    hosts = [host(f"big{n}", site="big") for n in range(10)] + [host("one", site="small")]
    budget = Budget(Budgets(group_by=("site",), per_group=Limit(25, percent=True)), hosts)
    for name in ("big0", "big1", "one"):
        assert budget.reboot_blocked(name) is None
        budget.away(name)
    assert "2 of at most 2" in str(budget.reboot_blocked("big2"))


def test_reboots_and_downloads() -> None:
    hosts = [host("a", site="ams"), host("b", site="ams"), host("c", site="fra"), host("d")]
    budgets = Budgets(
        reboots=2,
        reboots_label="site",
        reboots_per=1,
        downloads=2,
        downloads_label="site",
        downloads_per=1,
    )
    budget = Budget(budgets, hosts)
    budget.rebooting("a")
    budget.downloading("a")
    assert budget.reboot_blocked("b") == "reboots_per: site=ams: 1 of at most 1 is rebooting (a)"
    blocked = "downloads_per: site=ams: 1 of at most 1 is downloading (a)"
    assert budget.download_blocked("b") == blocked
    budget.rebooting("c")
    budget.downloading("d")
    assert budget.reboot_blocked("d") == "reboots: 2 of at most 2 are rebooting (a, c)"
    assert budget.download_blocked("c") == "downloads: 2 of at most 2 are downloading (a, d)"
    budget.back("a")
    budget.downloaded("a")
    assert budget.reboot_blocked("b") is None
    assert budget.download_blocked("b") is None


def test_a_host_of_no_rollout() -> None:
    with pytest.raises(KeyError):
        Budget(Budgets(), [host("a")]).away("b")


limits = st.one_of(
    st.builds(Limit, st.integers(1, 5)), st.builds(Limit, st.integers(1, 100), st.just(True))
)
counts = st.none() | st.integers(1, 4)
site = st.sampled_from(["ams", "fra"])
fleets = st.lists(
    st.fixed_dictionaries({}, optional={"site": site, "cluster": st.sampled_from("xyz")}),
    min_size=1,
    max_size=12,
)
budget_sets = st.builds(
    Budgets,
    max_unavailable=st.none() | limits,
    group_by=st.sampled_from([(), ("site",), ("cluster", "site")]),
    per_group=st.none() | limits,
    reboots=counts,
    reboots_label=st.sampled_from([None, "site"]),
    reboots_per=counts,
    downloads=counts,
    downloads_label=st.sampled_from([None, "cluster"]),
    downloads_per=counts,
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["reboot", "rebooted", "back", "download", "downloaded"]),
        st.integers(0, 11),
    ),
    max_size=80,
)


@given(fleets, budget_sets, steps)
def test_no_order_of_events_goes_over_a_budget(
    fleet: list[dict[str, str]], budgets: Budgets, steps: list[tuple[str, int]]
) -> None:
    """Who asks before each act stays within; sets of our own, counted anew, tell."""
    hosts = {f"h{n}": Host(f"h{n}", labels=labels) for n, labels in enumerate(fleet)}
    budget = Budget(budgets, list(hosts.values()))
    away: set[str] = set()
    reboots: set[str] = set()
    downloads: set[str] = set()
    for what, number in steps:
        name = f"h{number % len(hosts)}"
        if what == "reboot":
            free = [
                _fits({*away, name}, hosts, budgets),
                _fits_reboots({*reboots, name}, hosts, budgets),
            ]
            assert (budget.reboot_blocked(name) is None) is all(free)
            if all(free):
                budget.rebooting(name)
                away.add(name)
                reboots.add(name)
        elif what == "rebooted":
            budget.rebooted(name)
            reboots.discard(name)
        elif what == "back":
            budget.back(name)
            away.discard(name)
            reboots.discard(name)
        elif what == "download":
            fits = _fits_downloads({*downloads, name}, hosts, budgets)
            assert (budget.download_blocked(name) is None) is fits
            if fits:
                budget.downloading(name)
                downloads.add(name)
        else:
            budget.downloaded(name)
            downloads.discard(name)
        assert _fits(away, hosts, budgets)


def _fits(away: set[str], hosts: dict[str, Host], budgets: Budgets) -> bool:
    most = budgets.max_unavailable
    if most is not None and len(away) > most.at_most(len(hosts)):
        return False
    if budgets.per_group is None:
        return True
    for label in budgets.group_by:
        sizes = Counter(h.labels[label] for h in hosts.values() if label in h.labels)
        gone = Counter(hosts[n].labels[label] for n in away if label in hosts[n].labels)
        if any(count > budgets.per_group.at_most(sizes[value]) for value, count in gone.items()):
            return False
    return True


def _fits_reboots(now: set[str], hosts: dict[str, Host], budgets: Budgets) -> bool:
    return _counted(now, hosts, budgets.reboots, budgets.reboots_label, budgets.reboots_per)


def _fits_downloads(now: set[str], hosts: dict[str, Host], budgets: Budgets) -> bool:
    return _counted(now, hosts, budgets.downloads, budgets.downloads_label, budgets.downloads_per)


def _counted(
    now: set[str], hosts: dict[str, Host], most: int | None, label: str | None, per: int | None
) -> bool:
    if most is not None and len(now) > most:
        return False
    if label is None or per is None:
        return True
    each = Counter(hosts[n].labels[label] for n in now if label in hosts[n].labels)
    return all(count <= per for count in each.values())
