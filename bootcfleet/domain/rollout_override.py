"""What the command line says, laid over a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from bootcfleet.domain.rollout_fields import any_hosts, hosts, percent, seconds, some_seconds
from bootcfleet.domain.rollout_policy import (
    Download,
    OnFailure,
    OnHalt,
    RolloutPolicy,
    SoftReboot,
)
from bootcfleet.domain.window import Windows
from bootcfleet.errors import UsageError


def with_overrides(
    policy: RolloutPolicy,
    *,
    canary: str | None = None,
    batch: str | None = None,
    success: str | None = None,
    bake: str | None = None,
    max_failures: str | int | None = None,
    max_unavailable: str | None = None,
    downloads: int | None = None,
    reboots: int | None = None,
    download: str | None = None,
    offline: str | None = None,
    stage_timeout: str | float | None = None,
    boot_timeout: str | float | None = None,
    retries: int | None = None,
    on_failure: str | None = None,
    on_halt: str | None = None,
    soft_reboot: str | None = None,
    windows: bool = True,
) -> RolloutPolicy:
    """The policy with what is not None laid over it; texts are as in ``rollouts:``.

    `canary` of 0 is no canary; numbers of time are seconds; without `windows` neither windows nor
    blackout hold.

    Raises `UsageError` for a value that is wrong, and for canary and batch where the policy's
    own waves leave them without effect.
    """
    if canary is not None:
        if policy.waves:
            raise _without_effect(policy, "canary")
        first = _read("canary", any_hosts, canary.strip())
        policy = replace(policy, canary=first if first.number else None)
    if batch is not None:
        if policy.exclusive:
            raise _without_effect(policy, "batch")
        policy = replace(policy, batch=_read("batch", hosts, batch))
    if success is not None:
        least = _read("success", percent, success)
        # Whoever says it now means every wave.
        waves = tuple(replace(rule, success=least) for rule in policy.waves)
        policy = replace(policy, success=least, waves=waves)
    if bake is not None:
        length = _read("bake", seconds, bake)
        waves = tuple(replace(rule, bake=length) for rule in policy.waves)
        policy = replace(policy, bake=length, waves=waves)
    if not windows:
        policy = replace(policy, windows=Windows())
    policy = _with_budgets(policy, max_failures, max_unavailable, downloads, reboots)
    policy = _with_times(policy, offline, stage_timeout, boot_timeout, retries)
    if download is not None:
        policy = replace(policy, download=_choice("download", Download, download))
    if on_failure is not None:
        policy = replace(policy, on_failure=_choice("on-failure", OnFailure, on_failure))
    if on_halt is not None:
        policy = replace(policy, on_halt=_choice("on-halt", OnHalt, on_halt))
    if soft_reboot is not None:
        policy = replace(policy, soft_reboot=_choice("soft-reboot", SoftReboot, soft_reboot))
    return policy


def _with_budgets(
    policy: RolloutPolicy,
    max_failures: str | int | None,
    max_unavailable: str | None,
    downloads: int | None,
    reboots: int | None,
) -> RolloutPolicy:
    budgets = policy.budgets
    if max_failures is not None:
        budgets = replace(budgets, max_failures=_read("max-failures", any_hosts, max_failures))
    if max_unavailable is not None:
        budgets = replace(budgets, max_unavailable=_read("max-unavailable", hosts, max_unavailable))
    for name, number in (("downloads", downloads), ("reboots", reboots)):
        if number is not None and number < 1:
            raise UsageError(f"{name}: at least one host must be allowed to, not {number}")
    if downloads is not None:
        budgets = replace(budgets, downloads=downloads)
    if reboots is not None:
        budgets = replace(budgets, reboots=reboots)
    return replace(policy, budgets=budgets)


def _with_times(
    policy: RolloutPolicy,
    offline: str | None,
    stage: str | float | None,
    boot: str | float | None,
    retries: int | None,
) -> RolloutPolicy:
    timeouts = policy.timeouts
    if offline is not None:
        timeouts = replace(timeouts, offline=_read("offline", seconds, offline))
    if stage is not None:
        timeouts = replace(timeouts, stage=_limit("the time limit of staging", stage))
    if boot is not None:
        timeouts = replace(timeouts, boot=_limit("the time limit of a reboot", boot))
    if retries is not None:
        if retries < 0:
            raise UsageError(f"{retries} is not a number of retries")
        policy = replace(policy, retries=replace(policy.retries, attempts=retries))
    return replace(policy, timeouts=timeouts)


def _limit(what: str, value: str | float) -> float:
    if isinstance(value, str):
        return some_seconds(value)
    if value <= 0:
        raise UsageError(f"{what} is more than 0 seconds, not {value:g}")
    return float(value)


Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")


def _choice(option: str, kind: type[Choice], text: str) -> Choice:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(kind)
        raise UsageError(f"--{option}: {text!r} is none of {known}") from None


def _read(option: str, reader: Callable[[Any], Value], text: object) -> Value:
    """The value of an option; its error says which of them is wrong."""
    try:
        return reader(text)
    except UsageError as error:
        raise UsageError(f"--{option}: {error.message}", hint=error.hint) from error


def _without_effect(policy: RolloutPolicy, option: str) -> UsageError:
    return UsageError(
        f"--{option} has no effect with the policy {policy.name!r}: its waves say who goes when",
        hint="leave the option out, or name another policy: --policy NAME",
    )
