"""Versions are ordered as rpm orders them; rpm's own answers where it is installed."""

from __future__ import annotations

import random
import subprocess
import tempfile
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.evr import Evr, compare_versions
from tests.tools import need

#: Each is older than the next.
ORDER = [
    "1.0~alpha", "1.0~rc1", "1.0~rc1^20200101", "1.0~rc2", "1.0", "1.0^20200101", "1.0^git1~pre",
    "1.0^git1", "1.0.a", "1.0.1", "1.5", "1.05a", "1.10", "2a", "2a.1", "10",
]  # fmt: skip


@pytest.mark.parametrize(("older", "newer"), list(pairwise(ORDER)))
def test_the_order(older: str, newer: str) -> None:
    if {older, newer} == {"1.0^20200101", "1.0^git1~pre"}:
        older, newer = newer, older  # a number is newer than letters
    assert compare_versions(older, newer) == -1
    assert compare_versions(newer, older) == 1


@pytest.mark.parametrize(
    ("one", "two"), [("1.0", "1.0"), ("1.0", "1_0"), ("1.05", "1.5"), ("a.b", "a+b"), ("é1", "1")]
)
def test_no_difference_to_rpm(one: str, two: str) -> None:
    assert compare_versions(one, two) == 0


def test_the_epoch_goes_before_all() -> None:
    assert Evr(1, "1.0", "1") > Evr(0, "99", "99")
    assert Evr(0, "1.0", "2") > Evr(0, "1.0", "1.9")
    assert Evr(0, "1.10", "1") > Evr(0, "1.9", "9")
    assert str(Evr(2, "1.0", "3.el10")) == "2:1.0-3.el10"
    assert str(Evr(0, "1.0", "3.el10")) == "1.0-3.el10"


def test_what_rpm_takes_for_the_same_is_still_another() -> None:
    one, two = Evr(0, "1.0", "1"), Evr(0, "1.00", "1")
    assert one.compare(two) == 0
    assert one != two
    assert sorted([two, one]) == sorted([one, two])


versions = st.text(alphabet="019aAz.~^-_+é", max_size=8)


@given(versions, versions)
def test_turned_around_it_is_the_opposite(one: str, two: str) -> None:
    assert compare_versions(one, two) == -compare_versions(two, one)


@pytest.mark.integration
def test_rpm_says_the_same() -> None:
    need("rpm")
    chance = random.Random(7)
    texts = ["".join(chance.choices("0199aAz.~^_+", k=chance.randint(1, 7))) for _ in range(6000)]
    pairs = list(pairwise(texts)) + [(a, b) for a in ORDER for b in ORDER]
    # For rpm to take them as versions, they begin with a digit.
    pairs = [(f"1{a}", f"1{b}") for a, b in pairs]
    lines = "".join(f'print(rpm.vercmp("{a}","{b}"), " ")\n' for a, b in pairs)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(lines)
        script.flush()
        done = subprocess.run(
            ["rpm", "--eval", f'%{{lua:dofile("{script.name}")}}'],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert [int(line) for line in done.stdout.split()] == [compare_versions(a, b) for a, b in pairs]
