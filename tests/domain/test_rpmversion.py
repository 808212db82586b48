"""Conditions on package versions."""

from __future__ import annotations

import pytest

from bootcfleet.domain.rpmversion import compare, parse_constraint, satisfies


@pytest.mark.parametrize(
    ("evr", "constraint", "ok"),
    [
        ("0:1.26.3-1.el10", ">= 1.26, < 2", True),
        ("0:1.26.3-1.el10", ">=1.26,<2", True),
        ("0:1.26.3-1.el10", "1.26.3", True),
        ("0:1.26.3-1.el10", "= 1.26.3-1.el10", True),
        ("0:1.26.3-1.el10", "== 1.26.3-2.el10", False),
        ("0:1.26.3-1.el10", "!= 1.26.3", False),
        ("0:1.26.3-1.el10", "> 1.26.3", False),
        ("0:1.26.3-1.el10", "<= 1.26.3", True),
        ("0:1.9-1", "< 1.10", True),
        ("0:1.0~rc1-1", "< 1.0", True),
        ("0:1.0^git1-1", "> 1.0", True),
        # Nobody knows epochs by heart: without one in the condition it does not count.
        ("3:580.95.05-1", "580.95.05", True),
        ("3:580.95.05-1", "3:580.95.05", True),
        ("3:580.95.05-1", "< 4:1", True),
        ("3:580.95.05-1", "> 2:999", True),
    ],
)
def test_satisfies(evr: str, constraint: str, ok: bool) -> None:
    assert satisfies(evr, constraint) is ok


def test_compare_takes_no_release_for_every_release() -> None:
    assert compare("1.0-5", "1.0") == 0
    assert compare("1.0-5", "1.0-6") == -1
    assert compare("1:1.0", "2.0") == 1


@pytest.mark.parametrize("text", ["", ">= 1, ", ">> 1", "1 2", "=> 1", "1.*, ,2"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match="is no condition on a version"):
        parse_constraint(text)
