"""A rollout as data: its plan, what is intended with each host, what the hosts said.

The journal holds intent, the host holds truth.  `HostState` is what we intend
and have judged; `Observation` is what a host said about itself.  What to do
next is decided from both by `domain/rollout_step.py`.  It is changed only by
entries of its journal (`domain/rollout_replay.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.rollout_journal import WavePhase
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.waves import Wave
from bootcfleet.errors import HostFault


class Operation(StrEnum):
    """What a rollout does to its hosts."""

    UPGRADE = "upgrade"
    SWITCH = "switch"
    ROLLBACK = "rollback"
    REBOOT = "reboot"
    #: Its hosts upgrade themselves, from channels (`domain/pull.py`); shown as any other.
    PULL = "pull"

    @property
    def forward(self) -> bool:
        """Whether it brings what a host can go back from.

        Back from a rollback or a reboot would be to what the admin has just left.
        """
        return self in (Operation.UPGRADE, Operation.SWITCH)


class HostPhase(StrEnum):
    """Where a host stands; the last six are ends."""

    PENDING = "pending"
    #: It could not be reached when its turn came; taken in when it returns while the rollout is
    #: open.
    DEFERRED = "deferred"
    STAGING = "staging"
    #: Verified: the planned digest is staged (or the rollback queued); its reboot is due.
    STAGED = "staged"
    DRAINING = "draining"
    REBOOTING = "rebooting"
    CHECKING = "checking"
    UNDRAINING = "undraining"
    REVERTING = "reverting"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    REFUSED = "refused"
    SKIPPED = "skipped"


ENDS = frozenset(
    {
        HostPhase.UPDATED,
        HostPhase.UNCHANGED,
        HostPhase.ROLLED_BACK,
        HostPhase.FAILED,
        HostPhase.REFUSED,
        HostPhase.SKIPPED,
    }
)

#: Phases in which a host does not do its work: they use up the disruption budget.
AWAY = frozenset(
    {
        HostPhase.DEFERRED,
        HostPhase.DRAINING,
        HostPhase.REBOOTING,
        HostPhase.CHECKING,
        HostPhase.UNDRAINING,
        HostPhase.REVERTING,
    }
)

#: Ends that use up the failure budget.
FAILURES = frozenset({HostPhase.ROLLED_BACK, HostPhase.FAILED})


@dataclass(frozen=True)
class Observation:
    """What a host said about itself, at one moment.

    Digests are those of ``bootc status``.  `boot_id` is the kernel's, and with ``+N`` behind it
    after the N-th soft reboot of that boot.  `download_only`: what is staged will not be booted
    before ``bootc upgrade --from-downloaded``.
    """

    boot_id: str
    booted: str | None
    staged: str | None = None
    rollback: str | None = None
    rollback_queued: bool = False
    download_only: bool = False
    soft_reboot_capable: bool = False


@dataclass(frozen=True)
class Target:
    """What one host should become.

    `accepted` are the digests that count as the planned one (an index and the
    manifest of the host's own platform); `before` is the digest it ran when the
    plan was made, `boot_id` the boot that it ran it in.  `reason` is for people.
    `system_state` is what ``systemctl is-system-running`` said before: a host that
    was degraded already is not failed for being so still, by the same units where `failed_units`
    names them.  `version` is bootc's.  `zone` is
    the host's own time zone; `timer` is whether ``bootc-fetch-apply-updates.timer`` was active.
    `renames`: it is to follow another reference, and is staged and booted anew for that although
    it may have the image already.
    """

    host: str
    reference: str | None
    accepted: frozenset[str]
    before: str | None
    boot_id: str
    reason: str
    system_state: str = "running"
    version: str = "unknown"
    zone: str | None = None
    timer: bool = False
    failed_units: tuple[str, ...] = ()
    renames: bool = False


@dataclass(frozen=True)
class HostState:
    """What we intend with a host, and how we judged it.

    `attempted` says that a staging command has returned (so that "nothing is
    staged" afterwards is an answer, and not a command that a crash kept from
    being sent).  `bad_boot_id` is the boot in which its checks failed, while it
    goes back.  `tries` counts the transient failures in this phase, and before `not_before` it is
    not tried again.  `drained`: the drain hooks have run, and the undrain hooks are still due.
    `down`: it does not answer, or is not healthy, and is not available to its users.
    `then` is what a host that is drained or undrained comes to after it.
    """

    phase: HostPhase = HostPhase.PENDING
    message: str = ""
    attempted: bool = False
    fault: HostFault | None = None
    bad_boot_id: str | None = None
    evidence: tuple[str, ...] = ()
    tries: int = 0
    not_before: datetime | None = None
    drained: bool = False
    down: bool = False
    then: HostPhase | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be done with the host."""
        return self.phase in ENDS

    @property
    def away(self) -> bool:
        """Whether the host is not there for its users: it uses up the disruption budget."""
        return self.phase in AWAY or self.down or self.drained


@dataclass(frozen=True)
class WaveState:
    """Where a wave stands, since when, and what it waits for."""

    phase: WavePhase = WavePhase.WAITING
    since: datetime | None = None
    message: str = ""


@dataclass(frozen=True)
class Rollout:
    """A plan, and how far it has come.

    `hosts` are all that take part, `targets` what the plan makes of those that could be asked.
    `resolved` is what each reference was when the plan was made: a host that comes later gets
    the same.  `reference` is where a switch goes.  `unwind`: hosts that were updated go back too.
    `opened` is when a retry opened it last.  `number` is the newest journal entry that is in it.
    """

    id: str
    operation: Operation
    policy: RolloutPolicy
    waves: tuple[Wave, ...]
    targets: Mapping[str, Target]
    states: Mapping[str, HostState] = field(default_factory=dict)
    halted: str | None = None
    hosts: Mapping[str, Host] = field(default_factory=dict)
    resolved: Mapping[str, Resolved] = field(default_factory=dict)
    reference: str | None = None
    began: datetime | None = None
    opened: datetime | None = None
    actor: str = ""
    wave_states: Mapping[int, WaveState] = field(default_factory=dict)
    approved: frozenset[int] = frozenset()
    paused: str | None = None
    unwind: bool = False
    outcome: str | None = None
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    number: int = 0

    def state(self, host: str) -> HostState:
        """The state of a host; a host that nothing happened to is pending."""
        return self.states.get(host, _PENDING)

    def wave_state(self, number: int) -> WaveState:
        """Where a wave stands."""
        return self.wave_states.get(number, _WAITING)

    @property
    def names(self) -> tuple[str, ...]:
        """Every host that takes part or was meant to."""
        return tuple(dict.fromkeys((*self.hosts, *self.targets, *self.states)))

    def count(self, *phases: HostPhase) -> int:
        """How many hosts are in one of `phases`."""
        return sum(1 for state in self.states.values() if state.phase in phases)

    @property
    def failures(self) -> int:
        """Hosts that used up the failure budget."""
        return self.count(*FAILURES)

    @property
    def finished(self) -> bool:
        """Whether every host has ended."""
        return all(self.state(host).ended for host in self.names)


_PENDING = HostState()
_WAITING = WaveState()
