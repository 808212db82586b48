"""How a set of hosts is divided into waves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.waves import plan_waves
from bootcfleet.errors import UsageError


@pytest.mark.parametrize(
    ("text", "hosts", "expected"),
    [
        ("1", 20, 1),
        ("1%", 20, 1),
        ("5%", 20, 1),
        ("6%", 20, 2),
        ("25%", 10, 3),
        ("100%", 7, 7),
        ("10", 3, 3),
    ],
)
def test_a_limit_is_rounded_up(text: str, hosts: int, expected: int) -> None:
    assert Limit.parse(text).of(hosts) == expected


@pytest.mark.parametrize("text", ["0", "0%", "101%", "-1", "", "a", "1.5", "5 %%", "1e3"])
def test_a_limit_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number of hosts") as caught:
        Limit.parse(text)
    assert "25%" in (caught.value.hint or "")


HOSTS = tuple(f"h{n}" for n in range(12))


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
def test_waves(canary: str | None, batch: str, expected: list[int]) -> None:
    policy = RolloutPolicy(canary=Limit.parse(canary) if canary else None, batch=Limit.parse(batch))
    waves = plan_waves(HOSTS, policy)
    assert [len(wave.hosts) for wave in waves] == expected
    assert waves[0].canary is (canary in {"1", "2", "1%"})


def test_one_host_needs_no_canary() -> None:
    (wave,) = plan_waves(["only"], RolloutPolicy())
    assert not wave.canary
    assert wave.title == "wave 1"


def test_no_hosts_no_waves() -> None:
    assert plan_waves([], RolloutPolicy()) == ()


limits = st.one_of(
    st.builds(Limit, st.integers(1, 500)),
    st.builds(Limit, st.integers(1, 100), st.just(True)),
)


@given(st.integers(0, 300), st.none() | limits, limits)
def test_every_host_is_in_exactly_one_wave(count: int, canary: Limit | None, batch: Limit) -> None:
    hosts = [f"h{n}" for n in range(count)]
    waves = plan_waves(hosts, RolloutPolicy(canary, batch))
    assert [host for wave in waves for host in wave.hosts] == hosts
    assert [wave.number for wave in waves] == list(range(1, len(waves) + 1))
    assert all(wave.hosts for wave in waves)
    assert not any(wave.canary for wave in waves[1:])
