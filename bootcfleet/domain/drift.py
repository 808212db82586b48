"""Whether a host runs what it should."""

from __future__ import annotations

from enum import StrEnum

from bootcfleet.domain.bootc import BootcStatus
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.reference import ImageRef


class Drift(StrEnum):
    """How what a host runs compares with what it should run."""

    IN_SYNC = "in-sync"
    STAGED = "staged"
    BEHIND = "behind"
    OTHER_IMAGE = "other-image"
    UNKNOWN = "unknown"


def drift(status: BootcStatus, wanted: ImageRef | None, resolved: Resolved | None) -> Drift:
    """Compare by digest (law 3): the names that a host follows do not decide.

    `wanted` is what the inventory says, or else the reference that the host
    itself follows; `resolved` is what the registry says of it now, None when it
    could not be asked.
    """
    booted = status.booted
    if wanted is None or resolved is None or booted is None or booted.digest is None:
        return Drift.UNKNOWN
    if resolved.accepts(booted.digest):
        return Drift.IN_SYNC
    if status.staged and status.staged.digest and resolved.accepts(status.staged.digest):
        return Drift.STAGED
    if booted.ref is not None and booted.ref.name == wanted.name:
        return Drift.BEHIND
    return Drift.OTHER_IMAGE
