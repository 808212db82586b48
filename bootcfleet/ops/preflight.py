"""Looks at all hosts at once before a rollout, and says of each what may keep it out.

One round trip a host; what a reference is, and what its manifests say, is asked once for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bootcfleet.domain.bootc import BootcStatus, BootEntry
from bootcfleet.domain.download import Download, download
from bootcfleet.domain.hosttruth import OSTREE_TIMER, HostTruth
from bootcfleet.domain.image import Manifest, ManifestError, Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.osrelease import OsRelease
from bootcfleet.domain.preflight import Sentence, judge, sentences
from bootcfleet.domain.preflight_case import Finding, Limits, Planned, Severity, already_there
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError, Platform
from bootcfleet.domain.rollout import Operation
from bootcfleet.drivers.bootc import HostFacts
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.hostprobe import FOLLOWED, facts_of, probe
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.download import platform_image
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.fleet import Fleet, Resolve, resolve_all


@dataclass(frozen=True)
class PreflightReport:
    """What was found out about one host.

    `facts` are as `BootcHost.facts` has them, None where bootc did not answer; `truth` is None for
    a host that could not be spoken to.  `reference` is what the host is to become, `download` what
    it needs for that, `exact` unless some of its own images are not known any more.
    """

    host: str
    truth: HostTruth | None = None
    facts: HostFacts | None = None
    reference: ImageRef | None = None
    download: Download | None = None
    exact: bool = True
    current: bool = False
    findings: tuple[Finding, ...] = ()
    unreachable: FleetError | None = None

    @property
    def error(self) -> FleetError | None:
        """Why there are no `facts`: it cannot be spoken to, or its bootc does not answer."""
        return self.unreachable or (self.truth.problem if self.truth else None)

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Why the host stays out; each has a fault."""
        return self._of(Severity.REFUSE)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is said and changes nothing."""
        return self._of(Severity.WARN)

    @property
    def confirmations(self) -> tuple[Finding, ...]:
        """What must be acknowledged first."""
        return self._of(Severity.CONFIRM)

    @property
    def system_state(self) -> str:
        """What ``systemctl is-system-running`` said."""
        return self.truth.system_state if self.truth else "unknown"

    @property
    def failed_units(self) -> tuple[str, ...]:
        """The units that had failed before."""
        return self.truth.failed_units if self.truth else ()

    @property
    def zone(self) -> str | None:
        """The host's own time zone."""
        return self.truth.zone if self.truth else None

    @property
    def timer(self) -> bool:
        """Whether a timer of bootc or rpm-ostree updates the host, and is to be inhibited."""
        return self.truth.timer or self.truth.runs(OSTREE_TIMER) if self.truth else False

    @property
    def result(self) -> str:
        """One word: ``refused``, ``confirm``, ``warned``, ``unchanged`` or ``ready``."""
        if self.refusals:
            return "refused"
        if self.current:
            return "unchanged"
        if self.confirmations:
            return "confirm"
        return "warned" if self.findings else "ready"

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data; sizes in bytes."""
        return {
            "host": self.host,
            "result": self.result,
            "reference": str(self.reference) if self.reference else None,
            "download": self.download.size if self.download else None,
            "download_exact": self.exact,
            "findings": [one.to_json() for one in self.findings],
            "facts": self.truth.to_json() if self.truth else None,
        }

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.severity is severity)


@dataclass(frozen=True)
class Preflight:
    """All reports, what each reference is, and the errors of registries asked from here."""

    reports: Mapping[str, PreflightReport]
    resolved: Mapping[str, Resolved] = field(default_factory=dict)
    problems: tuple[FleetError, ...] = ()

    @property
    def confirmations(self) -> tuple[Sentence, ...]:
        """What must be acknowledged; of hosts that stay out nothing needs to be."""
        return self.sentences(Severity.CONFIRM)

    def sentences(self, *severities: Severity) -> tuple[Sentence, ...]:
        """The findings of `severities` (all without any), the same of several hosts said once.

        Of hosts that stay out only the refusals.
        """
        return sentences(
            (
                (host, finding)
                for host, report in self.reports.items()
                for finding in report.refusals or report.findings
            ),
            *severities,
        )

    @property
    def refused(self) -> tuple[str, ...]:
        """The hosts that stay out."""
        return tuple(host for host, report in self.reports.items() if report.refusals)


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
    limits: Limits | None = None,
    parallel: int = 50,
) -> Preflight:
    """Look at the hosts and judge what is planned for them.

    `image` is where a switch goes; an upgrade follows what each host tracks.  `resolve` says what
    a reference is now; without `registry` neither downloads nor the releases of images are known.
    `rollout` is the one that asks (its own locks are no obstacle), `signed` whether the project
    signs its images, `wants` the abilities of bootc that the policy would use, and `hosts_ask`
    whether hosts ask their registries themselves.
    """
    pulls = operation in {Operation.UPGRADE, Operation.SWITCH}
    ask = str(image) if operation is Operation.SWITCH else FOLLOWED
    looked = look_at(
        fleet, names, reference=ask if pulls and hosts_ask else None, parallel=parallel
    )
    truths = {name: one for name, one in looked.items() if isinstance(one, HostTruth)}
    wanted = {name: _wanted(operation, truth.status, image) for name, truth in truths.items()}
    needed = [ref for ref in wanted.values() if ref is not None] if pulls else []
    resolved, problems = resolve_all(needed, resolve)
    images = _Images(registry, parallel)
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
    reports = {}
    for name, one in looked.items():
        if isinstance(one, FleetError):
            reports[name] = PreflightReport(name, findings=(_unreachable(one),), unreachable=one)
        else:
            reports[name] = _report(one, planned[name], wanted[name], images, limits)
    return Preflight(reports, resolved, tuple(problems))


def preflight_one(
    host: Host,
    executor: Executor,
    *,
    operation: Operation,
    image: ImageRef | None = None,
    resolve: Resolve | None = None,
    registry: RegistryClient | None = None,
    rollout: str | None = None,
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
    )
    if found.problems:
        raise found.problems[0]
    return found.reports[host.name]


def _report(
    truth: HostTruth,
    planned: Planned,
    wanted: ImageRef | None,
    images: _Images,
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
            return _by_digest(status.rollback) if status else None
        case _:
            return None


def _unreachable(error: FleetError) -> Finding:
    fault = error.fault if isinstance(error, HostError) else HostFault.COMMAND_FAILED
    return Finding("reach", Severity.REFUSE, error.message, error.hint, fault)


class _Images:
    """Manifests and releases, each image asked for once; what a registry does not tell is unknown.

    A registry that fails was told of by `resolve` already, and what is missing here costs a host
    nothing but the knowledge of its download.
    """

    def __init__(self, registry: RegistryClient | None, parallel: int) -> None:
        self._registry = registry
        self._parallel = parallel
        self._manifests: dict[tuple[str, str], tuple[Manifest, Manifest | None]] = {}
        self._releases: dict[tuple[str, str], OsRelease | None] = {}

    def learn(
        self, hosts: Sequence[tuple[BootcStatus | None, ImageRef | None, Resolved | None]]
    ) -> None:
        """Ask for what the hosts have and for what they are to become."""
        if self._registry is None:
            return
        wanted: dict[str, tuple[ImageRef, Platform, bool]] = {}
        for status, ref, resolved in hosts:
            platform = _platform(status)
            if platform is None or status is None:
                continue
            for own in _slots(status):
                wanted.setdefault(f"{own} {platform}", (own, platform, False))
            target = ref.with_digest(resolved.digest) if ref and resolved else ref
            if target is not None and target.digest is not None:
                wanted[f"{target} {platform}"] = (target, platform, True)
        gather(tuple(wanted), lambda key: self._ask(*wanted[key]), parallel=min(8, self._parallel))

    def download(
        self, status: BootcStatus | None, planned: Planned
    ) -> tuple[Download | None, bool]:
        """What a host downloads, and whether all that it has is known."""
        platform = _platform(status)
        if planned.reference is None or planned.resolved is None or platform is None or not status:
            return None, True
        target = planned.reference.with_digest(planned.resolved.digest)
        found = self._manifests.get((str(target), str(platform)))
        if found is None:
            return None, True
        own = [self._manifests.get((str(ref), str(platform))) for ref in _slots(status)]
        have = [one[0] for one in own if one is not None]
        try:
            return download(have, *found), len(have) == len(own)
        except ManifestError:
            return None, True

    def release(
        self, status: BootcStatus | None, wanted: ImageRef | None, resolved: Resolved | None
    ) -> OsRelease | None:
        """The operating system of what a host is to become."""
        platform = _platform(status)
        if wanted is None or platform is None:
            return None
        target = wanted.with_digest(resolved.digest) if resolved else wanted
        return self._releases.get((str(target), str(platform)))

    def _ask(self, ref: ImageRef, platform: Platform, labels: bool) -> None:
        if self._registry is None:
            return
        key = (str(ref), str(platform))
        image = platform_image(self._registry, ref, platform)
        self._manifests[key] = (image.manifest, image.index)
        if labels:
            config = self._registry.config(image.ref)
            self._releases[key] = OsRelease.of_labels(config.labels)


def _platform(status: BootcStatus | None) -> Platform | None:
    machine = status.booted.architecture if status and status.booted else None
    try:
        return Platform.parse(machine) if machine else None
    except InvalidReferenceError:
        return None


def _slots(status: BootcStatus) -> list[ImageRef]:
    """The images that a host has, by digest; only those that came from a registry."""
    slots = (status.booted, status.staged, status.rollback, *status.others)
    found = (_by_digest(slot) for slot in slots)
    return list({str(ref): ref for ref in found if ref is not None}.values())


def _by_digest(entry: BootEntry | None) -> ImageRef | None:
    if entry is None or entry.ref is None or entry.digest is None:
        return None
    try:
        return entry.ref.with_digest(Digest(entry.digest))
    except InvalidReferenceError:
        return None
