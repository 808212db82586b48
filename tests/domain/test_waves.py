"""How a set of hosts is divided into waves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import Hook, HookKind, RolloutPolicy, WaveRule
from bootcfleet.domain.waves import Wave, plan_waves, unmet_rules
from bootcfleet.errors import UsageError

HOSTS = tuple(Host(f"h{n}") for n in range(12))
ALL = Limit(100, percent=True)


def names(waves: Sequence[Wave]) -> list[str]:
    return ["+".join(wave.hosts) for wave in waves]


@pytest.mark.parametrize(
    ("canary", "batch", "expected"),
    [
        ("1", "25%", [1, 3, 3, 3, 2]),
        ("2", "5", [2, 5, 5]),
        (None, "100%", [12]),
        ("1%", "100%", [1, 11]),
        ("100%", "6", [6, 6]),  # a canary of everyone is no canary
    ],
)
def test_canary_and_batches(canary: str | None, batch: str, expected: list[int]) -> None:
    policy = RolloutPolicy(
        canary=Limit.parse(canary) if canary else None,
        batch=Limit.parse(batch),
        bake=60,
        success=90,
    )
    waves = plan_waves(HOSTS, policy)
    assert [len(wave.hosts) for wave in waves] == expected
    assert waves[0].canary is (canary in {"1", "2", "1%"})
    assert {(wave.bake, wave.success, wave.approve) for wave in waves} == {(60, 90, False)}


def test_one_host_needs_no_canary() -> None:
    (wave,) = plan_waves([Host("only")], RolloutPolicy())
    assert not wave.canary
    assert wave.title == "wave 1"


def test_no_hosts_no_waves() -> None:
    assert plan_waves([], RolloutPolicy()) == ()
    assert plan_waves([], RolloutPolicy(waves=(WaveRule("a"),))) == ()
    both = (WaveRule("green", "a=1"), WaveRule("blue", "a=2"))
    assert plan_waves([], RolloutPolicy(waves=both, exclusive=True)) == ()


LABELLED = tuple(
    Host(
        f"{role}{n}",
        groups=frozenset({"dmz"} if n == 0 else ()),
        labels={"role": role, "site": ("ams", "fra")[n % 2]},
    )
    for role in ("web", "db")
    for n in range(4)
)


@pytest.mark.parametrize(
    ("rules", "batch", "expected"),
    [
        # Without a limit a rule takes all that match, and who is left goes last.
        ([WaveRule(selector="role=db")], ALL, ["db0+db1+db2+db3", "web0+web1+web2+web3"]),
        # Percentages are of those that match in the whole rollout, also where some are gone.
        (
            [
                WaveRule(selector="role=web", limit=Limit(25, True)),
                WaveRule(selector="role=web", limit=Limit(50, True)),
                WaveRule(selector="role=web"),
            ],
            ALL,
            ["web0", "web1+web2", "web3", "db0+db1+db2+db3"],
        ),
        # 1 % is one host.
        ([WaveRule(limit=Limit(1, True))], ALL, ["web0", "web1+web2+web3+db0+db1+db2+db3"]),
        # A rule without a selector is of all hosts, those of earlier rules as well.
        (
            [WaveRule(selector="role=web"), WaveRule(limit=Limit(25, True))],
            ALL,
            ["web0+web1+web2+web3", "db0+db1", "db2+db3"],
        ),
        # Nobody matches, or nobody is left: no wave.
        (
            [WaveRule(selector="role=mail"), WaveRule(), WaveRule(selector="role=web")],
            ALL,
            ["web0+web1+web2+web3+db0+db1+db2+db3"],
        ),
        # The rest goes in steps of `batch`, which is of all hosts.
        (
            [WaveRule(selector="role=web")],
            Limit(25, True),
            ["web0+web1+web2+web3", "db0+db1", "db2+db3"],
        ),
        # Groups, names and globs as on the command line; all of them must hold.
        ([WaveRule(groups=("dmz",))], ALL, ["web0+db0", "web1+web2+web3+db1+db2+db3"]),
        (
            [WaveRule(hosts=("db3", "web*"), selector="site=fra")],
            ALL,
            ["web1+web3+db3", "web0+web2+db0+db1+db2"],
        ),
    ],
)
def test_rules(rules: list[WaveRule], batch: Limit, expected: list[str]) -> None:
    waves = plan_waves(LABELLED, RolloutPolicy(waves=tuple(rules), batch=batch))
    assert names(waves) == expected
    assert not any(wave.canary for wave in waves)


def test_rules_that_choose_nobody() -> None:
    rules = (
        WaveRule("canary", "role=wbe", limit=Limit(1)),
        WaveRule("web", "role=web"),
        # Nobody is left for it: it is no mistake.
        WaveRule("again", "role=web"),
        WaveRule(selector="site=nowhere", groups=("dmz",)),
    )
    policy = RolloutPolicy(waves=rules)
    waves = plan_waves(LABELLED, policy)
    assert unmet_rules(waves, LABELLED, policy) == ["canary", "site=nowhere, dmz"]
    # Those that stay out are in no wave.
    databases = [host for host in LABELLED if host.labels["role"] == "db"]
    policy = RolloutPolicy(waves=rules[1:2])
    waves = plan_waves(databases, policy)
    assert unmet_rules(waves, LABELLED, policy) == ["web"]
    assert unmet_rules((), LABELLED, policy) == []
    assert unmet_rules(waves, LABELLED, RolloutPolicy()) == []


def test_what_a_rule_says_of_its_wave() -> None:
    hook = Hook(HookKind.LOCAL, ("./cutover",))
    rule = WaveRule(
        "databases", "role=db", success=100, bake=0, approve=True, before=hook, after=hook
    )
    policy = RolloutPolicy(waves=(WaveRule("web", "role=web"), rule), success=80, bake=30)
    web, db = plan_waves([*LABELLED, Host("other")], policy)[:2]
    assert (web.title, web.success, web.bake, web.approve) == ("wave 1 (web)", 80, 30, False)
    assert (db.title, db.success, db.bake, db.approve) == ("wave 2 (databases)", 100, 0, True)
    assert (web.before, web.after, db.before, db.after) == (None, None, hook, hook)
    rest = plan_waves([*LABELLED, Host("other")], policy)[2]
    assert (rest.number, rest.title, rest.bake) == (3, "wave 3", 30)


def test_a_selector_that_is_none() -> None:
    with pytest.raises(UsageError, match="is not a condition"):
        plan_waves(LABELLED, RolloutPolicy(waves=(WaveRule(selector="role=(web"),)))


BLUE_GREEN = RolloutPolicy(
    waves=(WaveRule("green", "site=fra"), WaveRule("blue", "site=ams", approve=True)),
    exclusive=True,
    batch=Limit(1),
)


def test_blue_green_moves_each_set_as_a_whole() -> None:
    green, blue = plan_waves(LABELLED, BLUE_GREEN)
    assert green.hosts == ("web1", "web3", "db1", "db3")
    assert blue.hosts == ("web0", "web2", "db0", "db2")
    assert blue.approve


def test_blue_green_refuses_who_is_in_neither_set_or_in_both() -> None:
    with pytest.raises(UsageError) as caught:
        plan_waves([*LABELLED, Host("stray")], BLUE_GREEN)
    assert caught.value.message == "1 host is not in exactly one of the sets green and blue"
    assert caught.value.details == ("stray is in neither of the sets",)
    both = RolloutPolicy(
        waves=(WaveRule("green", "role=web"), WaveRule("blue", "site=ams")), exclusive=True
    )
    with pytest.raises(UsageError) as caught:
        plan_waves(LABELLED, both)
    assert caught.value.details == (
        "web0 is in green and blue",
        "web2 is in green and blue",
        "db1 is in neither of the sets",
        "db3 is in neither of the sets",
    )


def test_blue_green_with_one_set_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="no host of the selection is in the set blue"):
        plan_waves([host for host in LABELLED if host.labels["site"] == "fra"], BLUE_GREEN)


limits = st.one_of(
    st.builds(Limit, st.integers(1, 500)),
    st.builds(Limit, st.integers(1, 100), st.just(True)),
)
selectors = st.sampled_from(["", "a=1", "a!=1", "b", "!b", "a in (0,1),b=2", "a=9"])
rules = st.lists(st.builds(WaveRule, selector=selectors, limit=st.none() | limits), max_size=5)
label = st.sampled_from(["0", "1", "2"])
hosts = st.lists(st.fixed_dictionaries({}, optional={"a": label, "b": label}), max_size=300).map(
    lambda all_labels: [Host(f"h{n}", labels=of) for n, of in enumerate(all_labels)]
)


@given(hosts, st.none() | limits, limits, rules)
def test_every_host_is_in_exactly_one_wave(
    hosts: list[Host], canary: Limit | None, batch: Limit, rules: list[WaveRule]
) -> None:
    waves = plan_waves(hosts, RolloutPolicy(canary=canary, batch=batch, waves=tuple(rules)))
    moved = [name for wave in waves for name in wave.hosts]
    assert sorted(moved) == sorted(host.name for host in hosts)
    if not rules:
        assert moved == [host.name for host in hosts]
    # Within a wave, the order is the inventory's.
    order = {host.name: place for place, host in enumerate(hosts)}
    for wave in waves:
        assert list(wave.hosts) == sorted(wave.hosts, key=order.__getitem__)
    assert [wave.number for wave in waves] == list(range(1, len(waves) + 1))
    assert all(wave.hosts for wave in waves)
    assert not any(wave.canary for wave in waves[1:])


def test_the_work_grows_with_the_hosts_alone() -> None:
    """Each rule asks each host once, however many waves there are."""
    asked = 0

    class Counting(dict[str, str]):
        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
            nonlocal asked
            asked += 1
            return super().get(key, default)  # type: ignore[arg-type]

    hosts = [Host(f"h{n}", labels=Counting(a=str(n % 3))) for n in range(900)]
    rules = tuple(WaveRule(selector=f"a={n}", limit=Limit(5)) for n in range(3))
    assert len(plan_waves(hosts, RolloutPolicy(waves=rules, batch=Limit(1)))) == 3 + 885
    assert asked == 3 * 900
