"""Numbers and percentages of hosts."""

from __future__ import annotations

import pytest

from bootcfleet.domain.limit import Limit
from bootcfleet.errors import UsageError


@pytest.mark.parametrize(
    ("text", "hosts", "part", "maximum"),
    [
        ("1", 20, 1, 1),
        ("1%", 20, 1, 1),
        ("5%", 20, 1, 1),
        ("6%", 20, 2, 1),
        ("25%", 10, 3, 2),
        ("25%", 5, 2, 1),
        ("100%", 7, 7, 7),
        ("10", 3, 3, 10),
    ],
)
def test_a_part_is_rounded_up_and_a_maximum_down(
    text: str, hosts: int, part: int, maximum: int
) -> None:
    assert Limit.parse(text).of(hosts) == part
    assert Limit.parse(text).at_most(hosts) == maximum
    assert str(Limit.parse(text)) == text


@pytest.mark.parametrize("text", ["0", "0%", "101%", "-1", "", "a", "1.5", "5 %%", "1e3"])
def test_a_limit_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number of hosts") as caught:
        Limit.parse(text)
    assert "25%" in (caught.value.hint or "")


def test_no_host_at_all() -> None:
    assert Limit.parse("0", least=0).of(20) == 0
    assert Limit.parse("0%", least=0).of(20) == 0
