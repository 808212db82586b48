"""Following a journal that others write."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry, WavePhase
from bootcfleet.drivers.rolloutrows import DamagedJournalError
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError
from bootcfleet.ops.rollout_follow import follow
from bootcfleet.ops.rollouts import Look
from tests.rolloutmaker import Writer, a_record


class Rig:
    """A rollout, a clock that `sleep` moves, and what happens at each sleep."""

    def __init__(self, folder: Path) -> None:
        self.store = RolloutStore.open_url("sqlite:///ledger.db", base=folder)
        self.writer = Writer(self.store)
        self.found = Look(a_record(), self.writer.rollout, (), held=False)
        self.now = 0.0
        self.steps: list[Callable[[], object]] = []
        self.news: list[Look] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.steps:
            self.steps.pop(0)()

    def follow(self, patience: float = 10) -> None:
        for news in follow(
            self.store,
            self.found,
            interval=2,
            patience=patience,
            sleep=self.sleep,
            monotonic=lambda: self.now,
        ):
            self.news.append(news)

    @property
    def numbers(self) -> list[list[int]]:
        """What each look brought."""
        known, found = 0, []
        for news in self.news:
            found.append([entry.number for entry in news.entries[known:]])
            known = len(news.entries)
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_to_the_end(rig: Rig) -> None:
    rig.writer.start()
    rig.steps = [
        lambda: rig.writer.wave(1, WavePhase.RUNNING),
        lambda: None,
        lambda: (rig.writer.host("web1", HostPhase.UPDATED), rig.writer.end()),
    ]
    with rig.store.hold(rig.writer.id):
        rig.follow()
    assert rig.numbers == [[1], [2], [3, 4]]
    assert rig.now == 6
    assert rig.news[-1].rollout.outcome == "done"
    assert rig.news[0].rollout.number == 1


def test_one_that_has_ended_needs_no_controller(rig: Rig) -> None:
    rig.writer.start()
    rig.writer.end("failed")
    rig.follow()
    assert (rig.now, rig.numbers) == (0, [[1, 2]])


def test_one_that_is_taken_up_again_goes_on(rig: Rig) -> None:
    rig.writer.start()
    rig.writer.end("failed")
    rig.writer.write(NewEntry(EntryKind.RETRY))
    rig.steps = [rig.writer.end]
    with rig.store.hold(rig.writer.id):
        rig.follow()
    assert rig.numbers == [[1, 2, 3], [4]]


def test_nobody_carries_it_out(rig: Rig) -> None:
    """It gives up after its patience, which begins anew whenever something comes."""
    rig.writer.start()
    rig.steps = [*[lambda: None] * 3, lambda: rig.writer.host("web1", HostPhase.STAGING)]
    with pytest.raises(FleetError) as caught:
        rig.follow()
    assert caught.value.message == f"nobody carries the rollout {rig.writer.id} out any more"
    assert caught.value.hint == f"take it up: bootcfleet rollout resume {rig.writer.id}"
    assert rig.numbers == [[1], [2]]
    assert rig.now == 8 + 2 + 10


def test_a_controller_that_comes_back_in_time(rig: Rig) -> None:
    hold = rig.store.hold(rig.writer.id)
    rig.steps = [*[lambda: None] * 3, hold.__enter__, *[lambda: None] * 20, rig.writer.end]
    rig.follow()
    hold.__exit__(None, None, None)
    assert rig.now == 50


def test_a_ledger_that_is_away_for_a_while(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    good = RolloutStore.entries

    def away(*_: object, **__: object) -> None:
        raise FleetError("the server is away")

    def leave() -> None:
        monkeypatch.setattr(RolloutStore, "entries", away)

    def back() -> None:
        monkeypatch.setattr(RolloutStore, "entries", good)

    rig.writer.start()
    rig.steps = [leave, lambda: None, lambda: None, back, rig.writer.end]
    with rig.store.hold(rig.writer.id):
        rig.follow()
        assert rig.numbers == [[1], [2]]
        rig.writer.write(NewEntry(EntryKind.RETRY))
        rig.found = rig.news[-1].advance(rig.store.entries(rig.writer.id, after=2))
        rig.steps = [leave]
        with pytest.raises(FleetError, match=r"^the server is away$"):
            rig.follow()


def test_damage_is_told_at_once(rig: Rig, tmp_path: Path) -> None:
    rig.writer.start()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("DROP TRIGGER rollout_entry_no_update")
        connection.execute("UPDATE rollout_entry SET body = 'x'")
    with pytest.raises(DamagedJournalError):
        rig.follow()
    assert rig.now == 0


WRITER = """
import sys
from pathlib import Path
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.ops.rollouts import open_rollouts
from tests.rolloutmaker import Writer

with open_rollouts(None) as rollouts:
    writer = Writer(rollouts.store)
    with rollouts.store.hold(writer.id):
        writer.start("ctl7")
        print("held", flush=True)
        for line in sys.stdin:
            host, phase = line.split()
            if host == "halt":
                writer.write(NewEntry(EntryKind.HALTED, body={"reason": phase}))
                print("written", flush=True)
                continue
            if host == "end":
                writer.end(phase)
                break
            writer.host(host, HostPhase(phase), "as told")
            print("written", flush=True)
"""


class Other:
    """A controller in a process of its own, and a `rollout watch` in another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "XDG_STATE_HOME": str(folder / "state"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self.controller = self.run("-c", WRITER)
        self.hears("held")

    def run(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hears(self, word: str) -> None:
        assert self.controller.stdout is not None
        assert self.controller.stdout.readline() == f"{word}\n"

    def tell(self, line: str) -> None:
        assert self.controller.stdin is not None
        self.controller.stdin.write(f"{line}\n")
        self.controller.stdin.flush()


@pytest.fixture
def other(tmp_path: Path) -> Other:
    return Other(tmp_path)


@pytest.mark.parametrize(
    ("outcome", "code", "error"),
    [
        ("done", 0, ""),
        ("failed", 1, ""),
        ("halted", 4, "error: the rollout 20261121-030100-a1b2 was halted: enough\n"),
    ],
)
def test_watch_from_another_process(other: Other, outcome: str, code: int, error: str) -> None:
    watcher = other.run("-m", "bootcfleet", "rollout", "watch", "--interval", "0.2")
    try:
        assert watcher.stdout is not None
        assert watcher.stdout.readline().startswith(
            "20261121-030100-a1b2: running, carried out by ctl7 (process 4711) since 2026-11-21"
        )
        other.tell("web1 updated")
        other.hears("written")
        assert watcher.stdout.readline() == "2026-11-21T03:01:02Z web1: updated: as told\n"
        other.tell("web2 skipped")
        other.hears("written")
        if code == 4:
            other.tell("halt enough")
            other.hears("written")
            assert watcher.stdout.readline() == "2026-11-21T03:01:04Z halted: enough\n"
        other.tell(f"end {outcome}")
        out, err = watcher.communicate(timeout=60)
        assert out.endswith(f"Z finished: {outcome}\n")
        assert len(out.splitlines()) == 1
        assert err.startswith(error)
        assert watcher.returncode == code
    finally:
        for process in (watcher, other.controller):
            process.kill()
            process.communicate()


def test_watch_a_controller_that_is_killed(other: Other) -> None:
    watcher = other.run("-m", "bootcfleet", "rollout", "watch", "--json", "--from-start",
                        "--patience", "0.5")  # fmt: skip
    try:
        assert watcher.stdout is not None
        assert '"kind": "rollout.planned"' in watcher.stdout.readline()
        assert '"kind": "rollout.started"' in watcher.stdout.readline()
        other.controller.kill()
        other.controller.communicate()
        out, err = watcher.communicate(timeout=120)
        assert (watcher.returncode, out) == (1, "")
        assert "nobody carries the rollout 20261121-030100-a1b2 out any more" in err
    finally:
        watcher.kill()
        watcher.communicate()
