"""Which options a bootc of a version has."""

from __future__ import annotations

from dataclasses import fields

import pytest

from bootcfleet.domain.abilities import NONE, SINCE, Abilities


def test_every_ability_has_its_version() -> None:
    assert [each.name for each in fields(Abilities)] == list(SINCE)


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("0.1.14", ()),
        ("0.1.15", ("format_version",)),
        ("1.1.0", ("format_version",)),
        ("1.1.4", ("format_version", "progress_fd")),
        ("1.1.7", ("format_version", "progress_fd", "clear_cached_update", "rollback_apply")),
        ("1.6.0", tuple(SINCE)[:5]),
        ("1.7.0", tuple(SINCE)[:6]),
        ("1.11.0", tuple(SINCE)[:6]),
        ("1.12.0", tuple(SINCE)[:7]),
        ("1.16.9", tuple(SINCE)),
        ("2.0.0", tuple(SINCE)),
        ("1.12", tuple(SINCE)[:7]),
        ("1.12.0-1.el10", tuple(SINCE)[:7]),
        ("1.12.0.202510010000.gabcdef", tuple(SINCE)[:7]),
        # Before the version that they name.
        ("1.12.0-rc.1", tuple(SINCE)[:6]),
        ("1.12.0~rc1", tuple(SINCE)[:6]),
        ("1.12.1-rc.1", tuple(SINCE)[:7]),
    ],
)
def test_what_a_version_can(version: str, names: tuple[str, ...]) -> None:
    assert Abilities.of(version).names == names


@pytest.mark.parametrize("version", ["unknown", "", "1", "one.two", "9" * 5000, "1.x", "٣.١.٤"])
def test_of_an_unknown_version_nothing_is_known(version: str) -> None:
    assert Abilities.of(version) == NONE
    assert NONE.names == ()
