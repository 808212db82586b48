"""What may keep a host out of a rollout, found before anything is done to it.

Each rule looks at one host and at what is planned for it.  *refuse* keeps the host out, *confirm*
is something that must be acknowledged first, *warn* is said.  Messages are what is true of the
host, to be read behind its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain import preflight_back, preflight_host, preflight_image
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.preflight_case import (
    Case,
    Finding,
    Limits,
    Planned,
    Rule,
    Severity,
    already_there,
)

#: Every rule by the id that its findings have, in the order in which a reader wants them.
RULES: dict[str, Rule] = {
    "bootc": preflight_host.bootc,
    "abilities": preflight_host.abilities,
    "layered-packages": preflight_host.layered,
    "follows": preflight_image.follows,
    "platform": preflight_image.platform,
    "locked": preflight_host.locked,
    "clock": preflight_host.clock,
    "space": preflight_image.space,
    "registry": preflight_image.registry,
    "signature-policy": preflight_image.policy,
    "usr-unlocked": preflight_host.usr,
    "staged": preflight_image.staged,
    "pinned-deployments": preflight_host.pinned,
    "update-timer": preflight_host.timer,
    "uptime": preflight_host.uptime,
    "system": preflight_host.system,
    "bound-images": preflight_image.bound,
    "major-release": preflight_image.release,
    "revoked": preflight_back.revoked,
    "end-of-life": preflight_back.end_of_life,
    "no-rollback": preflight_back.no_rollback,
    "etc": preflight_back.etc,
    "rollback-slot": preflight_back.slot,
}


def judge(truth: HostTruth, planned: Planned, limits: Limits | None = None) -> tuple[Finding, ...]:
    """All findings about a host, the refusals first.

    Of a host that runs already what is planned nothing is asked.
    """
    if already_there(truth.status, planned):
        return ()
    case = Case(truth, planned, limits or Limits())
    found = [one for rule in RULES.values() for one in rule(case)]
    return tuple(sorted(found, key=lambda one: list(Severity).index(one.severity)))


@dataclass(frozen=True)
class Sentence:
    """One finding, with all hosts that it is true of."""

    rule: str
    severity: Severity
    message: str
    hint: str | None
    hosts: tuple[str, ...]

    @property
    def text(self) -> str:
        """Who, and what is the matter; of many hosts only the first five are named."""
        shown, more = ", ".join(self.hosts[:5]), len(self.hosts) - 5
        return f"{shown}{f' and {more} more' if more > 0 else ''}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "rule": self.rule,
            "severity": str(self.severity),
            "message": self.message,
            "hint": self.hint,
            "hosts": list(self.hosts),
        }


def sentences(found: Iterable[tuple[str, Finding]], *severities: Severity) -> tuple[Sentence, ...]:
    """Findings by host, the same of several hosts said once; the refusals first.

    Only those of `severities`, or all without any.
    """
    grouped: dict[tuple[Severity, str, str, str | None], list[str]] = {}
    for host, one in found:
        if not severities or one.severity in severities:
            key = (one.severity, one.rule, one.message, one.hint)
            grouped.setdefault(key, []).append(host)
    made = [
        Sentence(rule, severity, message, hint, tuple(hosts))
        for (severity, rule, message, hint), hosts in grouped.items()
    ]
    return tuple(sorted(made, key=lambda one: list(Severity).index(one.severity)))
