"""Options of the command line over a policy."""

from __future__ import annotations

from typing import Any

import pytest

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_override import with_overrides
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Download,
    OnFailure,
    OnHalt,
    Retries,
    RolloutPolicy,
    SoftReboot,
    Timeouts,
    WaveRule,
)
from bootcfleet.domain.window import Window, Windows
from bootcfleet.errors import UsageError

NIGHTS = Windows((Window("0 2 * * *", 3600.0),))
WAVES = (WaveRule("a", "a", success=80, bake=60.0), WaveRule("b", "b"))


def test_nothing_is_nothing() -> None:
    policy = RolloutPolicy(waves=WAVES, windows=NIGHTS, budgets=Budgets(Limit(3)))
    assert with_overrides(policy) == policy


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"canary": "5%"}, {"canary": Limit(5, True)}),
        ({"canary": " 0 "}, {"canary": None}),
        ({"canary": "0%"}, {"canary": None}),
        ({"batch": "10"}, {"batch": Limit(10)}),
        ({"success": "95%"}, {"success": 95}),
        ({"bake": "30m"}, {"bake": 1800.0}),
        ({"max_failures": "5%"}, {"budgets": Budgets(Limit(5, True))}),
        ({"max_failures": 0}, {"budgets": Budgets(Limit(0))}),
        ({"max_unavailable": "2"}, {"budgets": Budgets(max_unavailable=Limit(2))}),
        ({"downloads": 5, "reboots": 2}, {"budgets": Budgets(downloads=5, reboots=2)}),
        ({"download": "ahead"}, {"download": Download.AHEAD}),
        ({"offline": "24h"}, {"timeouts": Timeouts(offline=86400.0)}),
        ({"boot_timeout": "20m"}, {"timeouts": Timeouts(boot=1200.0)}),
        ({"boot_timeout": 1.5, "stage_timeout": "1h"}, {"timeouts": Timeouts(3600.0, 1.5)}),
        ({"retries": 0}, {"retries": Retries(0)}),
        ({"on_failure": "leave"}, {"on_failure": OnFailure.LEAVE}),
        ({"on_halt": "rollback"}, {"on_halt": OnHalt.ROLLBACK}),
        ({"soft_reboot": "auto"}, {"soft_reboot": SoftReboot.AUTO}),
    ],
)
def test_an_option(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert with_overrides(RolloutPolicy(), **given) == RolloutPolicy(**expected)


def test_the_rest_of_the_policy_stays() -> None:
    policy = RolloutPolicy(
        budgets=Budgets(Limit(3), group_by=("site",), per_group=Limit(1)),
        timeouts=Timeouts(stage=1.0, offline=2.0),
        windows=NIGHTS,
    )
    changed = with_overrides(policy, max_unavailable="5%", boot_timeout=7)
    assert changed.budgets == Budgets(
        Limit(3), Limit(5, True), group_by=("site",), per_group=Limit(1)
    )
    assert changed.timeouts == Timeouts(stage=1.0, boot=7.0, offline=2.0)
    assert changed.windows == NIGHTS


def test_success_and_bake_hold_for_every_wave() -> None:
    changed = with_overrides(RolloutPolicy(waves=WAVES), success="100", bake="0")
    assert [(rule.success, rule.bake) for rule in changed.waves] == [(100, 0.0), (100, 0.0)]
    assert [rule.selector for rule in changed.waves] == ["a", "b"]


def test_windows_can_be_left_out() -> None:
    assert with_overrides(RolloutPolicy(windows=NIGHTS), windows=False).windows == Windows()


@pytest.mark.parametrize(
    ("policy", "given", "words"),
    [
        (RolloutPolicy(), {"canary": "x"}, "^--canary: 'x' is not a number of hosts"),
        (RolloutPolicy(), {"batch": "0"}, "^--batch: '0' is not a number of hosts"),
        (
            RolloutPolicy(),
            {"max_unavailable": "0"},
            "^--max-unavailable: '0' is not a number of hosts",
        ),
        (RolloutPolicy(), {"max_failures": -1}, "^--max-failures: '-1' is not a number of hosts"),
        (RolloutPolicy(), {"reboots": 0}, "reboots: at least one host"),
        (RolloutPolicy(), {"downloads": -5}, "downloads: at least one host"),
        (RolloutPolicy(), {"bake": "5"}, "^--bake: '5' is not a length of time"),
        (RolloutPolicy(), {"success": "101"}, "^--success: '101' is not a percentage"),
        (RolloutPolicy(), {"offline": "x"}, "^--offline: 'x' is not a length of time"),
        (RolloutPolicy(), {"boot_timeout": 0.0}, "more than 0 seconds"),
        (RolloutPolicy(), {"stage_timeout": "0s"}, "too little"),
        (RolloutPolicy(), {"retries": -1}, "not a number of retries"),
        (
            RolloutPolicy(),
            {"on_failure": "x"},
            "^--on-failure: 'x' is none of rollback, queue-rollback, leave",
        ),
        (
            RolloutPolicy(name="p", waves=WAVES),
            {"canary": "1"},
            "--canary has no effect .*'p'",
        ),
        (RolloutPolicy(waves=WAVES, exclusive=True), {"batch": "1"}, "--batch has no effect"),
    ],
)
def test_an_option_that_is_wrong(policy: RolloutPolicy, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        with_overrides(policy, **given)


def test_the_hint_is_kept() -> None:
    with pytest.raises(UsageError) as caught:
        with_overrides(RolloutPolicy(), bake="soon")
    assert caught.value.hint == "write 30s, 5m, 24h, 7d or 2w"


def test_batch_is_for_who_is_in_no_wave() -> None:
    assert with_overrides(RolloutPolicy(waves=WAVES), batch="7").batch == Limit(7)
