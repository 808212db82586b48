"""The selected hosts of an inventory: their connections, and what they say about themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bootcfleet.domain.bootc import BootcStatus, BootEntry
from bootcfleet.domain.drift import Drift, drift
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.bootc import BootcHost, HostFacts
from bootcfleet.drivers.command import CommandResult, Executor
from bootcfleet.errors import FleetError, HostError
from bootcfleet.ops.fanout import each, gather

if TYPE_CHECKING:
    from bootcfleet.domain.check import Check
    from bootcfleet.domain.policy import HealthCheck

#: Asks a registry what a reference is now.
Resolve = Callable[[ImageRef], Resolved]


class Fleet:
    """Hosts and one kept connection for each, opened when it is first needed.

    `on_close` closes what the connections share (those to jump hosts), and gives up those that
    are being made.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        connect: Callable[[Host], Executor],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.hosts = {host.name: host for host in hosts}
        self._connect = connect
        self._on_close = on_close
        self._executors: dict[str, Executor] = {}
        self._image_checks: dict[str, tuple[Check, ...]] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts' names, in the order of the inventory."""
        return tuple(self.hosts)

    def executor(self, host: str) -> Executor:
        """The executor of a host; the same one each time, so that its connection is kept."""
        with self._lock:
            if host not in self._executors:
                self._executors[host] = self._connect(self.hosts[host])
            return self._executors[host]

    def bootc(self, host: str) -> BootcHost:
        """The bootc driver of a host."""
        return BootcHost(self.executor(host), host)

    def checks(self, host: str) -> tuple[HealthCheck, ...]:
        """The health checks that the inventory gives a host."""
        return self.hosts[host].checks

    def give_checks(self, checks: Mapping[str, tuple[Check, ...]]) -> None:
        """Say which checks of images belong to the hosts, by host."""
        self._image_checks = dict(checks)

    def image_checks(self, host: str) -> tuple[Check, ...]:
        """The checks of the image that a host is to run; see `give_checks`."""
        return self._image_checks.get(host, ())

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            executors = list(self._executors.values())
        # First, because an executor whose connection is being made can only be closed after it.
        self._on_close()
        for executor in executors:
            executor.close()


@dataclass(frozen=True)
class HostReport:
    """What is known of one host: its facts, or why there are none."""

    host: Host
    facts: HostFacts | None
    error: FleetError | None
    wanted: ImageRef | None
    drift: Drift

    @property
    def status(self) -> BootcStatus | None:
        """What bootc said, when it could be asked."""
        return self.facts.status if self.facts else None

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object; the keys are stable."""
        body: dict[str, Any] = {
            "host": self.host.name,
            "groups": sorted(self.host.groups),
            "labels": dict(self.host.labels),
            "wanted": str(self.wanted) if self.wanted else None,
            "drift": str(self.drift),
            "error": None,
        }
        if self.error:
            fault = self.error.fault if isinstance(self.error, HostError) else None
            body["error"] = {
                "fault": str(fault) if fault else None,
                "message": self.error.message,
                "hint": self.error.hint,
            }
        if self.facts and self.status:
            body |= {
                "bootc": self.facts.version,
                "boot_id": self.facts.boot_id,
                "boot_time": self.facts.boot_time.isoformat() if self.facts.boot_time else None,
                "booted_by_bootc": self.status.booted_by_bootc,
                "booted": entry_json(self.status.booted),
                "staged": entry_json(self.status.staged),
                "rollback": entry_json(self.status.rollback),
                "rollback_queued": self.status.rollback_queued,
            }
        return body


def entry_json(entry: BootEntry | None) -> dict[str, Any] | None:
    """A slot of a host as a JSON object."""
    if entry is None:
        return None
    return {
        "image": entry.reference,
        "transport": entry.transport,
        "digest": entry.digest,
        "version": entry.version,
        "timestamp": entry.timestamp.isoformat() if entry.timestamp else None,
        "architecture": entry.architecture,
        "pinned": entry.pinned,
        "incompatible": entry.incompatible,
        "download_only": entry.download_only,
        "soft_reboot_capable": entry.soft_reboot_capable,
    }


def observe(fleet: Fleet, *, parallel: int = 50) -> dict[str, HostFacts | FleetError]:
    """Ask every host for its facts, at once."""
    return gather(fleet.names, lambda name: fleet.bootc(name).facts(), parallel=parallel)


def status(
    fleet: Fleet,
    resolve: Resolve | None,
    *,
    parallel: int = 50,
    facts: Mapping[str, HostFacts | FleetError] | None = None,
) -> tuple[list[HostReport], list[FleetError]]:
    """A report for every host, and the registry errors that left a drift unknown.

    `facts` are those of every host; without them the hosts are asked.  What a host
    should run is what the inventory says, or else the reference that it follows
    itself.  Each reference is resolved once.
    """
    if facts is None:
        facts = observe(fleet, parallel=parallel)
    wanted: dict[str, ImageRef | None] = {}
    for name, host in fleet.hosts.items():
        found = facts[name]
        own = None
        if not isinstance(found, FleetError) and found.status.booted:
            own = found.status.booted.ref
        wanted[name] = host.image or own
    resolved, problems = resolve_all([ref for ref in wanted.values() if ref], resolve)
    reports = []
    for name, host in fleet.hosts.items():
        found, want = facts[name], wanted[name]
        if isinstance(found, FleetError):
            reports.append(HostReport(host, None, found, want, Drift.UNKNOWN))
        else:
            what = drift(found.status, want, resolved.get(str(want)))
            reports.append(HostReport(host, found, None, want, what))
    return reports, problems


def resolve_all(
    references: Sequence[ImageRef], resolve: Resolve | None
) -> tuple[Mapping[str, Resolved], list[FleetError]]:
    """Resolve each distinct reference once; a registry that fails leaves its references out."""
    if resolve is None:
        return {}, []
    by_text = {str(ref): ref for ref in references}
    answers = gather(tuple(by_text), lambda text: resolve(by_text[text]), parallel=8)
    found = {t: a for t, a in answers.items() if not isinstance(a, FleetError)}
    return found, [a for a in answers.values() if isinstance(a, FleetError)]


def execute(
    fleet: Fleet,
    argv: Sequence[str],
    *,
    as_root: bool,
    timeout: float | None,
    parallel: int,
    on_result: Callable[[str, CommandResult | FleetError], None],
) -> bool:
    """Run a command on every host; whether it ended with 0 on all of them."""
    good = True
    for name, result in each(
        fleet.names,
        lambda name: fleet.executor(name).run(argv, timeout=timeout, as_root=as_root),
        parallel=parallel,
    ):
        good = good and not isinstance(result, FleetError) and result.ok
        on_result(name, result)
    return good
