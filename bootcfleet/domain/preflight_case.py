"""The words of a preflight: what is found about a host, and the case that a rule judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bootcfleet.domain.bootc import BootcStatus, BootEntry
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.imagestanding import ImageStanding
from bootcfleet.domain.osrelease import OsRelease
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import Operation
from bootcfleet.domain.rollout_standing import Standing
from bootcfleet.errors import HostFault


class Severity(StrEnum):
    """What a finding leads to."""

    REFUSE = "refuse"
    CONFIRM = "confirm"
    WARN = "warn"


@dataclass(frozen=True)
class Finding:
    """One thing about one host.  `rule` is stable; `fault` is why a refused host is refused."""

    rule: str
    severity: Severity
    message: str
    hint: str | None = None
    fault: HostFault | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "rule": self.rule,
            "severity": str(self.severity),
            "message": self.message,
            "hint": self.hint,
            "fault": str(self.fault) if self.fault else None,
        }


@dataclass(frozen=True)
class Limits:
    """From where on something is worth a word; seconds.

    `unpacked` is how much larger a layer is on disk than what is downloaded of it: manifests do
    not say it, and images of systems are two to three times as large.
    """

    clock_warn: float = 5.0
    clock_refuse: float = 300.0
    young: float = 300.0
    unpacked: float = 3.0


@dataclass(frozen=True)
class Planned:
    """What a rollout is to do to a host.

    `reference` and `resolved` are what it is to become, None for a rollback or reboot; `download`
    is in bytes, None where it is not known, and `exact` unless the host may have some of it.
    `release` is the operating system of that image.  `rollout` is the one that asks: its own lock
    is no obstacle.  `signed`: the project signs its images.  `wants` are the abilities of bootc
    (`domain/abilities.py`) that the policy would use, `standing` is that of the image that the
    host would go to.  `moved_ago` is how many seconds ago a rollout of this ledger left the host on
    what it runs, `lock_standing` where the rollout stands that has locked it; None where the
    ledger does not know.
    """

    operation: Operation = Operation.UPGRADE
    reference: ImageRef | None = None
    resolved: Resolved | None = None
    download: int | None = None
    exact: bool = True
    release: OsRelease | None = None
    rollout: str | None = None
    signed: bool = False
    wants: tuple[str, ...] = ()
    standing: ImageStanding = field(default_factory=ImageStanding)
    moved_ago: float | None = None
    lock_standing: Standing | None = None

    @property
    def pulls(self) -> bool:
        """Whether the host gets an image from a registry."""
        return self.operation in {Operation.UPGRADE, Operation.SWITCH}


@dataclass(frozen=True)
class Case:
    """One host, and what is planned for it."""

    truth: HostTruth
    planned: Planned
    limits: Limits

    @property
    def booted(self) -> BootEntry | None:
        """The booted slot."""
        return self.truth.status.booted if self.truth.status else None

    @property
    def staged_already(self) -> bool:
        """Whether what is planned is on the host's disk, and nothing is to be downloaded."""
        staged = self.truth.status.staged if self.truth.status else None
        if staged is None or staged.digest is None or self.planned.resolved is None:
            return False
        return self.planned.resolved.accepts(staged.digest)


Found = Iterator[Finding]
Rule = Callable[[Case], Found]


def already_there(status: BootcStatus | None, planned: Planned) -> bool:
    """Whether nothing is to be done: it runs what is planned, and nothing waits for a reboot."""
    if not planned.pulls or planned.resolved is None or status is None or status.booted is None:
        return False
    if status.staged is not None or status.rollback_queued:
        return False
    if renames(planned.operation, status, planned.reference):
        return False
    return status.booted.digest is not None and planned.resolved.accepts(status.booted.digest)


def renames(operation: Operation, status: BootcStatus, reference: ImageRef | None) -> bool:
    """Whether a switch changes the reference that a host follows, whatever it runs.

    The reference belongs to a deployment, so that bootc stages the same image once more for it.
    Not so its composefs backend, which has one deployment of an image and finds no change.
    """
    if operation is not Operation.SWITCH or reference is None or status.booted is None:
        return False
    own = status.followed.ref if status.followed else None
    same = own is not None and (own.name, own.manifest) == (reference.name, reference.manifest)
    return not same and status.booted.store != "composefs"


def entry_title(entry: BootEntry) -> str:
    """A slot for people: version and short digest."""
    digest = entry.digest.removeprefix("sha256:")[:12] if entry.digest else "no digest"
    return f"{entry.version} {digest}" if entry.version else digest
