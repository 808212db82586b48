"""Units and the whole system against what a check expects of them."""

from __future__ import annotations

import fnmatch

from bootcfleet.domain.check import bounded
from bootcfleet.domain.checkfacts import Facts, Verb
from bootcfleet.domain.checkkinds import SystemCheck, UnitCheck
from bootcfleet.domain.checksystem import Problem


def unit_problems(spec: UnitCheck, target: str, facts: Facts) -> list[Problem]:
    """What is wrong with a unit, on disk or running."""
    if spec.asks_running():
        return _unit_state(spec, target, facts)
    answer = facts.get(Verb.UNIT, target)
    if (error := answer.text("error")) is not None:
        return [Problem("a systemd unit", error)]
    state = (answer.text("enabled") or "").splitlines()[-1:] or [""]
    word = state[0]
    if not word or " " in word or word == "not-found":
        if spec.enabled is False or spec.masked is False:
            return []
        return [Problem("a unit of this name", "no such unit")]
    problems = []
    on = word in ("enabled", "enabled-runtime", "alias")
    masked = word in ("masked", "masked-runtime")
    if spec.enabled is not None and on is not spec.enabled:
        problems.append(Problem("enabled" if spec.enabled else "not enabled", word))
    if spec.masked is not None and masked is not spec.masked:
        problems.append(Problem("masked" if spec.masked else "not masked", word))
    return problems


def _unit_state(spec: UnitCheck, target: str, facts: Facts) -> list[Problem]:
    answer = facts.get(Verb.UNIT_STATE, target)
    text = answer.text("state") or ""
    said = dict(line.partition("=")[::2] for line in text.splitlines())
    active = said.get("ActiveState", "")
    if not active:
        return [Problem("an answer of systemd", bounded(text) or "none")]
    known = said.get("LoadState") != "not-found"
    state = f"{active} ({said.get('SubState', '')})" if known else "no such unit"
    if log := answer.text("log"):
        state += f", which said last: {log.splitlines()[-1]}"
    problems = []
    if spec.active is not None and (active in ("active", "reloading")) is not spec.active:
        problems.append(Problem("active" if spec.active else "not active", state))
    if spec.failed is not None and (active == "failed") is not spec.failed:
        problems.append(Problem("failed" if spec.failed else "not failed", state))
    return problems


def system_problems(spec: SystemCheck, facts: Facts) -> list[Problem]:
    """What keeps the whole system from being well."""
    answer = facts.get(Verb.SYSTEM)
    state = answer.text("state") or "no answer"
    if state == "running":
        return []
    failed = [
        line.split()[0] for line in (answer.text("failed") or "").splitlines() if line.split()
    ]
    left = [
        unit
        for unit in failed
        if not any(fnmatch.fnmatchcase(unit, one) for one in spec.allow_failed)
    ]
    if state == "degraded" and not left:
        return []
    units = f" (failed: {', '.join(left)})" if left else ""
    return [Problem("running", f"{state.splitlines()[-1]}{units}")]
