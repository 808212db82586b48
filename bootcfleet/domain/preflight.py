"""What may keep a host out of a rollout, found before anything is done to it.

Each rule looks at one host and at what is planned for it.  *refuse* keeps the host out, *confirm*
is something that must be acknowledged first, *warn* is said.  Messages are what is true of the
host, to be read behind its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bootcfleet.domain import preflight_host, preflight_image
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
class Confirmation:
    """Something that a person must know before: one sentence for all hosts that it is true of."""

    rule: str
    sentence: str
    hosts: tuple[str, ...]


def confirmations(found: Iterable[tuple[str, Finding]]) -> tuple[Confirmation, ...]:
    """What must be acknowledged, the same said of several hosts only once."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for host, finding in found:
        if finding.severity is Severity.CONFIRM:
            grouped.setdefault((finding.rule, finding.message), []).append(host)
    made = []
    for (rule, message), hosts in grouped.items():
        shown = ", ".join(hosts[:5]) + (f" and {len(hosts) - 5} more" if len(hosts) > 5 else "")
        made.append(Confirmation(rule, f"{shown}: {message}", tuple(hosts)))
    return tuple(made)
