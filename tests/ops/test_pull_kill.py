"""A pull rollout whose controller is killed: taken up again, it ends as if nothing had been."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.channel import check_history
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.ledgerdb import LedgerDb
from bootcfleet.drivers.registryhttp import RegistryHttp
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import UsageError
from bootcfleet.ops.channelverify import verify
from bootcfleet.ops.rollout_pull import resume_pull, start_pull
from tests.pullfleet import ID, NAMES, PullFleet


class Killed(BaseException):
    """The process is gone: nothing of ours handles this."""


class Killer:
    """Counts what is written (the journal alone, or everything) and ends it all at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.step = 0
        self.everything = False
        append, write, send = RolloutStore.append, LedgerDb.write, RegistryHttp.send
        killer = self

        def counted(store: RolloutStore, id_: str, entries: Sequence[NewEntry], **more: Any) -> Any:
            killer.count()
            done = append(store, id_, entries, **more)
            # Written, and nothing more: the act that follows is what a crash must not repeat.
            killer.count()
            return done

        @contextmanager
        def counted_write(db: LedgerDb) -> Iterator[Any]:
            killer.count(most=True)
            with write(db) as connection:
                yield connection
                killer.count(most=True)

        def counted_send(http: RegistryHttp, *words: Any, **more: Any) -> Any:
            killer.count(most=True)
            return send(http, *words, **more)

        monkeypatch.setattr(RolloutStore, "append", counted)
        monkeypatch.setattr(LedgerDb, "write", counted_write)
        monkeypatch.setattr(RegistryHttp, "send", counted_send)

    def count(self, *, most: bool = False) -> None:
        if self.at is None or (most and not self.everything):
            return
        if self.step == self.at:
            self.at = None
            raise Killed
        self.step += 1

    def arm(self, at: int | None, *, everything: bool = False) -> None:
        self.at, self.step, self.everything = at, 0, everything


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


def ended(fleet: PullFleet) -> dict[str, Any]:
    """All that a crash must not change."""
    fleet.fire()
    with fleet.tools() as tools:
        entries = tools.store.entries(ID)
        assert tools.channels.store.open_intents() == ()
        assert tools.channels.ledger.verify() is None
        assert [finding.message for finding in verify(tools.channels)] == []
        for name in NAMES:
            assert check_history(tools.channels.store.history("web", name)) is None
        finished = [entry.body["outcome"] for entry in entries if entry.kind is EntryKind.FINISHED]
        audit = [one.outcome for one in tools.channels.ledger.entries(action="fleet.pull")]
    return {
        "finished": finished,
        "audit": audit,
        "tags": fleet.tags(),
        "histories": [fleet.history(name) for name in NAMES],
        "versions": [fleet.versions(name) for name in NAMES],
        "reboots": [machine.reboots for machine in fleet.machines.values()],
    }


def make(lab: LabRegistry, folder: Path, *, sick: bool) -> PullFleet:
    fleet = PullFleet.make(folder, f"{lab.address}/{folder.name}", count=2)
    with fleet.tools() as tools:
        digest = fleet.plan(tools).digest
    if sick:
        for host, machine in fleet.machines.items():
            if host.startswith("prod-1-h"):
                machine.sick_on = frozenset({digest})
    return fleet


def carry(fleet: PullFleet) -> None:
    """Begin the rollout, or take it up where there is one."""
    with fleet.tools() as tools:
        try:
            record = tools.store.record(ID)
        except UsageError:
            start_pull(tools, fleet.plan(tools, bake=2.0))
            return
        resume_pull(tools, record)


GOOD = {
    "finished": ["done"],
    "audit": ["started", "done"],
    "tags": ["2", "2", "2"],
    "histories": [["1", "2"]] * 3,
    "versions": [["2", "2"]] * 3,
    "reboots": [1] * 6,
}
HALTED = {
    "finished": ["halted"],
    "audit": ["started", "halted"],
    "tags": ["1", "1", "1"],
    "histories": [["1", "2", "1"], ["1", "2", "1"], ["1"]],
    "versions": [["1", "1"]] * 3,
    "reboots": [2, 2, 2, 2, 0, 0],
}


@pytest.mark.parametrize(
    ("sick", "everything", "stride"),
    [(False, False, 1), (True, False, 1), (False, True, 13), (True, True, 13)],
)
def test_at_every_write(
    lab: LabRegistry, killer: Killer, tmp_path: Path, sick: bool, everything: bool, stride: int
) -> None:
    wanted = HALTED if sick else GOOD
    number = 0
    for number in itertools.count():
        fleet = make(lab, tmp_path / f"k{sick:d}{everything:d}x{number}", sick=sick)
        killer.arm(number * stride, everything=everything)
        finished = False
        with suppress(Killed):
            carry(fleet)
            finished = True
        killer.arm(None)
        carry(fleet)
        assert ended(fleet) == wanted, f"killed at {number * stride}"
        if finished:
            break
    assert number > 10


WORKER = """
import os, signal, sys
from pathlib import Path
from bootcfleet.drivers.registry import RegistryClient
from tests.pullfleet import PullFleet
from tests.ops.test_pull_kill import carry

folder, address, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
put, count = RegistryClient.put_manifest, 0

def killing(client, ref, manifest):
    global count
    done = put(client, ref, manifest)
    if ref.tag in ("prod-canary", "prod-1"):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
    return done

fleet = PullFleet.reopen(folder, address)
RegistryClient.put_manifest = killing
carry(fleet)
"""


@pytest.mark.integration
@pytest.mark.parametrize("at", [1, 2])
def test_a_real_kill_between_the_move_and_the_history(
    lab: LabRegistry, tmp_path: Path, at: int
) -> None:
    """The tag has moved, and neither the history nor the journal has heard of it.

    A train that was killed there is finished by who comes next: so it is promoted once.
    """
    folder = tmp_path / f"real{at}"
    fleet = make(lab, folder, sick=False)
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder), fleet.project.address, str(at)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    assert fleet.tags() == (["2", "1", "1"] if at == 1 else ["2", "2", "1"])
    # The worker's hosts went with it: these were moved by their timers meanwhile.
    fleet.fire()
    carry(fleet)
    assert ended(fleet) == GOOD
    assert list((folder / ".bootcfleet").glob("*.lock")) == []


def test_a_killed_controller_lets_go_of_it(lab: LabRegistry, tmp_path: Path) -> None:
    fleet = make(lab, tmp_path / "held", sick=False)
    carry(fleet)
    with fleet.tools() as tools:
        assert not tools.store.held(ID)
        before = len(tools.store.entries(ID))
        # Once more is nothing.
        assert resume_pull(tools, tools.store.record(ID)).outcome == "done"
        assert len(tools.store.entries(ID)) == before
