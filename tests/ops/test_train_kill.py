"""A release train that is killed at any step: afterwards the channels are whole."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.channel import check_history
from bootcfleet.drivers.channelstore import ChannelTakenError
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.ledgerdb import LedgerDb
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryhttp import RegistryHttp
from bootcfleet.errors import FleetError
from bootcfleet.ops.channelverify import repair, verify
from bootcfleet.ops.promote import plan_promotion, promote, promote_now
from bootcfleet.ops.train import recover
from tests.channelproject import ChannelProject


class Killed(BaseException):
    """The process is gone: nothing of ours handles this."""


class Killer:
    """Counts what reaches the registry and the ledger's database, and ends it all at one of them.

    With `failing`, the registry refuses everything from then on and nobody is killed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.kind: type[BaseException] = Killed
        self.step = 0
        send, write = RegistryHttp.send, LedgerDb.write
        killer = self

        def counted_send(http: RegistryHttp, *words: Any, **more: Any) -> Any:
            killer.count()
            return send(http, *words, **more)

        @contextmanager
        def counted_write(db: LedgerDb) -> Iterator[Any]:
            killer.count()
            with write(db) as connection:
                yield connection
                # Before the transaction ends: nothing of it may be there afterwards.
                killer.count()

        monkeypatch.setattr(RegistryHttp, "send", counted_send)
        monkeypatch.setattr(LedgerDb, "write", counted_write)

    def count(self) -> None:
        if self.at is None:
            return
        if self.step == self.at:
            self.at = None
            raise self.kind
        self.step += 1

    def arm(self, at: int, kind: type[BaseException] = Killed) -> None:
        self.at, self.kind, self.step = at, kind, 0


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


def whole(project: ChannelProject, old: dict[str, str], new: dict[str, str]) -> bool:
    """Whether the whole train has arrived; fails for anything between all and nothing."""
    with project.open() as channels:
        assert [finding.message for finding in verify(channels)] == []
        assert channels.store.open_intents() == ()
        tags = {image: channels.found(channels.tag(image, "dev")) for image in new}
        for (image, channel), entries in channels.store.all().items():
            assert check_history(entries) is None
            assert entries[-1].digest == channels.found(channels.tag(image, channel))
        moved = [
            entry for entry in channels.ledger.entries(action="channel.promote")
            if entry.outcome == "done"
        ]  # fmt: skip
        assert len(moved) == sum(len(entries) for entries in channels.store.all().values())
    assert tags in ({**dict.fromkeys(new), **old}, new)
    return tags == new


def prepare(folder: Path, lab: LabRegistry) -> tuple[ChannelProject, dict[str, str]]:
    """soe is in dev already, and web is not; what soe is at."""
    project = ChannelProject.make(
        folder, f"{lab.address}/{folder.name}", "  dev: {}\n", images="soe,web"
    )
    with project.open() as channels:
        digest = project.push("soe", "1")
        promote_now(channels, ["soe"], digest, "dev")
    return project, {"soe": digest}


@pytest.mark.parametrize(("kind", "stride"), [(Killed, 1), (KeyboardInterrupt, 3), (OSError, 3)])
def test_at_every_step(
    lab: LabRegistry, killer: Killer, tmp_path: Path, kind: type[BaseException], stride: int
) -> None:
    outcomes = []
    for step in itertools.count(step=stride):
        project, old = prepare(tmp_path / f"{kind.__name__.lower()}{step}", lab)
        new = {image: project.push(image, "2") for image in ("soe", "web")}
        with project.open() as channels:
            plan = plan_promotion(channels, [], "v2", "dev", everything=True)
            assert len(plan.moves) == 2
            killer.arm(step, kind)
            try:
                promote(channels, plan)
                killed = killer.at is None
            except BaseException as error:
                if not isinstance(error, kind | Exception):
                    raise
                killed = True
            killer.at = None
        with project.open() as channels:
            findings = verify(channels)
            assert all(finding.repairable for finding in findings), findings
            repair(channels, findings)
        outcomes.append(whole(project, old, new))
        if not killed:
            break
        if step % 6 == 0:
            # And the whole train arrives when it is started once more.
            with project.open() as channels:
                promote(channels, plan_promotion(channels, [], "v2", "dev", everything=True))
            assert whole(project, old, new)
    # Early on nothing has come of it, in the end everything; there are both.
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert len(outcomes) * stride > 40


@pytest.fixture
def keeper() -> Iterator[LabRegistry]:
    """As docker-registry 2.8: it deletes no tag."""
    with LabRegistry(without={"tag-delete"}) as keeper:
        yield keeper


def test_where_tags_cannot_be_deleted(keeper: LabRegistry, killer: Killer, tmp_path: Path) -> None:
    """A tag that is new and stays: the train goes to its end, the only way to be whole."""
    arrived = []
    for step in itertools.count(step=2):
        project = ChannelProject.make(
            tmp_path / str(step), f"{keeper.address}/stay{step}", "  dev: {}\n", images="soe,web"
        )
        new = {image: project.push(image, "2") for image in ("soe", "web")}
        with project.open() as channels:
            plan = plan_promotion(channels, [], "v2", "dev", everything=True)
            killer.arm(step)
            with suppress(Killed):
                promote(channels, plan)
            finished, killer.at = killer.at is not None, None
        with project.open() as channels:
            said = recover(channels)
            repair(channels, verify(channels))
        arrived.append((whole(project, {}, new), bool(said)))
        if finished:
            break
    # Nothing, then what was begun and is brought to its end, then what needed no recovery.
    assert [was for was, _ in arrived] == sorted(was for was, _ in arrived)
    assert (True, True) in arrived


def test_somebody_else_moves_a_tag_meanwhile(
    lab: LabRegistry, killer: Killer, tmp_path: Path
) -> None:
    """Theirs stays and is told; ours go back."""
    project, old = prepare(tmp_path / "meanwhile", lab)
    new = {image: project.push(image, "2") for image in ("soe", "web")}
    with project.open() as channels:
        plan = plan_promotion(channels, [], "v2", "dev", everything=True)
        put = channels.registry.put_manifest
        theirs = project.push("web", "9")

        def interfere(ref: Any, manifest: Any) -> Any:
            done = put(ref, manifest)
            if ref.tag == "dev":
                project.push("web", "9", tag="dev")
                raise Killed
            return done

        channels.registry.put_manifest = interfere  # type: ignore[method-assign]
        with pytest.raises(Killed):
            promote(channels, plan)
    with project.open(RegistryClient()) as channels:
        (said,) = recover(channels)
        assert said == (
            f"the moves that {channels.actor} began (soe dev, web dev): put back: "
            f"{project.address}/acme/soe:dev; left as they are: {project.address}/acme/web:dev "
            "(somebody else moved it meanwhile)"
        )
        assert channels.found(channels.tag("soe", "dev")) == old["soe"]
        assert channels.found(channels.tag("web", "dev")) == theirs
        assert new["web"] != theirs
        (finding,) = verify(channels)
        assert (finding.kind.value, finding.bad) == ("unrecorded", False)


WORKER = """
import os, signal, sys
from pathlib import Path
from bootcfleet.drivers.registry import RegistryClient
from tests.channelproject import ChannelProject
from bootcfleet.ops.promote import plan_promotion, promote

folder, address, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
put, count = RegistryClient.put_manifest, 0

def killing(client, ref, manifest):
    global count
    done = put(client, ref, manifest)
    if ref.tag == "dev":
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
    return done

RegistryClient.put_manifest = killing
with ChannelProject(folder, address).open() as channels:
    promote(channels, plan_promotion(channels, [], "v2", "dev", everything=True))
"""


@pytest.mark.integration
@pytest.mark.parametrize("at", [1, 2])
def test_a_real_kill(lab: LabRegistry, tmp_path: Path, at: int) -> None:
    project, old = prepare(tmp_path / f"real{at}", lab)
    new = {image: project.push(image, "2") for image in ("soe", "web")}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(project.folder), project.address, str(at)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    with project.open() as channels:
        findings = verify(channels)
        assert [finding.kind.value for finding in findings if finding.channel == "dev"] == [
            "unfinished", "unfinished",
        ]  # fmt: skip
        (said,) = recover(channels)
        assert ("put back" in said, "written down" in said) == (at == 1, at == 2)
        repair(channels, verify(channels))
    assert whole(project, old, new) is (at == 2)
    assert list((project.folder / ".bootcfleet").glob("*.lock")) == []


def test_while_another_train_is_moving(lab: LabRegistry, tmp_path: Path) -> None:
    """Who comes second is told who and when, and takes nothing out of the first one's hands."""
    project, _ = prepare(tmp_path / "both", lab)
    new = {image: project.push(image, "2") for image in ("soe", "web")}
    said: list[str] = []

    def second(ref: Any) -> None:
        with project.open(RegistryClient()) as theirs:
            assert recover(theirs) == ()
            (first, *_) = verify(theirs)
            assert (first.kind.value, first.bad) == ("moving", False)
            plan = plan_promotion(theirs, ["web"], "v9", "dev", skip=["tag"], why="x")
            with pytest.raises(ChannelTakenError) as caught:
                promote(theirs, plan)
            said.append(caught.value.message)

    with project.open(RegistryClient()) as ours:
        project.push("web", "9")
        put = ours.registry.put_manifest

        def slow(ref: Any, manifest: Any) -> Any:
            done = put(ref, manifest)
            if ref.tag == "dev":
                second(ref)
            return done

        ours.registry.put_manifest = slow  # type: ignore[method-assign]
        promote(ours, plan_promotion(ours, [], "v2", "dev", everything=True))
        assert len(said) == 2
        assert all(
            text.startswith(f"{ours.actor} is moving web in dev since 2026") for text in said
        )
    with project.open() as channels:
        assert {one: channels.found(channels.tag(one, "dev")) for one in new} == new
        assert verify(channels) == ()


def test_what_cannot_be_settled_bars_no_other_channel(
    lab: LabRegistry, killer: Killer, tmp_path: Path
) -> None:
    project, _ = prepare(tmp_path / "barred", lab)
    for image in ("soe", "web"):
        project.push(image, "2")
    with project.open() as channels:
        plan = plan_promotion(channels, ["soe"], "v2", "dev")
        killer.arm(6)
        with pytest.raises(Killed):
            promote(channels, plan)
    lab.refuse("barred/acme/soe", 503)
    waits: list[float] = []
    with project.open(RegistryClient(sleep=waits.append)) as channels:
        (entry,) = promote_now(channels, ["web"], "v2", "dev")
        assert entry.image == "web"
        warning = next(e for e in project.events if e.kind == "channel.unsettled")
        assert warning.message.startswith(
            f"warning: the moves that {channels.actor} began (soe dev) cannot be settled: "
        )
        with pytest.raises(ChannelTakenError, match="is moving soe in dev"):
            promote(channels, plan)
    lab.refuse("barred/acme/soe", None)
    with project.open() as channels:
        assert len(recover(channels)) == 1
        assert verify(channels) == ()


def test_neither_back_nor_forward(keeper: LabRegistry, tmp_path: Path) -> None:
    """What had a digest before gets it again; a new tag that cannot be deleted is told."""
    project = ChannelProject.make(tmp_path / "stuck", f"{keeper.address}/stuck", "  dev: {}\n")
    new = {image: project.push(image, "2") for image in ("soe", "web", "db")}
    with project.open() as channels:
        old = project.push("web", "1")
        promote_now(channels, ["web"], old, "dev")
        plan = plan_promotion(channels, [], "v2", "dev", everything=True)
        put = channels.registry.put_manifest
        refused: list[str] = []

        def refuse(ref: Any, manifest: Any) -> Any:
            digest = str(manifest.digest)
            if ref.tag == "dev" and (digest == new["db"] or (digest == new["web"] and not refused)):
                refused.append(digest)
                raise FleetError("not now")
            return put(ref, manifest)

        channels.registry.put_manifest = refuse  # type: ignore[method-assign]
        with pytest.raises(FleetError, match="not now") as caught:
            promote(channels, plan)
        assert refused == [new["web"], new["db"]]
        assert "put back: " in caught.value.details[-1]
        assert f"left as they are: {project.address}/acme/soe:dev (" in caught.value.details[-1]
        tags = {image: channels.found(channels.tag(image, "dev")) for image in new}
        assert tags == {"soe": new["soe"], "web": old, "db": None}
        channels.registry.put_manifest = put  # type: ignore[method-assign]
        assert [(finding.image, finding.bad) for finding in verify(channels)] == [("soe", False)]
        promote(channels, plan_promotion(channels, [], "v2", "dev", everything=True))
    assert whole(project, {}, new)
