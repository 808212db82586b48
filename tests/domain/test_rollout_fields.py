"""The small values of a policy, as people write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from bootcfleet.domain.rollout_fields import address, clock, days, percent, seconds, words
from bootcfleet.errors import UsageError


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (seconds, "30s", 30.0),
        (seconds, " 5m ", 300.0),
        (seconds, "24h", 86400.0),
        (seconds, "7d", 7 * 86400.0),
        (seconds, "2w", 14 * 86400.0),
        (seconds, 0, 0.0),
        (seconds, "0", 0.0),
        (percent, 95, 95),
        (percent, "95%", 95),
        (percent, "100", 100),
        (clock, "00:00", 0),
        (clock, "2:05", 125),
        (clock, "24:00", 1440),
        (clock, 22 * 60 + 30, 1350),  # 22:30 as YAML 1.1 reads it
        (days, date(2026, 12, 24), (date(2026, 12, 24), date(2026, 12, 24))),
        (days, "2024-02-29", (date(2024, 2, 29), date(2024, 2, 29))),
        (days, "2026-12-20..2027-01-03", (date(2026, 12, 20), date(2027, 1, 3))),
        (address, "http://[::1]:9090/x?y", "http://[::1]:9090/x?y"),
        (words, ["a", 1], ["a", "1"]),
    ],
)
def test_a_value(read: Callable[[Any], Any], value: Any, expected: Any) -> None:
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (seconds, ""),
        (seconds, "5"),
        (seconds, "-5m"),
        (seconds, "1h30m"),
        (seconds, "9999999s"),
        (seconds, "367d"),
        (seconds, 5),
        (seconds, True),
        (seconds, False),
        (seconds, None),
        (percent, True),
        (percent, 0),
        (percent, "101%"),
        (percent, "9.5%"),
        (clock, "24:01"),
        (clock, "7"),
        (clock, 59),
        (clock, True),
        (clock, None),
        (days, "2026-02-29"),
        (days, "24.12.2026"),
        (days, "2026-12-24.."),
        (days, 2026),
        (address, "https://"),
        (address, "https://me@h/x"),
        (address, "http://[::1/x"),
        (address, "file:///etc/passwd"),
        (words, []),
        (words, "systemctl stop x"),
    ],
)
def test_no_value(read: Callable[[Any], Any], value: Any) -> None:
    """It is both: an error of the command line, and one that pydantic puts into the file's."""
    with pytest.raises(UsageError) as caught:
        read(value)
    assert isinstance(caught.value, ValueError)
    assert caught.value.message


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        address("https://me:hunter2@h/x")
    assert "hunter2" not in caught.value.message + str(caught.value.hint)
