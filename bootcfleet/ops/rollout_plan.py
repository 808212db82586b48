"""Makes the plan of a rollout: what each host runs, what it should become, and why not.

Each tag is resolved once, here; from then on digests decide (law 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from bootcfleet.domain.bootc import BootEntry
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.judgement import OFFLINE
from bootcfleet.domain.preflight_case import Finding, renames
from bootcfleet.domain.reference import ImageRef, InvalidReferenceError, Platform
from bootcfleet.domain.rollout import (
    HostPhase,
    HostState,
    Observation,
    Operation,
    Rollout,
    Target,
)
from bootcfleet.domain.rollout_policy import Download, RolloutPolicy, SoftReboot
from bootcfleet.domain.waves import plan_waves
from bootcfleet.drivers.bootc import HostFacts
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.fleet import Fleet, Resolve
from bootcfleet.ops.hosttask import observation
from bootcfleet.ops.imagestanding import Judge
from bootcfleet.ops.preflight import Preflight, PreflightReport, preflight, tracked
from bootcfleet.ops.rollout_past import AskPast


@dataclass(frozen=True)
class Plan:
    """A rollout that has not begun, and what was learned while planning it."""

    rollout: Rollout
    observed: Mapping[str, Observation]
    preflight: Preflight

    @property
    def resolved(self) -> Mapping[str, Resolved]:
        """What each reference was when the plan was made."""
        return self.rollout.resolved

    @property
    def moving(self) -> tuple[str, ...]:
        """The hosts that will change, in the order of their waves."""
        targets = self.rollout.targets
        return tuple(name for wave in self.rollout.waves for name in wave.hosts if name in targets)


def plan_rollout(
    fleet: Fleet,
    operation: Operation,
    policy: RolloutPolicy,
    *,
    rollout_id: str,
    resolve: Resolve,
    image: ImageRef | None = None,
    apply_staged: bool = False,
    registry: RegistryClient | None = None,
    signed: bool = False,
    hosts_ask: bool = True,
    judge_images: Judge | None = None,
    ask_past: AskPast | None = None,
    parallel: int = 50,
    began: datetime | None = None,
    actor: str = "",
) -> Plan:
    """Look at every host and decide what it should become.

    `image` is where a switch goes; an upgrade follows what each host tracks.
    Hosts that cannot take part are in the rollout's states as refused, with
    the reason; hosts that need nothing as unchanged; hosts that cannot be reached as deferred.

    `registry` tells how much each host downloads; `signed` is whether the project signs its
    images, `hosts_ask` whether hosts ask their registries themselves, `judge_images` says
    whether hosts should have an image at all, `ask_past` what earlier rollouts did to them.

    Raises the registry's error when a reference that a host needs cannot be
    resolved: nothing was begun.
    """
    found = preflight(
        fleet,
        fleet.names,
        operation=operation,
        image=image,
        resolve=resolve,
        registry=registry,
        rollout=rollout_id,
        signed=signed,
        wants=_wants(policy),
        hosts_ask=hosts_ask,
        judge_images=judge_images,
        ask_past=ask_past,
        parallel=parallel,
    )
    if found.problems:
        raise found.problems[0]
    targets: dict[str, Target] = {}
    states: dict[str, HostState] = {}
    for name, report in found.reports.items():
        decided = _host(operation, report, found.resolved, image, apply_staged=apply_staged)
        if isinstance(decided, Target):
            targets[name] = decided
        else:
            states[name] = decided
    moving = [host for name, host in fleet.hosts.items() if name in targets]
    # A host that is off has its place too: what its wave waits for holds for it when it returns.
    # It comes behind the others, so that it is no canary where anybody else could be.
    moving += [h for n, h in fleet.hosts.items() if n in states and _waits(states[n])]
    rollout = Rollout(
        rollout_id,
        operation,
        policy,
        plan_waves(moving, policy),
        targets,
        states,
        hosts=dict(fleet.hosts),
        resolved=found.resolved,
        reference=str(image) if image else None,
        began=began,
        actor=actor,
    )
    facts = {name: one.facts for name, one in found.reports.items() if one.facts is not None}
    seen = {name: observation(own) for name, own in facts.items()}
    return Plan(rollout, seen, found)


def _waits(state: HostState) -> bool:
    return state.phase is HostPhase.DEFERRED


def _wants(policy: RolloutPolicy) -> tuple[str, ...]:
    """The abilities of bootc that the policy is better off with."""
    wants = []
    if policy.windows.windows or policy.download is Download.AHEAD:
        wants.append("download_only")
    if policy.soft_reboot is SoftReboot.AUTO:
        wants.append("soft_reboot")
    return tuple(wants)


def plan_one(
    host: Host,
    executor: Executor,
    operation: Operation,
    policy: RolloutPolicy,
    rollout_id: str,
    resolved: Mapping[str, Resolved],
    reference: str | None,
    resolve: Resolve | None,
) -> tuple[Target | HostState, Observation | None]:
    """The plan of a host that could not be asked when the others were.

    It gets what they get: a reference is resolved anew only when no other host needed it.
    Raises `HostError` for a host that cannot be spoken to, and the registry's errors.
    """

    def known(ref: ImageRef) -> Resolved:
        if str(ref) in resolved:
            return resolved[str(ref)]
        if resolve is None:
            raise FleetError(f"{ref} was not resolved when the rollout was planned")
        return resolve(ref)

    image = ImageRef.parse(reference) if reference else None
    found = preflight(
        Fleet([host], lambda _host: executor),
        (host.name,),
        operation=operation,
        image=image,
        resolve=known,
        rollout=rollout_id,
        wants=_wants(policy),
    )
    if found.problems:
        raise found.problems[0]
    report = found.reports[host.name]
    if report.truth is None:
        refusal = report.refusals[0]
        raise HostError(
            host.name, refusal.fault or HostFault.COMMAND_FAILED, refusal.message, hint=refusal.hint
        )
    decided = _host(operation, report, found.resolved, image, apply_staged=False)
    return decided, observation(report.facts) if report.facts else None


def _host(
    operation: Operation,
    report: PreflightReport,
    resolved: Mapping[str, Resolved],
    image: ImageRef | None,
    *,
    apply_staged: bool,
) -> Target | HostState:
    """What becomes of one host: its target, or why it stays out, or waits."""
    truth, facts = report.truth, report.facts
    refusals = report.refusals
    if truth is None:
        fault = refusals[0].fault or HostFault.COMMAND_FAILED
        if fault in OFFLINE:
            return HostState(HostPhase.DEFERRED, refusals[0].message, fault=fault, down=True)
        return HostState(HostPhase.REFUSED, _with_hint(refusals[0]), fault=fault)
    if facts is not None:
        reference = _reference(operation, facts, image)
        decided = _target(
            operation, report.host, facts, reference, resolved, apply_staged=apply_staged
        )
        if not isinstance(decided, Target):
            return decided
        if not refusals:
            return replace(
                decided,
                system_state=truth.system_state,
                failed_units=truth.failed_units,
                version=facts.version,
                zone=truth.zone,
                timer=report.timer,
            )
    first = refusals[0]
    more = tuple(one.message for one in refusals[1:])
    fault = first.fault or HostFault.COMMAND_FAILED
    return HostState(HostPhase.REFUSED, _with_hint(first), fault=fault, evidence=more)


def _with_hint(finding: Finding) -> str:
    """Why a host stays out, and what to run next."""
    return finding.message if finding.hint is None else f"{finding.message}; {finding.hint}"


def _reference(operation: Operation, facts: HostFacts, image: ImageRef | None) -> ImageRef | None:
    """What must be resolved for this host, or None."""
    if operation is Operation.SWITCH:
        return image
    if operation is Operation.UPGRADE:
        return tracked(facts.status)
    return None


def _target(
    operation: Operation,
    name: str,
    facts: HostFacts,
    reference: ImageRef | None,
    resolved: Mapping[str, Resolved],
    *,
    apply_staged: bool,
) -> Target | HostState:
    """What a host should become, or the state in which it stays out."""
    status = facts.status
    booted = status.booted
    # Before the next one: with layered packages bootc names neither an image nor a type.
    if booted is not None and booted.incompatible:
        return _layered("")
    if booted is None or not status.booted_by_bootc:
        return _refuse(HostFault.NOT_BOOTC_BOOTED, "is not booted by bootc")
    if operation is Operation.ROLLBACK:
        return _back(name, facts)
    if operation is Operation.REBOOT:
        return _again(name, facts, apply_staged=apply_staged)
    if operation is Operation.UPGRADE and status.staged and status.staged.incompatible:
        return _layered(" staged")
    if reference is None:
        return _not_followed(status.staged or booted)
    image = resolved[str(reference)]
    accepted = _accepted(image, booted.architecture)
    if accepted is None:
        offers = ", ".join(sorted(str(platform) for platform in image.platforms))
        return _refuse(
            HostFault.IMAGE_NOT_FOUND,
            f"is {booted.architecture} and {reference} has no image for it (it has {offers})",
        )
    new_name = renames(operation, status, reference)
    waits = status.staged is not None or status.rollback_queued
    if booted.digest in accepted and not waits and not new_name:
        return HostState(HostPhase.UNCHANGED, f"already runs {title(booted)}")
    to = f"{image.version or ''} {image.digest.short}".strip()
    verb = "switch to" if operation is Operation.SWITCH else "upgrade to"
    reason = f"{verb} {to} from {title(booted)}"
    if new_name and booted.digest in accepted:
        reason = f"follow {reference} with the same image, {title(booted)}"
    if status.staged and status.staged.digest in accepted and not new_name:
        reason += " (staged already)"
    elif status.staged:
        reason += f" (replaces the staged {title(status.staged)})"
    boot = facts.boot_id
    return Target(name, str(reference), accepted, booted.digest, boot, reason, renames=new_name)


def _layered(where: str) -> HostState:
    return _refuse(
        HostFault.INCOMPATIBLE,
        f"has local rpm-ostree changes (layered packages){where}, which bootc refuses to carry on; "
        "see `rpm-ostree status`, remove them with `rpm-ostree reset`",
    )


def _not_followed(entry: BootEntry) -> HostState:
    """Why an upgrade has nothing to follow; `entry` is what bootc would go on from."""
    if entry.ref is not None and entry.ref.pinned:
        return _refuse(
            HostFault.WRONG_DIGEST,
            f"is pinned by digest ({entry.reference}), so an upgrade never finds anything; "
            "use `bootcfleet fleet switch IMAGE`",
        )
    return _refuse(
        HostFault.REGISTRY,
        f"follows {entry.transport or 'no image'}:{entry.reference or ''}, which is not in a "
        "registry; use `bootcfleet fleet switch IMAGE`",
    )


def _back(name: str, facts: HostFacts) -> Target | HostState:
    """The target of a rollback: the rollback slot."""
    status = facts.status
    if status.rollback is None or status.rollback.digest is None or status.booted is None:
        return _refuse(HostFault.NO_ROLLBACK, "has no rollback deployment")
    reason = f"roll back to {title(status.rollback)} from {title(status.booted)}"
    if status.staged:
        reason += f" (discards the staged {title(status.staged)})"
    return Target(
        name,
        status.rollback.reference,
        frozenset({status.rollback.digest}),
        status.booted.digest,
        facts.boot_id,
        reason,
    )


def _again(name: str, facts: HostFacts, *, apply_staged: bool) -> Target | HostState:
    """The target of a plain reboot: the same deployment, in a new boot."""
    status = facts.status
    after = status.booted
    if status.rollback_queued:
        return _refuse(
            HostFault.WRONG_DIGEST,
            "has a rollback queued, which a reboot would carry out; "
            "use `bootcfleet fleet rollback`",
        )
    if status.staged:
        if not apply_staged:
            return _refuse(
                HostFault.WRONG_DIGEST,
                f"has {title(status.staged)} staged, which a reboot would boot; add "
                "--apply-staged, or use `bootcfleet fleet upgrade`",
            )
        after = status.staged
    if after is None or after.digest is None:
        return _refuse(HostFault.NOT_BOOTC_BOOTED, "does not say which digest it runs")
    before = status.booted.digest if status.booted else None
    return Target(
        name,
        after.reference,
        frozenset({after.digest}),
        before,
        facts.boot_id,
        f"reboot into {title(after)}",
    )


def _accepted(image: Resolved, architecture: str | None) -> frozenset[str] | None:
    """The digests that count as `image` on this architecture; None when it has none for it."""
    index = str(image.digest)
    if not image.platforms:
        return frozenset({index})
    if architecture is None:
        return frozenset({index, *(str(digest) for digest in image.platforms.values())})
    try:
        own = image.platforms.get(Platform.parse(architecture))
    except InvalidReferenceError:
        # One odd host must not end the plan of all others.
        return None
    return frozenset({index, str(own)}) if own else None


def _refuse(fault: HostFault, message: str) -> HostState:
    return HostState(HostPhase.REFUSED, message, fault=fault)


def title(entry: BootEntry | None) -> str:
    """A slot for people: version and short digest."""
    if entry is None:
        return "nothing"
    digest = entry.digest.removeprefix("sha256:")[:12] if entry.digest else "no digest"
    return f"{entry.version} {digest}" if entry.version else digest
