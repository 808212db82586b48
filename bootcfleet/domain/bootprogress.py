"""How far each machine has come: what it fetched last, and when it was installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bootcfleet.domain.bootmenu import INITRD, KERNEL


class Step(StrEnum):
    """What a machine fetches, in the order of an installation."""

    MENU = "menu"
    KERNEL = "kernel"
    INITRD = "initrd"
    STAGE2 = "stage2"
    KICKSTART = "kickstart"
    INSTALLED = "installed"


def step_of(parts: tuple[str, ...]) -> Step | None:
    """Which step a file of the boot directory is, or None: the tree has many."""
    path = "/".join(parts)
    known = {KERNEL: Step.KERNEL, INITRD: Step.INITRD, "images/install.img": Step.STAGE2}
    return known.get(path)


@dataclass(frozen=True)
class Fetched:
    """The last time that a machine fetched one thing, and how often it has."""

    at: datetime
    count: int


@dataclass(frozen=True)
class BootRow:
    """One machine. `known` is whether the inventory has it; else `name` is a MAC address.

    `installed` is when it called back; a machine that was told to install again has none.
    """

    name: str
    known: bool
    address: str
    first: datetime
    last: datetime
    steps: Mapping[Step, Fetched] = field(default_factory=dict)
    installed: datetime | None = None
    keys: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def state(self) -> str:
        """One word: unknown, installed, or the furthest step of this installation."""
        if not self.known:
            return "unknown"
        if self.installed is not None:
            return "installed"
        reached = [step for step in Step if step in self.steps and step is not Step.INSTALLED]
        return str(reached[-1]) if reached else "seen"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; keys are stable."""
        return {
            "host": self.name,
            "known": self.known,
            "state": self.state,
            "address": self.address,
            "first_seen": self.first.isoformat(),
            "last_seen": self.last.isoformat(),
            "fetched": {
                str(step): {"at": one.at.isoformat(), "count": one.count}
                for step, one in self.steps.items()
            },
            "installed": self.installed.isoformat() if self.installed else None,
            "ssh_host_keys": list(self.keys),
            "problem": self.problem,
        }
