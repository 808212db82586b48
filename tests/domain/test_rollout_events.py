"""Entries of a journal as events, for one who has the rollout alone."""

from __future__ import annotations

import pytest

from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout import HostPhase, HostState
from bootcfleet.domain.rollout_events import JournalEvents, event_of
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry, WavePhase
from bootcfleet.domain.rollout_replay import host_entry, target_entry, wave_entry
from bootcfleet.errors import HostFault
from tests.rolloutmaker import BEGAN, a_record, a_rollout

ID = "20261121-030100-a1b2"
FAULT = HostState(HostPhase.FAILED, "no answer", fault=HostFault.DID_NOT_RETURN, tries=2)


@pytest.mark.parametrize(
    ("new", "event"),
    [
        (
            host_entry("web1", FAULT),
            Event("host.failed", "web1", "failed: no answer",
                  {"rollout": ID, "wave": 1, "fault": "did-not-return", "tries": 2}),
        ),
        (host_entry("db1", HostState(HostPhase.UPDATED)),
         Event("host.updated", "db1", "updated", {"rollout": ID, "wave": 2})),
        (host_entry("late", HostState(HostPhase.UPDATED)),
         Event("host.updated", "late", "updated", {"rollout": ID})),
        (target_entry(a_rollout().targets["web1"]), None),
        (wave_entry(2, WavePhase.RUNNING),
         Event("wave.started", "", "", {"rollout": ID, "wave": 2})),
        (NewEntry(EntryKind.PAUSED, body={"reason": "lunch"}),
         Event("rollout.paused", "", "lunch by bob@x",
               {"rollout": ID, "reason": "lunch", "actor": "bob@x"})),
        (NewEntry(EntryKind.FINISHED, body={"outcome": "done"}),
         Event("rollout.finished", "", "done",
               {"rollout": ID, "outcome": "done", "actor": "bob@x"})),
    ],
)  # fmt: skip
def test_an_entry_as_an_event(new: NewEntry, event: Event | None) -> None:
    entry = JournalEntry(3, BEGAN, new.kind, new.host, "bob@x", new.body)
    assert event_of(entry, a_rollout()) == event
    assert JournalEvents(a_record()).of(entry) == event


def test_the_plan_of_a_record_and_of_its_rollout() -> None:
    assert JournalEvents.of_rollout(a_rollout()).planned() == JournalEvents(a_record()).planned()


@pytest.mark.parametrize("kind", list(EntryKind))
def test_every_kind_is_told(kind: EntryKind) -> None:
    """A kind that is new to the journal must not end a watch."""
    body = {"phase": "updated"} if kind is EntryKind.HOST else {"wave": 1, "phase": "done"}
    event = event_of(JournalEntry(1, BEGAN, kind, body=body), a_rollout())
    assert (event is None) == (kind is EntryKind.TARGET)
