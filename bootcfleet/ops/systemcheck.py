"""Runs checks on a system through an executor: a container of an image, or a host over SSH."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bootcfleet.domain.check import Check, CheckResult, Mode, Outcome
from bootcfleet.domain.checkfacts import distinct
from bootcfleet.domain.checkjudge import commands, judge, questions
from bootcfleet.domain.checkkinds import HttpCheck
from bootcfleet.drivers.checkprobe import probe
from bootcfleet.drivers.command import Executor

#: Seconds between two looks at a system whose services may still start.
INTERVAL = 1.0

Sleep = Callable[[float], None]
Clock = Callable[[], float]


def check_system(
    checks: Sequence[Check],
    executor: Executor,
    mode: Mode,
    *,
    reason: str = "",
    sleep: Sleep = time.sleep,
    monotonic: Clock = time.monotonic,
) -> tuple[CheckResult, ...]:
    """Run checks on a system: all questions in one command, each command of a check on its own.

    What asks a running system is asked again until it passes or its time is
    over, and so is everything on a host that could not be spoken to. `reason`
    says why nothing is booted. Never raises for what is found.
    """
    results: dict[int, CheckResult] = {}
    waiting: dict[int, Check] = {}
    for number, check in enumerate(checks):
        decided = check.decided(mode)
        if decided is None:
            waiting[number] = check
        else:
            results[number] = CheckResult(check, decided, found=_why(decided, reason, check))
    begun = monotonic()
    while waiting:
        asked = distinct(q for check in waiting.values() for q in questions(check, mode))
        ran = dict(pair for check in waiting.values() for pair in commands(check))
        # What waits for an answer over HTTP may take its own time, one after another.
        specs = [check.spec for check in waiting.values()]
        slow = sum(spec.timeout for spec in specs if isinstance(spec, HttpCheck))
        facts = probe(executor, asked, tuple(ran.items()), timeout=120.0 + slow)
        passed = monotonic() - begun
        for number, check in list(waiting.items()):
            results[number] = judge(check, facts, mode)
            # A connection that breaks soon after a reboot says nothing about the host yet.
            unsure = check.running or (mode is Mode.HOST and bool(facts.error))
            again = unsure and passed < check.within
            if results[number].outcome is Outcome.PASSED or not again:
                del waiting[number]
        if waiting:
            sleep(INTERVAL)
    return tuple(results[number] for number in range(len(checks)))


def _why(decided: Outcome, reason: str, check: Check) -> str:
    if decided is Outcome.SKIPPED:
        return f"needs a booted system: {reason}"
    return f"only for {'a host' if check.needs == 'host' else 'an image'}"
