"""What a worker is given to do with one host, and what it has where it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bootcfleet.domain.action import Action
from bootcfleet.domain.check import Check
from bootcfleet.domain.event import Emit, Event, ignore
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import Observation, Operation, Target
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.drivers.bootc import HostFacts


@dataclass(frozen=True)
class HostTask:
    """An action, and all that is needed to do it; it may go to another machine: plain data only."""

    action: Action
    host: Host
    target: Target | None
    operation: Operation
    policy: RolloutPolicy
    rollout: str
    owner: str
    wave: str = ""
    wave_number: int | None = None
    directory: str = ""
    checks: tuple[Check, ...] = ()
    resolved: Mapping[str, Resolved] = field(default_factory=dict)
    reference: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a worker has where it runs: how it waits, what it tells, whom it asks for images."""

    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    emit: Emit = ignore
    resolve: Callable[[ImageRef], Resolved] | None = None

    def say(self, task: HostTask, kind: str, message: str, /, **data: object) -> None:
        """Tell of the host that a task is about."""
        wave = {} if task.wave_number is None else {"wave": task.wave_number}
        body = {"rollout": task.rollout, **wave, **data}
        self.emit(Event(kind, task.host.name, message, body))


def observation(facts: HostFacts) -> Observation:
    """What a host's facts say about its deployments."""
    status = facts.status
    staged = status.staged
    return Observation(
        boot_id=facts.boot_id,
        booted=status.booted.digest if status.booted else None,
        staged=staged.digest if staged else None,
        rollback=status.rollback.digest if status.rollback else None,
        rollback_queued=status.rollback_queued,
        download_only=bool(staged and staged.download_only),
        soft_reboot_capable=bool(staged and staged.soft_reboot_capable),
    )
