"""A rollout's book while its database is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout import HostPhase, HostState
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.domain.rollout_replay import host_entry
from bootcfleet.domain.rollout_tally import Tally
from bootcfleet.drivers.rolloutstore import RolloutTakenError
from bootcfleet.errors import FleetError
from bootcfleet.ops.rollout_book import HostEnd, LedgerBook
from bootcfleet.ops.rollout_patience import PatientBook
from bootcfleet.ops.rollouts import Rollouts, open_rollouts
from tests.rolloutmaker import a_record, a_rollout

AWAY = FleetError("the ledger cannot be used: the server is away")
NEWS = host_entry("web1", HostState(HostPhase.UPDATED, "well"))
END = HostEnd("web1", HostPhase.UPDATED, "well", "a", "b")


@dataclass
class FakeHold:
    """A lock that can be lost, and that somebody else can have taken."""

    gone: bool = False
    theirs: bool = False
    retaken: int = 0

    def lost(self) -> bool:
        return self.gone

    def retake(self) -> bool:
        self.retaken += 1
        self.gone = self.theirs
        return not self.theirs


@dataclass
class Rig:
    """A book in a real ledger; `trouble` is what the next transactions end with."""

    rollouts: Rollouts
    hold: FakeHold = field(default_factory=FakeHold)
    now: float = 0.0
    events: list[Event] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    naps: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rollout = a_rollout()
        self.rollouts.store.create(a_record(self.rollout))
        book = LedgerBook(
            self.rollouts.ledger, self.rollout.id, self.rollouts.record, actor="ann@here"
        )
        (started,) = book.start()
        self.book = PatientBook(
            book,
            self.hold,
            started.number,
            emit=self.events.append,
            patience=10,
            sleep=self.sleep,
            monotonic=lambda: self.now,
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.naps:
            self.naps.pop(0)()

    @property
    def kinds(self) -> list[str]:
        return [str(entry.kind) for entry in self.rollouts.store.entries(self.rollout.id)]

    @property
    def audited(self) -> int:
        return len(self.rollouts.ledger.entries(action="fleet.upgrade.host"))


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with open_rollouts(None) as rollouts:
        rig = Rig(rollouts)
        write, joined = LedgerBook.write, LedgerBook.read

        def troubled(self: LedgerBook, *words: object, **more: object) -> object:
            what = rig.trouble.pop(0) if rig.trouble else "none"
            if what == "before":
                raise AWAY
            made = write(self, *words, **more)  # type: ignore[arg-type]
            if what == "after":
                raise AWAY
            return made

        def troubled_read(self: LedgerBook, after: int) -> object:
            if rig.trouble and rig.trouble[0] == "read":
                rig.trouble.pop(0)
                raise AWAY
            return joined(self, after)

        monkeypatch.setattr(LedgerBook, "write", troubled)
        monkeypatch.setattr(LedgerBook, "read", troubled_read)
        yield rig


@pytest.mark.parametrize(
    "trouble",
    [
        [],
        ["before"],
        ["after"],
        ["before", "before", "after"],
        ["after", "read", "read"],
        ["before", "read", "after"],
    ],
)
def test_what_is_written_is_there_once(rig: Rig, trouble: list[str]) -> None:
    """Whether the connection broke before or after the transaction had ended."""
    rig.trouble = list(trouble)
    (made,) = rig.book.write([NEWS], rig.rollout, [END])
    assert (made.number, made.host) == (2, "web1")
    assert rig.kinds == ["started", "host"]
    assert rig.audited == 1
    tally = Tally(waits={"reboots": "no window is open"})
    for event in rig.events:
        assert event.data["rollout"] == rig.rollout.id
        tally.take(event, 1.0)
    assert tally.waits == {"reboots": "no window is open"}
    said = [event.message for event in rig.events]
    waited = ["the ledger: the ledger cannot be used: the server is away; nothing is begun until "
              "it is back", ""]  # fmt: skip
    assert said == (waited if trouble else [])
    # The same again, and on purpose: it is another entry.
    rig.trouble = ["after"]
    rig.book.write([NEWS], rig.rollout, [END])
    assert rig.kinds == ["started", "host", "host"]
    assert rig.audited == 2
    assert rig.rollouts.ledger.verify() is None


def test_requests_that_came_in_between(rig: Rig) -> None:
    """What people wrote while the database was back for a moment is not taken for ours."""
    rig.trouble = ["after"]
    pause = NewEntry(EntryKind.PAUSED, body={"reason": "x"})
    store = rig.rollouts.store
    rig.naps = [lambda: store.append(rig.rollout.id, [pause], at=a_record().at, actor="bob")]
    (made,) = rig.book.write([NEWS], rig.rollout)
    assert (made.number, made.kind) == (2, EntryKind.HOST)
    assert rig.kinds == ["started", "host", "paused"]


def test_its_patience_ends(rig: Rig) -> None:
    rig.trouble = ["before"] * 20
    with pytest.raises(FleetError, match="the server is away"):
        rig.book.write([NEWS], rig.rollout)
    assert rig.now == 1 + 2 + 4 + 8
    before = rig.now
    with pytest.raises(FleetError, match="the server is away"):
        rig.book.write([NEWS], rig.rollout)
    assert rig.now == before
    assert rig.kinds == ["started"]


def test_who_says_goodbye_waits_for_nobody(rig: Rig) -> None:
    rig.trouble = ["before"]
    with pytest.raises(FleetError, match="the server is away"):
        rig.book.write([NewEntry(EntryKind.STOPPED)], rig.rollout)
    assert rig.now == 0


def test_reading(rig: Rig) -> None:
    rig.trouble = ["read", "read"]
    assert [entry.number for entry in rig.book.read(0)] == [1]
    assert rig.now == 3


def test_the_lock_is_taken_again(rig: Rig) -> None:
    rig.hold.gone = True
    assert rig.book.read(1) == []
    assert rig.hold.retaken == 1
    rig.hold.gone = True
    rig.trouble = ["before"]
    rig.book.write([NEWS], rig.rollout)
    assert rig.hold.retaken == 2


@pytest.mark.parametrize("act", ["read", "write"])
def test_somebody_else_has_the_lock_by_then(rig: Rig, act: str) -> None:
    rig.hold.gone = rig.hold.theirs = True
    rig.trouble = ["before"]
    with pytest.raises(RolloutTakenError, match="another controller has taken the rollout up"):
        rig.book.read(1) if act == "read" else rig.book.write([NEWS], rig.rollout)
    assert rig.kinds == ["started"]


def test_a_rollout_that_was_taken_up_by_another_is_theirs(rig: Rig) -> None:
    """Told by the journal, at once."""
    store = rig.rollouts.store
    theirs = NewEntry(EntryKind.STARTED, body={"controller": "ctl2"})
    store.append(rig.rollout.id, [theirs], at=a_record().at, actor="bob")
    with pytest.raises(RolloutTakenError, match=r"was taken up by ctl2$"):
        rig.book.write([NEWS], rig.rollout)
    assert (rig.now, rig.events) == (0, [])
