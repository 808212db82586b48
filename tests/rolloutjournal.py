"""Rollouts as a ledger would hold them: a record and its entries, as a controller writes them.

`played` makes a whole rollout from a seed: waves, hosts that fail in every way, a host that is
offline at first, a person who approves and pauses, a controller that dies and one that goes on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bootcfleet.domain.hostevidence import GreenbootVerdict, HostEvidence
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.rollout import HostPhase, HostState, Operation, Rollout, Target
from bootcfleet.domain.rollout_journal import (
    REQUESTS,
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
    WavePhase,
)
from bootcfleet.domain.rollout_policy import Budgets, RolloutPolicy
from bootcfleet.domain.rollout_replay import host_entry, record_of, wave_entry
from bootcfleet.domain.waves import Wave
from bootcfleet.errors import HostFault

BEGAN = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
IMAGE = "registry.example.com/soe/web:prod"
OLD, NEW, OTHER = (f"sha256:{digit * 64}" for digit in "abc")

#: What is found out about a host whose health checks failed.
EVIDENCE = HostEvidence(
    host="web3",
    boot_id="0f0b4c0e-2d1a-4a7e-9b1f-1c2d3e4f5a6b",
    system_state="degraded",
    failed_units=("nginx.service",),
    greenboot=GreenbootVerdict.RED,
    slots={"booted": OLD, "rollback": NEW},
    boots=("-1 6e1b... Sat 2026-11-21 01:58:00 UTC", " 0 0f0b... Sat 2026-11-21 02:02:41 UTC"),
    reboots=("reboot   system boot  6.12.0-55.el10 Sat Nov 21 02:02",),
    journal={
        "failed-units": (
            "Nov 21 02:03:04 web3 nginx[812]: [emerg] bind() to 0.0.0.0:80 failed (98)",
            "Nov 21 02:03:04 web3 systemd[1]: nginx.service: Failed with result 'exit-code'.",
        ),
        "greenboot": ("Nov 21 02:03:09 web3 greenboot[900]: Script '20_http.sh' FAILURE",),
    },
    notes=("its journal keeps no earlier boot: Storage=persistent in journald.conf would",),
).to_json()


@dataclass
class Story:
    """A journal that is being written."""

    record: RolloutRecord
    entries: list[JournalEntry] = field(default_factory=list)
    now: datetime = BEGAN

    def write(self, entry: NewEntry, after: float = 0.0, actor: str = "kim@ctl1") -> None:
        """Append an entry, `after` seconds later than the last."""
        self.now += timedelta(seconds=after)
        number = len(self.entries) + 1
        said = JournalEntry(number, self.now, entry.kind, entry.host, actor, entry.body)
        self.entries.append(said)

    def host(self, name: str, phase: HostPhase, message: str = "", **more: Any) -> None:
        """A host comes to a phase, now."""
        self.write(host_entry(name, HostState(phase, message, **more)))

    def say(self, kind: EntryKind, after: float = 0.0, host: str = "", /, **body: Any) -> None:
        """Anything else; what is asked is asked by another person."""
        actor = "lee@laptop" if kind in REQUESTS else "kim@ctl1"
        self.write(NewEntry(kind, host, body), after, actor)


def plan(
    waves: Sequence[Sequence[str]],
    *,
    policy: RolloutPolicy | None = None,
    states: Mapping[str, HostState] | None = None,
    rollout: str = "20261121-020000-ab12",
) -> RolloutRecord:
    """The record of an upgrade of `waves`."""
    rows = [Wave(n, tuple(hosts), n == 1 and len(waves) > 1, bake=60.0, approve=n == 2)
            for n, hosts in enumerate(waves, 1)]  # fmt: skip
    names = [name for wave in rows for name in wave.hosts]
    targets = {
        name: Target(name, IMAGE, frozenset({NEW}), OLD, "boot-1", "upgrade to 9.6.20261120",
                     version="1.16.0")
        for name in names
    }  # fmt: skip
    ref = ImageRef.parse(IMAGE)
    return record_of(
        Rollout(
            id=rollout,
            operation=Operation.UPGRADE,
            policy=policy or RolloutPolicy(name="careful", budgets=Budgets(Limit(10, True))),
            waves=tuple(rows),
            targets=targets,
            states=dict(states or {}),
            hosts={name: Host(name) for name in (*names, *(states or {}))},
            resolved={IMAGE: Resolved(ref, Digest(NEW), {}, "9.6.20261120")},
            began=BEGAN,
            actor="kim@ctl1",
        )
    )


#: How a host can go: phases with the least seconds that each takes, then how it ends.
GOOD: tuple[tuple[HostPhase, float], ...] = (
    (HostPhase.STAGING, 40),
    (HostPhase.STAGED, 5),
    (HostPhase.DRAINING, 3),
    (HostPhase.REBOOTING, 45),
    (HostPhase.CHECKING, 15),
    (HostPhase.UNDRAINING, 2),
)
ENDINGS: dict[str, tuple[tuple[tuple[HostPhase, float], ...], HostPhase, str, HostFault | None]]
ENDINGS = {
    "good": (GOOD, HostPhase.UPDATED, "runs 9.6.20261120", None),
    "full": (GOOD[:1], HostPhase.FAILED, "no space left on device", HostFault.NO_SPACE),
    "lost": (GOOD[:4], HostPhase.FAILED, "did not come back in 900 s", HostFault.DID_NOT_RETURN),
    "old": (GOOD[:5], HostPhase.FAILED, "came back on the old image", HostFault.CAME_BACK_OLD),
    "sick": (
        (*GOOD[:5], (HostPhase.REVERTING, 60)),
        HostPhase.ROLLED_BACK,
        "check 'http' failed: connection refused",
        HostFault.HEALTH_FAILED,
    ),
    "late": (((HostPhase.DEFERRED, 120), *GOOD), HostPhase.UPDATED, "runs 9.6.20261120", None),
}


def played(
    hosts: int = 12, *, bad: float = 0.1, seed: int = 1, waves: int = 3, crash: bool = True
) -> tuple[RolloutRecord, list[JournalEntry]]:
    """A whole rollout of `hosts`; `bad` is the share of those that fail."""
    chance = random.Random(seed)
    names = [f"web{number:04d}.example.com" for number in range(1, hosts + 1)]
    rows = [names[:1], *(names[1:][n::waves] for n in range(waves))]
    story = Story(plan(rows, states={
        "db1": HostState(HostPhase.REFUSED, "is pinned by digest", fault=HostFault.INCOMPATIBLE),
        "same1": HostState(HostPhase.UNCHANGED, "runs it already"),
    }))  # fmt: skip
    story.say(EntryKind.STARTED, 2, controller="ctl1", pid=4711, version="0.1.0")
    failures = 0
    for number, row in enumerate(rows, 1):
        story.write(wave_entry(number, WavePhase.WAITING, "waits for `rollout approve`"), 1)
        if number == 2:
            story.say(EntryKind.APPROVED, 300, wave=2, reason="the canary looks good")
        story.write(wave_entry(number, WavePhase.RUNNING), 1)
        if number == 3:
            story.say(EntryKind.PAUSED, 5, reason="the load balancer is being moved")
            story.say(EntryKind.UNPAUSED, 90)
        if number == 3 and crash:
            story.say(EntryKind.STARTED, 45, controller="ctl2", pid=99, version="0.1.0")
        began = story.now
        for offset, name, state in _moves(row, chance, 0 if number == 1 else bad):
            story.now = max(story.now, began + timedelta(seconds=offset))
            story.write(host_entry(name, state))
            if state.phase in (HostPhase.FAILED, HostPhase.ROLLED_BACK):
                failures += 1
                story.say(EntryKind.EVIDENCE, 1, name, **EVIDENCE)
        story.write(wave_entry(number, WavePhase.BAKING), 1)
        story.write(wave_entry(number, WavePhase.DONE), 60)
    note = {"kind": "notify.failed", "message": "the webhook at chat.example.com answers HTTP 500"}
    story.write(NewEntry(EntryKind.NOTE, "", note))
    story.say(EntryKind.FINISHED, 1, outcome="failed" if failures else "done")
    return story.record, story.entries


def _moves(
    names: Sequence[str], chance: random.Random, bad: float
) -> Iterator[tuple[float, str, HostState]]:
    """What the hosts of a wave come to, in the order of time (seconds from its start)."""
    moves: list[tuple[float, int, str, HostState]] = []
    for index, name in enumerate(names):
        kind = "good"
        if chance.random() < bad:
            kind = chance.choice(["full", "lost", "old", "sick"])
        elif chance.random() < 0.1:
            kind = "late"
        phases, end, message, fault = ENDINGS[kind]
        at = chance.uniform(0, 20)
        for phase, least in phases:
            moves.append((at, index, name, HostState(phase, f"{phase} it")))
            at += least * chance.uniform(1, 2)
        moves.append((at, index, name, HostState(end, message, fault=fault)))
    for offset, _, name, state in sorted(moves, key=lambda move: move[:2]):
        yield offset, name, state
