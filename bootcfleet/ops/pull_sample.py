"""The sampled hosts of a rollout in pull mode: chosen before a promotion, and asked after it.

Only they are spoken to: what this costs depends on the size of the sample and on nothing
else.  No connection is kept: the next look is minutes away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bootcfleet.domain.inventory import Host
from bootcfleet.domain.pull_policy import PullPlan, candidates
from bootcfleet.domain.pull_sample import Baseline, Look, VerdictKind
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.hosttask import observation
from bootcfleet.ops.pull_plan import followers

TIMER = "bootc-fetch-apply-updates.timer"

#: Makes a fleet of the hosts that are to be asked.
Connect = Callable[[Sequence[Host]], Fleet]


@dataclass(frozen=True)
class Sample:
    """Who is asked, what they said before, and who could not be taken, with the reason."""

    hosts: Mapping[str, Baseline]
    passed_over: Mapping[str, str]


def choose_sample(
    plan: PullPlan, index: int, hosts: Sequence[Host], connect: Connect, *, parallel: int
) -> Sample:
    """Choose the hosts of a channel that are asked, and ask them what they run now.

    A host that does not answer, follows something else or has no active timer could say nothing
    about the new digest: the next in the order takes its place.  At most twice as many as wanted
    are tried, so that the cost stays the sample's.
    """
    rule = plan.channels[index]
    wanted = plan.wanted(rule)
    following = set(followers(hosts, rule, plan.references[rule.name]))
    order = candidates(following, rollout=plan.id, channel=rule.name, count=2 * wanted)
    by_name = {host.name: host for host in hosts if host.name in set(order)}
    found: dict[str, Baseline] = {}
    passed: dict[str, str] = {}
    while len(found) < wanted and order:
        batch, order = order[: wanted - len(found)], order[wanted - len(found) :]
        reference = ImageRef.parse(plan.references[rule.name])
        fleet = connect([by_name[name] for name in batch])
        try:
            answers = gather(
                batch,
                lambda name, ref=reference, on=fleet: _baseline(on, name, ref),  # type: ignore[misc]
                parallel=parallel,
            )
        finally:
            fleet.close()
        for name, answer in answers.items():
            if isinstance(answer, FleetError):
                passed[name] = answer.message
            else:
                found[name] = answer
    return Sample(found, passed)


def _baseline(fleet: Fleet, name: str, reference: ImageRef) -> Baseline:
    """What a host is before the promotion.  Raises `HostError` when it cannot be sampled."""
    bootc = fleet.bootc(name)
    facts = bootc.facts()
    status = facts.status
    if status.booted is None or not status.booted_by_bootc:
        raise HostError(name, HostFault.NOT_BOOTC_BOOTED, "is not booted by bootc")
    follows = (status.staged or status.booted).ref
    if follows is None or str(follows) != str(reference):
        raise HostError(
            name, HostFault.WRONG_DIGEST, f"follows {follows or 'no registry'}, not {reference}"
        )
    timer = fleet.executor(name).run(["systemctl", "is-active", TIMER], timeout=30.0)
    if timer.stdout.strip() != "active":
        raise HostError(name, HostFault.COMMAND_FAILED, f"has no active {TIMER}")
    system, seen = bootc.system_running(), observation(facts)
    return Baseline(
        seen.booted, seen.boot_id, system.state, seen.staged, seen.rollback, system.failed_units
    )


def look_at(
    names: Sequence[str],
    hosts: Mapping[str, Host],
    connect: Connect,
    before: Mapping[str, Look],
    now: datetime,
    *,
    parallel: int,
) -> dict[str, Look]:
    """One look at each sampled host; `before` is what the last one brought."""
    known = [name for name in names if name in hosts]
    fleet = connect([hosts[name] for name in known])
    try:
        answers = gather(known, lambda name: _look(fleet, name), parallel=parallel)
    finally:
        fleet.close()
    looks = {}
    for name in names:
        answer = answers.get(name, FleetError("is no longer in the inventory"))
        last = before.get(name, Look())
        found = Look(error=answer.message) if isinstance(answer, FleetError) else answer
        silent = None if found.settled else last.silent or now
        looks[name] = replace(found, silent=silent, was_good=last.was_good)
    return looks


def _look(fleet: Fleet, name: str) -> Look:
    bootc = fleet.bootc(name)
    facts = bootc.facts()
    system = bootc.system_running()
    return Look(observation(facts), system.state, system.failed_units)


def remember_good(
    looks: Mapping[str, Look], verdicts: Mapping[str, VerdictKind]
) -> dict[str, Look]:
    """The looks, those that were judged good marked as such."""
    return {
        name: replace(look, was_good=look.was_good or verdicts.get(name) is VerdictKind.GOOD)
        for name, look in looks.items()
    }
