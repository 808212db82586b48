"""Rollouts for tests, as their controllers write them down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import HostPhase, HostState, Operation, Rollout, Target
from bootcfleet.domain.rollout_journal import (
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
    WavePhase,
)
from bootcfleet.domain.rollout_policy import RolloutPolicy, WaveRule
from bootcfleet.domain.rollout_replay import host_entry, record_of, wave_entry
from bootcfleet.domain.waves import plan_waves
from bootcfleet.drivers.rolloutstore import RolloutStore

BEGAN = datetime(2026, 11, 21, 3, 1, tzinfo=UTC)
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def a_rollout(
    rollout_id: str = "20261121-030100-a1b2",
    hosts: Sequence[str] = ("web1", "web2", "web3", "db1"),
    *,
    approve: bool = True,
    **more: Any,
) -> Rollout:
    """An upgrade in two waves, two hosts each; the second is to be approved with `approve`."""
    policy = RolloutPolicy(
        name="prod",
        batch=Limit(100, percent=True),
        waves=(WaveRule("first", limit=Limit(2)), WaveRule("rest", approve=approve)),
    )
    known = {name: Host(name) for name in hosts}
    return Rollout(
        rollout_id,
        Operation.UPGRADE,
        policy,
        plan_waves(list(known.values()), policy),
        {
            name: Target(name, "r.example/acme/web:prod", frozenset({NEW}), OLD, f"boot-{name}",
                         "upgrade to 1.1 bbbbbbbbbbbb from 1.0 aaaaaaaaaaaa")
            for name in hosts
        },
        hosts=known,
        began=BEGAN,
        actor="ann@ctl1",
        **more,
    )  # fmt: skip


def a_record(rollout: Rollout | None = None, *, minutes: int = 0) -> RolloutRecord:
    """Its record; `minutes` later than the others."""
    rollout = rollout or a_rollout()
    return record_of(replace(rollout, began=BEGAN + timedelta(minutes=minutes)))


class Writer:
    """Writes a rollout's journal, one second an entry."""

    def __init__(
        self, store: RolloutStore, rollout: Rollout | None = None, actor: str = "ann@ctl1"
    ) -> None:
        self.rollout = rollout or a_rollout()
        self.id = self.rollout.id
        self.store, self.actor = store, actor
        self.at = BEGAN
        store.create(a_record(self.rollout))

    def write(self, *entries: NewEntry) -> list[JournalEntry]:
        """Append entries together."""
        self.at += timedelta(seconds=1)
        return self.store.append(self.id, entries, at=self.at, actor=self.actor)

    def start(self, controller: str = "ann@ctl1") -> None:
        """A controller takes it up, and the first wave begins."""
        self.write(
            NewEntry(
                EntryKind.STARTED, body={"controller": controller, "pid": 4711, "version": "0.5"}
            )
        )

    def wave(self, number: int, phase: WavePhase, message: str = "") -> None:
        """A wave comes to a phase."""
        self.write(wave_entry(number, phase, message))

    def host(self, name: str, phase: HostPhase, message: str = "", **more: Any) -> None:
        """A host comes to a phase."""
        self.write(host_entry(name, HostState(phase, message, **more)))

    def first_wave(self) -> None:
        """The first wave, done."""
        self.wave(1, WavePhase.RUNNING)
        for name in self.rollout.waves[0].hosts:
            self.host(name, HostPhase.REBOOTING)
            self.host(name, HostPhase.UPDATED)
        self.wave(1, WavePhase.DONE)

    def end(self, outcome: str = "done") -> None:
        """All hosts have ended."""
        self.write(NewEntry(EntryKind.FINISHED, body={"outcome": outcome}))
