"""Simulated hosts without their SSH servers: an executor that asks the host's shell directly.

The hosts are the lab's own (`drivers/simhost.py`), so their faults and their records are the same;
only connections are not real.  Images are told by a small registry in memory.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bootcfleet.domain.event import Event
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.domain.rollout import HostPhase, Operation, Rollout
from bootcfleet.domain.rollout_policy import Retries, RolloutPolicy, Timeouts
from bootcfleet.drivers import simshell
from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.simhost import Deployment, Pulled, PullError, SimHost
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.hosttask import Surroundings
from bootcfleet.ops.rollout_plan import Plan, plan_rollout
from bootcfleet.ops.rollout_run import Office, begin_rollout
from bootcfleet.ops.workers import ThreadWorkers

AMD = Platform("linux", "amd64")
NAME = "r.example/acme/web"
REFERENCE = f"{NAME}:prod"
OLD, NEW, BAD, OTHER = ("sha256:" + c * 64 for c in "abcd")
VERSIONS = {OLD: "1.0", NEW: "1.1", BAD: "1.2", OTHER: "9.9"}


def pulled(digest: str, architecture: str = "amd64") -> Pulled:
    """The image of a digest; BAD makes a unit fail."""
    return Pulled(
        digest=Digest(digest),
        version=VERSIONS[digest],
        created="2026-11-01T10:00:00Z",
        architecture=architecture,
        healthy=digest != BAD,
        layers=((Digest(digest), 1000),),
    )


@dataclass
class Tags:
    """A registry: what each reference is now."""

    now: dict[str, str] = field(default_factory=lambda: {REFERENCE: NEW})
    platforms: Mapping[Platform, str] | None = None
    resolved: list[str] = field(default_factory=list)

    def pull(self, reference: str) -> Pulled:
        """As a host pulls."""
        if reference not in self.now:
            raise PullError(f"reading manifest in {reference}: manifest unknown")
        return pulled(self.now[reference])

    def resolve(self, ref: ImageRef) -> Resolved:
        """As a controller asks."""
        self.resolved.append(str(ref))
        digest = self.now[str(ref)]
        own = {p: Digest(d) for p, d in (self.platforms or {AMD: digest}).items()}
        return Resolved(ref, Digest(digest), own, VERSIONS[digest])


class SimExecutor:
    """Commands on a simulated host, as root, without SSH."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Executor.run`."""
        host = self._host
        if not host.up:
            raise HostError(host.name, HostFault.UNREACHABLE, "connection refused")
        boot, started = host.boot_id, time.monotonic()
        deadline = started + (timeout or 60.0)

        def gone() -> bool:
            return time.monotonic() >= deadline or host.boot_id != boot

        def say(text: str) -> None:
            for line in text.splitlines():
                if on_line is not None:
                    on_line("stdout", line)

        session = simshell.Session(
            host, "root", simshell.Input(lambda: stdin or b""), gone, None, say
        )
        said = simshell.run(session, shlex.join(argv))
        if said.reboots:
            host.reboot(soft=said.soft, full=said.full)
            raise HostError(host.name, HostFault.CONNECTION_LOST, "the connection was lost")
        if said.cut:
            raise HostError(host.name, HostFault.CONNECTION_LOST, "the connection was lost")
        if time.monotonic() >= deadline:
            raise HostError(host.name, HostFault.TIMEOUT, "no answer in time")
        if on_line is not None:
            for line in said.stdout.splitlines():
                on_line("stdout", line)
        return CommandResult(
            tuple(argv), said.code, said.stdout, said.stderr, time.monotonic() - started
        )

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        """See `Executor.put`."""
        self._host.files[path] = data

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        """See `Executor.get`."""
        return self._host.files[path]

    def close(self) -> None:
        """Nothing is held."""


#: As quick as simulated hosts are.
QUICK = Timeouts(stage=5, boot=3, settle=2)
TRIES = Retries(attempts=2, first=0.02, most=0.05)


class SimFleet:
    """Simulated hosts, a ledger, and rollouts over them."""

    def __init__(
        self,
        ledger: Ledger,
        names: Sequence[str] = ("a", "b", "c"),
        *,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        boot_seconds: float = 0.02,
    ) -> None:
        self.tags = Tags()
        self.ledger = ledger
        self.sims = {
            name: SimHost(
                name, self.tags.pull, Deployment(REFERENCE, "registry", pulled(OLD)), boot_seconds
            )
            for name in names
        }
        self.hosts = [Host(name, labels=(labels or {}).get(name, {})) for name in names]
        self.fleet = self.connect()
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._count = 0

    def connect(self) -> Fleet:
        """Connections of a controller."""
        return Fleet(self.hosts, lambda host: SimExecutor(self.sims[host.name]))

    def plan(
        self,
        policy: RolloutPolicy | None = None,
        operation: Operation = Operation.UPGRADE,
        **options: Any,
    ) -> Plan:
        """Plan a rollout."""
        self._count += 1
        options.setdefault("rollout_id", f"r{self._count}")
        return plan_rollout(
            self.fleet,
            operation,
            policy or RolloutPolicy(timeouts=QUICK, retries=TRIES),
            resolve=options.pop("resolve", self.tags.resolve),
            began=datetime.now(UTC),
            actor="me@here",
            **options,
        )

    def workers(self, parallel: int = 8) -> ThreadWorkers:
        """Threads over connections of their own."""
        around = Surroundings(
            sleep=lambda seconds: time.sleep(min(seconds, 0.02)),
            emit=self.emit,
            resolve=self.tags.resolve,
        )
        return ThreadWorkers(self.connect(), parallel, around)

    def emit(self, event: Event) -> None:
        """Keep an event."""
        with self._lock:
            self.events.append(event)

    @property
    def office(self) -> Office:
        """Where a controller of this fleet works."""
        return Office(self.ledger, None, emit=self.emit)

    def run(self, plan: Plan, **options: Any) -> Rollout:
        """Carry a plan out."""
        return begin_rollout(plan, self.workers(), self.office, **options)

    def upgrade(self, policy: RolloutPolicy | None = None, **options: Any) -> Rollout:
        """Plan and carry out."""
        return self.run(self.plan(policy, **options))

    def phases(self, rollout: Rollout) -> dict[str, HostPhase]:
        """How each host ended."""
        return {name: rollout.state(name).phase for name in self.sims}
