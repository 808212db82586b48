"""What a simulated host is made of: the images that it pulls, its deployments, its update timer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from bootcfleet.domain.reference import Digest

#: A label of an image that is bad: its units fail once it is booted.
HEALTH_LABEL = "bootcfleet.lab.health"
#: The unit that fails then.
BAD_UNIT = "demo-web.service"
#: Where a rollout's lock is (`drivers/hostlock.py`).
LOCK = "/var/lib/bootcfleet/lock.json"
#: What somebody else puts on a host: nobody can pull it.
OTHERS = "registry.example/other/soe:latest"


@dataclass(frozen=True)
class Pulled:
    """An image as a host pulls it: the manifest of its own platform."""

    digest: Digest
    version: str | None
    created: str | None
    architecture: str
    healthy: bool
    layers: tuple[tuple[Digest, int], ...]


#: Pulls a reference by HTTP; raises `PullError` with the text that bootc would show.
Pull = Callable[[str], Pulled]


class PullError(Exception):
    """A pull failed; the message is what skopeo's proxy says in bootc's error chain."""


@dataclass(frozen=True)
class Deployment:
    """A bootable version of the system on the host's disk.

    `download_only`: staged, and dropped at a reboot.  `enforced`: its origin asks for signatures
    (``--enforce-container-sigpolicy``).
    """

    reference: str
    transport: str
    image: Pulled
    serial: int = 0
    download_only: bool = False
    enforced: bool = False

    @property
    def pinned_by_digest(self) -> bool:
        """Whether the reference has a digest: an upgrade never finds anything for it."""
        return "@" in self.reference


@dataclass
class TimerUnit:
    """``bootc-fetch-apply-updates.timer`` on a host; `drivers/simtimer.py` is what it does.

    `since` is when it was activated, `fired` when it last fired (both monotonic, in seconds);
    `masked` outlives a reboot, `masked_now` alone (``--runtime``) does not; `moved` counts
    how often it rebooted the host.
    """

    enabled: bool = False
    active: bool = False
    masked: bool = False
    masked_now: bool = False
    since: float = 0.0
    fired: float = 0.0
    moved: int = 0


@dataclass
class SimSystem:
    """What a host is besides its deployments; bytes and seconds.

    `os_version` is that of its os-release, and the image's without one.
    """

    free_bytes: int = 20_000_000_000
    total_bytes: int = 40_000_000_000
    zone: str = "UTC"
    clock_offset: float = 0.0
    greenboot: bool = False
    os_version: str | None = None
    kernel: str = "6.12.0-lab.x86_64"
    bound_images: tuple[str, ...] = ()


def other_lock(now: float) -> bytes:
    """The lock of a rollout that is not ours, good for an hour."""
    body = {
        "version": 1,
        "owner": "somebody@elsewhere",
        "rollout": "another-rollout",
        "controller": "elsewhere",
        "taken": int(now),
        "expires": int(now) + 3600,
    }
    return json.dumps(body, indent=1).encode() + b"\n"
