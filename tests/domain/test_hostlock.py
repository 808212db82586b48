"""A lock as it was read: whose it is, whether it has expired, and what is no lock."""

from __future__ import annotations

import json

import pytest

from bootcfleet.domain.hostlock import LockHolder, check_rollout, clock, read_lock


def text(**over: object) -> str:
    body = {"owner": "ann@ctl", "rollout": "r1", "controller": "ctl", "taken": 5, "expires": 9}
    return json.dumps({key: one for key, one in {**body, **over}.items() if one is not ...})


@pytest.mark.parametrize(("now", "stale"), [(8, False), (9, True), (10, True)])
def test_stale_from_the_moment_of_its_end(now: int, stale: bool) -> None:
    lock = read_lock(text(), now)
    assert lock == LockHolder("ann@ctl", "r1", "ctl", 5, 9, now)
    assert lock.readable
    assert lock.stale is stale
    assert lock.title == (
        "rollout r1 of ann@ctl (on ctl), since 1970-01-01 00:00 UTC, "
        f"{'expired' if stale else 'until'} 1970-01-01 00:00 UTC"
    )
    assert lock.to_json() == {
        "owner": "ann@ctl",
        "rollout": "r1",
        "controller": "ctl",
        "taken": "1970-01-01T00:00:05+00:00",
        "expires": "1970-01-01T00:00:09+00:00",
        "stale": stale,
    }


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "[" * 100_000,
        text(rollout=...),
        text(rollout=7),
        text(rollout=""),
        text(rollout="a b"),
        text(taken=...),
        text(taken=-1),
        text(taken=True),
        text(taken=5.0),
        text(taken="5"),
        text(expires=None),
        text(expires=253_402_300_800),
    ],
)
def test_what_is_no_lock(broken: str) -> None:
    lock = read_lock(broken, 99)
    assert lock == LockHolder("", "", "", 0, 0, 99)
    assert not lock.readable
    assert not lock.stale
    assert lock.title == "a lock that cannot be read"
    assert lock.to_json() == {
        "owner": None,
        "rollout": None,
        "controller": None,
        "taken": None,
        "expires": None,
        "stale": False,
    }


def test_the_ends_of_time() -> None:
    lock = read_lock(text(taken=0, expires=253_402_300_799), 5)
    assert (lock.taken, clock(lock.expires)) == (0, "9999-12-31 23:59 UTC")


@pytest.mark.parametrize(
    ("owner", "shown"),
    [
        ("ann", "ann"),
        (None, "somebody"),
        (["x"], "somebody"),
        ("", "somebody"),
        ("\x1b[31m\n", "[31m"),
        ("x" * 300, "x" * 256),
    ],
)
def test_an_owner_is_only_shown(owner: object, shown: str) -> None:
    assert read_lock(text(owner=owner, controller=owner), 5).owner == shown


@pytest.mark.parametrize("rollout", ["r", "20261121-110433-3f2a", "A.b_c-9", "r" * 128])
def test_ids_of_rollouts(rollout: str) -> None:
    assert check_rollout(rollout) == rollout


@pytest.mark.parametrize("rollout", ["", "a b", 'r"', "-r", ".r", "r\n", "r/1", "r" * 129])
def test_what_names_no_rollout(rollout: str) -> None:
    with pytest.raises(ValueError, match="cannot name a rollout"):
        check_rollout(rollout)
