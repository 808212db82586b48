"""Looks at all hosts at once before a rollout, and says of each what may keep it out.

One round trip a host; what a reference is, and what its manifests say, is asked once for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bootcfleet.domain.bootc import BootcStatus
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.imagestanding import Standings
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.preflight import judge
from bootcfleet.domain.preflight_case import Finding, Limits, Planned, Severity, already_there
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import Operation
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.hostprobe import FOLLOWED, facts_of, probe
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.fleet import Fleet, Resolve, resolve_all
from bootcfleet.ops.imagestanding import Judge
from bootcfleet.ops.preflight_images import Images, by_digest, goal
from bootcfleet.ops.preflight_report import Preflight, PreflightReport
from bootcfleet.ops.rollout_past import AskPast, Past

__all__ = ["Preflight", "PreflightReport", "look_at", "preflight", "preflight_one", "tracked"]


def look_at(
    fleet: Fleet, names: Sequence[str], *, reference: str | None = None, parallel: int = 50
) -> dict[str, HostTruth | FleetError]:
    """The facts of hosts, all at once; `reference` is what their registries are asked for."""
    return gather(
        names,
        lambda name: probe(fleet.executor(name), name, reference=reference),
        parallel=parallel,
    )


def preflight(
    fleet: Fleet,
    names: Sequence[str],
    *,
    operation: Operation = Operation.UPGRADE,
    image: ImageRef | None = None,
    resolve: Resolve | None = None,
    registry: RegistryClient | None = None,
    rollout: str | None = None,
    signed: bool = False,
    wants: Sequence[str] = (),
    hosts_ask: bool = True,
    judge_images: Judge | None = None,
    ask_past: AskPast | None = None,
    limits: Limits | None = None,
    parallel: int = 50,
) -> Preflight:
    """Look at the hosts and judge what is planned for them.

    `image` is where a switch goes; an upgrade follows what each host tracks.  `resolve` says what
    a reference is now; without `registry` neither downloads nor the releases of images are known.
    `rollout` is the one that asks (its own locks are no obstacle), `signed` whether the project
    signs its images, `wants` the abilities of bootc that the policy would use, `hosts_ask`
    whether hosts ask their registries themselves.  `judge_images` says whether hosts should have
    what they would go to (`ops/imagestanding.py`), `ask_past` what earlier rollouts did to them
    (`ops/rollout_past.py`); without these nothing is known of that.
    """
    began = datetime.now(UTC)
    pulls = operation in {Operation.UPGRADE, Operation.SWITCH}
    ask = str(image) if operation is Operation.SWITCH else FOLLOWED
    looked = look_at(
        fleet, names, reference=ask if pulls and hosts_ask else None, parallel=parallel
    )
    truths = {name: one for name, one in looked.items() if isinstance(one, HostTruth)}
    wanted = {name: _wanted(operation, truth.status, image) for name, truth in truths.items()}
    needed = [ref for ref in wanted.values() if ref is not None] if pulls else []
    resolved, problems = resolve_all(needed, resolve)
    images = Images(registry, parallel)
    planned = {}
    for name in truths:
        ref = wanted[name] if pulls else None
        found = resolved.get(str(ref)) if ref else None
        planned[name] = Planned(
            operation, ref, found, rollout=rollout, signed=signed, wants=tuple(wants)
        )
    images.learn(
        [(truths[name].status, wanted[name], one.resolved) for name, one in planned.items()]
    )
    past = _past(ask_past, truths.values(), began, limits or Limits())
    goals = {name: goal(wanted[name], one.resolved) for name, one in planned.items()}
    standings = judge_images(_distinct(goals.values())) if judge_images else Standings()
    for name, future in goals.items():
        standing = standings.of(str(future.digest) if future else None)
        planned[name] = replace(
            planned[name],
            standing=standing,
            moved_ago=_moved_ago(truths[name], past, began),
            lock_standing=past.standings.get(lock.rollout) if (lock := truths[name].lock) else None,
        )
    reports = {}
    for name, one in looked.items():
        if isinstance(one, FleetError):
            reports[name] = PreflightReport(name, findings=(_unreachable(one),), unreachable=one)
        else:
            reports[name] = _report(one, planned[name], wanted[name], images, limits)
    return Preflight(reports, resolved, tuple(problems), standings.notes)


def preflight_one(
    host: Host,
    executor: Executor,
    *,
    operation: Operation,
    image: ImageRef | None = None,
    resolve: Resolve | None = None,
    registry: RegistryClient | None = None,
    rollout: str | None = None,
    judge_images: Judge | None = None,
) -> PreflightReport:
    """The same of one host that could not be asked when the others were.

    Raises the registry's error when what the host needs cannot be resolved.
    """
    found = preflight(
        Fleet([host], lambda _: executor),
        (host.name,),
        operation=operation,
        image=image,
        resolve=resolve,
        registry=registry,
        rollout=rollout,
        judge_images=judge_images,
    )
    if found.problems:
        raise found.problems[0]
    return found.reports[host.name]


def _report(
    truth: HostTruth,
    planned: Planned,
    wanted: ImageRef | None,
    images: Images,
    limits: Limits | None,
) -> PreflightReport:
    size, exact = images.download(truth.status, planned)
    planned = replace(
        planned,
        download=size.size if size else None,
        exact=exact,
        release=images.release(truth.status, wanted, planned.resolved),
    )
    return PreflightReport(
        truth.host,
        truth,
        facts_of(truth),
        planned.reference,
        size,
        exact,
        already_there(truth.status, planned),
        judge(truth, planned, limits),
    )


def tracked(status: BootcStatus | None) -> ImageRef | None:
    """The registry reference that ``bootc upgrade`` would follow, unless a digest pins it."""
    entry = (status.staged or status.booted) if status else None
    if entry is None or entry.ref is None or entry.ref.pinned:
        return None
    return entry.ref


def _wanted(
    operation: Operation, status: BootcStatus | None, image: ImageRef | None
) -> ImageRef | None:
    """What the host is to become, by tag or by digest."""
    match operation:
        case Operation.SWITCH:
            return image
        case Operation.UPGRADE:
            return tracked(status)
        case Operation.ROLLBACK:
            return by_digest(status.rollback) if status else None
        case _:
            return None


def _past(
    ask: AskPast | None, truths: Iterable[HostTruth], began: datetime, limits: Limits
) -> Past:
    """What the ledger knows of hosts that are locked, or have just booted; it is not asked else."""
    seen = tuple(truths)
    locks = {truth.lock.rollout for truth in seen if truth.lock and truth.lock.readable}
    young = any(truth.uptime is not None and truth.uptime < limits.young for truth in seen)
    if ask is None or not (locks or young):
        return Past()
    return ask(began - timedelta(seconds=limits.young), locks)


def _moved_ago(truth: HostTruth, past: Past, began: datetime) -> float | None:
    """How long before the look a rollout left the host on what it runs, in seconds.

    The name alone says little: another host may have had it, or somebody has moved it since.
    """
    entry, booted = past.moves.get(truth.host), truth.status.booted if truth.status else None
    if entry is None or booted is None or entry.digests.get("after") != booted.digest:
        return None
    return (began - entry.at).total_seconds()


def _distinct(images: Iterable[ImageRef | None]) -> list[ImageRef]:
    return list({str(ref): ref for ref in images if ref is not None}.values())


def _unreachable(error: FleetError) -> Finding:
    fault = error.fault if isinstance(error, HostError) else HostFault.COMMAND_FAILED
    return Finding("reach", Severity.REFUSE, error.message, error.hint, fault)
