"""A bootc host in memory, as an executor: for tests of what is written against executors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.drivers.hostprobe import TITLE as LOOK
from bootcfleet.errors import HostError, HostFault

OLD, NEW, BAD, OTHER = ("sha256:" + c * 64 for c in "abcd")
VERSIONS = {OLD: "1.0", NEW: "1.1", BAD: "1.2", OTHER: "9.9"}
REFERENCE = "r.example/acme/web:prod"


@dataclass
class Machine:
    """Slots and boots.  `fail` maps the first words of a command to what happens instead."""

    name: str
    booted: str = OLD
    staged: str | None = None
    rollback: str | None = None
    queued: bool = False
    tag: str = NEW
    reference: str = REFERENCE
    sick_on: frozenset[str] = frozenset({BAD})
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    reboots: int = 0
    comes_back_old: bool = False
    never_returns: bool = False
    down: int = 0
    log: list[str] = field(default_factory=list)
    fail: dict[str, Callable[[], CommandResult]] = field(default_factory=dict)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        line = " ".join(argv)
        if self.down:
            self.down -= not self.never_returns
            raise HostError(self.name, HostFault.UNREACHABLE, "connection refused")
        if not line.startswith(("cat", "sh -c echo '--8<--")):
            self.log.append(line)
        for start, act in self.fail.items():
            if line.startswith(start):
                return act()
        return self._answer(line)

    def _answer(self, line: str) -> CommandResult:
        match line.split()[:2]:
            case ["cat", "/proc/sys/kernel/random/boot_id"]:
                return said(self.boot_id + "\n")
            case ["sh", "-c"]:
                return said(
                    f"{self._system() if line.startswith(f'sh -c {LOOK}') else ''}"
                    f"--8<-- bootcfleet boot_id\n{self.boot_id}\n--8<-- bootcfleet stat\n"
                    "cpu 1 2\nbtime 1760000000\n--8<-- bootcfleet version\nbootc 1.16.9\n"
                    f"--8<-- bootcfleet status\n{self.status()}"
                )
            case ["bootc", "upgrade"]:
                self.staged = self.tag if self.tag != self.booted else None
                return said("Queued for next boot")
            case ["bootc", "switch"]:
                self.reference, self.staged = line.split()[-1], self.tag
                return said("Queued for next boot")
            case ["bootc", "rollback"]:
                if self.rollback is None:
                    return said("", "error: No rollback available", 1)
                self.queued, self.staged = not self.queued, None
                return said("Next boot: rollback deployment")
            case ["systemctl", "reboot"] | ["env", "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1"]:
                self.reboot()
                raise HostError(self.name, HostFault.CONNECTION_LOST, "went away")
            case ["systemctl", "is-system-running"]:
                sick = self.booted in self.sick_on
                return said("degraded\n" if sick else "running\n", "", int(sick))
            case ["systemctl", "list-units"]:
                return said("web.service loaded failed failed Web\n")
            case _:
                return said("", f"sh: {line.split()[0]}: not found", 127)

    def _system(self) -> str:
        """What systemd says to a look before a rollout; the rest of its answers are missing."""
        sick = self.booted in self.sick_on
        failed = "web.service loaded failed failed Web\n" if sick else ""
        return (
            f"--8<-- bootcfleet system\n{'degraded' if sick else 'running'}\n"
            f"--8<-- bootcfleet failed\n{failed}"
        )

    def reboot(self) -> None:
        """Boot what is queued or staged."""
        self.reboots += 1
        self.boot_id = str(uuid.uuid4())
        self.down = 2
        if self.queued and self.rollback:
            self.booted, self.rollback = self.rollback, self.booted
        elif self.staged and not self.comes_back_old:
            self.booted, self.rollback = self.staged, self.booted
        self.staged, self.queued = None, False

    def status(self) -> str:
        """``bootc status --format=json``."""

        def entry(digest: str | None) -> object:
            if digest is None:
                return None
            image = {
                "image": {"image": self.reference, "transport": "registry"},
                "version": VERSIONS[digest],
                "timestamp": "2026-11-01T10:00:00Z",
                "imageDigest": digest,
                "architecture": "amd64",
            }
            return {"image": image, "incompatible": False, "pinned": False}

        return json.dumps(
            {
                "apiVersion": "org.containers.bootc/v1",
                "kind": "BootcHost",
                "spec": {"image": {"image": self.reference, "transport": "registry"}},
                "status": {
                    "booted": entry(self.booted),
                    "staged": entry(self.staged),
                    "rollback": entry(self.rollback),
                    "rollbackQueued": self.queued,
                    "type": "bootcHost",
                },
            }
        )

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        raise NotImplementedError

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held open."""


def said(stdout: str, stderr: str = "", code: int = 0) -> CommandResult:
    return CommandResult((), code, stdout, stderr, 0.0)
