"""Sizes, by the grammar of blueprints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.disksize import parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (10737418240, 10 * 2**30),
        (0, 0),
        ("1024", 1024),
        ("10 GiB", 10 * 2**30),
        ("10GiB", 10 * 2**30),
        ("1.5 GiB", 3 * 2**29),
        ("10 GB", 10**10),
        ("7 kB", 7000),
        ("7\tKiB", 7168),
        ("2 MB", 2 * 10**6),
        ("2 MiB", 2**21),
        ("1 TB", 10**12),
        ("1 TiB", 2**40),
    ],
)
def test_sizes(text: int | str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10G", "'10G' is not a size: write '10 GiB' or '10 GB'"),
        ("10 gb", "'10 gb' is not a size: write '10 GiB' or '10 GB'"),
        ("10 Gb", "'10 Gb' is not a size: write '10 GiB' or '10 GB'"),
        ("5k", "'5k' is not a size: write '5 KiB' or '5 kB'"),
        (" 10 GiB", "' 10 GiB' is not a size: write '10 GiB' or '10 GB'"),
        (
            "big",
            "'big' is not a size: bytes, or a number and one of kB, KiB, MB, MiB, GB, GiB, TB, TiB",
        ),
        ("", "'' is not a size: bytes, or a number and one of kB, KiB, MB, MiB, GB, GiB, TB, TiB"),
        (
            "-1",
            "'-1' is not a size: bytes, or a number and one of kB, KiB, MB, MiB, GB, GiB, TB, TiB",
        ),
        (-1, "-1 is less than nothing"),
    ],
)
def test_what_is_no_size(text: int | str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert str(caught.value) == message


@given(st.integers(0, 2**60), st.sampled_from(["kB", "KiB", "MB", "MiB", "GB", "GiB"]))
def test_a_unit_is_a_factor(number: int, unit: str) -> None:
    assert parse_size(f"{number} {unit}") == number * parse_size(f"1{unit}")


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert "is not a size" in str(error)
