"""Whether channels are as their histories say, how they are mended, and the way back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.channel import ChannelAction, check_history
from bootcfleet.domain.channel_finding import Finding, FindingKind
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.errors import ChecksFailedError, FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.channelback import plan_rollback
from bootcfleet.ops.channelmirror import read_mirror, restore_histories
from bootcfleet.ops.channelverify import repair, verify
from bootcfleet.ops.promote import plan_promotion, promote, promote_now
from tests.channelproject import ChannelProject


@pytest.fixture
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


@pytest.fixture
def project(lab: LabRegistry, tmp_path: Path) -> ChannelProject:
    return ChannelProject.make(tmp_path / "acme", lab.address, images="web")


@pytest.fixture
def three(project: ChannelProject) -> list[str]:
    """Three digests, one after the other in dev."""
    digests = [project.push("web", version) for version in ("1", "2", "3")]
    with project.open() as channels:
        for digest in digests:
            promote_now(channels, ["web"], digest, "dev")
    return digests


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


def mended(channels: Channels, findings: tuple[Finding, ...]) -> None:
    repair(channels, findings)
    assert verify(channels) == ()


def test_all_is_well(project: ChannelProject, three: list[str], lab: LabRegistry) -> None:
    with project.open() as channels:
        before = lab.requests("PUT")
        assert verify(channels) == ()
        assert lab.requests("PUT") == before


def test_a_tag_that_was_moved(project: ChannelProject, three: list[str]) -> None:
    with project.open() as channels:
        promote_now(channels, ["web"], "dev", "test")
        other = project.build("web", "9")
        project.push("web", "9", tag="dev")
        last = channels.store.current("web", "dev")
        assert last is not None
        finding = only(verify(channels))
        assert (finding.kind, finding.bad) == (FindingKind.MOVED, True)
        assert finding.message == (
            f"the tag points at {other}; by its history it is {three[2]}, since "
            f"{last.at:%Y-%m-%d %H:%M:%SZ} by {channels.actor}"
        )
        assert finding.details[0].startswith("by the ledger: image.build by ")
        assert finding.details[1] == "by its labels: version 9, made 2026-11-21T03:01:00+00:00"
        mended(channels, (finding,))
        assert channels.found(channels.tag("web", "dev")) == three[2]
        entry = channels.store.history("web", "dev")[-1]
        assert (entry.number, entry.action, entry.digest) == (4, ChannelAction.REPAIR, three[2])
        assert (entry.previous_digest, entry.why) == (other, finding.message)


def test_where_it_points_now(project: ChannelProject, three: list[str]) -> None:
    with project.open() as channels:
        project.push("web", "2", tag="dev")
        finding = only(verify(channels))
        assert finding.details[0].startswith("that is entry 2 of its history, of 2026-11-21")
        channels.artifacts.delete_tag(channels.tag("web", "dev"))
        finding = only(verify(channels))
        assert "the tag is not there; by its history it is" in finding.message
        assert finding.details == ()
        mended(channels, (finding,))


def test_tags_that_keep(project: ChannelProject, three: list[str]) -> None:
    with project.open() as channels:
        first, second, _ = channels.store.history("web", "dev")
        repository = channels.repository("web")
        channels.artifacts.delete_tag(repository.with_tag(first.keep))
        project.push("web", "3", tag=second.keep)
        finding = only(verify(channels))
        assert finding.kind is FindingKind.KEEP
        assert finding.message == (
            "2 tags that keep a digest of the history are missing or moved: "
            f"{first.keep}, {second.keep}"
        )
        mended(channels, (finding,))
        assert channels.found(repository.with_tag(second.keep)) == three[1]


def test_a_digest_that_is_gone(project: ChannelProject, three: list[str], lab: LabRegistry) -> None:
    with project.open() as channels:
        lab.store.delete_manifest("acme/web", three[2])
        kinds = [finding.kind for finding in verify(channels)]
        assert kinds == [FindingKind.GONE, FindingKind.MOVED, FindingKind.KEEP]
        (entry,) = promote(channels, plan_rollback(channels, "web", "dev"))
        assert entry.digest == three[1]
        with pytest.raises(FleetError) as caught:
            plan_rollback(channels, "web", "dev", "3")
        assert caught.value.message == f"{three[2]} is no longer in {project.address}/acme/web"


def test_a_copy_that_is_behind(project: ChannelProject, lab: LabRegistry) -> None:
    digest = project.push("web", "1")
    with project.open() as channels:
        plan = plan_promotion(channels, ["web"], digest, "dev")
        push = channels.artifacts.push

        def refuse(*words: object, **more: object) -> None:
            raise FleetError("the disk is full")

        channels.artifacts.push = refuse  # type: ignore[method-assign, assignment]
        promote(channels, plan)
        assert project.events[-1].message == (
            "warning: the history of dev was not copied into the registry: the disk is full"
        )
        channels.artifacts.push = push  # type: ignore[method-assign]
        finding = only(verify(channels))
        assert finding.message == "the registry's copy of the history lacks the newest 1 of 1"
        mended(channels, (finding,))


def test_a_copy_that_was_changed(project: ChannelProject, three: list[str]) -> None:
    with project.open() as channels:
        project.push("web", "1", tag="channel-dev.history")
        finding = only(verify(channels))
        assert (finding.kind, finding.repairable) == (FindingKind.MIRROR, True)
        mended(channels, (finding,))


def test_a_chain_that_was_changed(project: ChannelProject, three: list[str]) -> None:
    with sqlite3.connect(project.folder / ".bootcfleet/ledger.db") as connection:
        connection.execute("DROP TRIGGER channel_entry_no_update")
        connection.execute(
            'UPDATE channel_entry SET body = replace(body, \'"why": ""\', \'"why": "x"\') '
            "WHERE number = 2"
        )
    with project.open() as channels:
        finding = only(verify(channels))
        assert (finding.kind, finding.repairable) == (FindingKind.CHAIN, False)
        assert finding.message == (
            "the history does not hold: entry 2 was changed after it was written"
        )


def test_another_ledger(
    project: ChannelProject, three: list[str], lab: LabRegistry, tmp_path: Path
) -> None:
    """Two people with a ledger each: the registry's copy tells the one of the other."""
    other = ChannelProject.make(tmp_path / "other", lab.address, images="web")
    with other.open() as channels:
        finding = only(tuple(f for f in verify(channels) if f.channel == "dev"))
        assert (finding.kind, finding.bad) == (FindingKind.UNRECORDED, False)
        assert restore_histories(channels) == {("web", "dev"): 3}
        assert restore_histories(channels) == {}
        assert verify(channels) == ()
        with project.open() as ours:
            assert channels.store.history("web", "dev") == ours.store.history("web", "dev")
        (restored,) = channels.ledger.entries(action="channel.restore")
        assert restored.details["entries"] == 3
        fourth = other.push("web", "4")
        promote_now(channels, ["web"], fourth, "dev")
    with project.open() as ours:
        moved, copy = verify(ours)
        assert moved.details[0].endswith(
            "with another ledger, by the registry's copy of the history"
        )
        assert copy.message == (
            "the registry's copy of the history has 1 more entry than this ledger: "
            f"{ours.actor} uses another one"
        )
        assert (copy.hint, copy.repairable) == ("bootcfleet channel restore web dev", False)
        assert restore_histories(ours) == {("web", "dev"): 1}
        assert verify(ours) == ()


def test_a_registry_that_does_not_answer(
    project: ChannelProject, three: list[str], lab: LabRegistry
) -> None:
    lab.refuse("acme/web", 403)
    with project.open() as channels:
        kinds = {finding.kind for finding in verify(channels)}
        assert kinds == {FindingKind.UNKNOWN}


def test_rollback(project: ChannelProject, three: list[str]) -> None:
    one, two, three_ = three
    with project.open() as channels:
        (entry,) = promote(channels, plan_rollback(channels, "web", "dev", why="it hangs"))
        assert (entry.number, entry.digest, entry.action) == (4, two, ChannelAction.ROLLBACK)
        assert (entry.source, entry.why, entry.previous_digest) == ("entry 2", "it hangs", three_)
        assert channels.found(channels.tag("web", "dev")) == two
        for to in ("1", one, one[7:19]):
            plan = plan_rollback(channels, "web", "dev", to)
            assert plan.moves[0].digest == one
        assert plan_rollback(channels, "web", "dev", "4").moves == ()
        assert check_history(channels.store.history("web", "dev")) is None
        (audit,) = channels.ledger.entries(action="channel.rollback")
        assert audit.digests == {"before": three_, "after": two}
        for to, message in (
            ("9", "the history of web dev has no entry '9'"),
            ("sha256:" + "0" * 64, "the history of web dev has no entry 'sha256:0"),
            ("../x", "the history of web dev has no entry '../x'"),
        ):
            with pytest.raises(UsageError) as caught:
                plan_rollback(channels, "web", "dev", to)
            assert caught.value.message.startswith(message)
        with pytest.raises(UsageError, match="web was never in test"):
            plan_rollback(channels, "web", "test")


def test_rollback_to_what_is_known_as_good(project: ChannelProject, three: list[str]) -> None:
    with project.open() as channels:
        with pytest.raises(FleetError, match="no other digest whose checks passed"):
            plan_rollback(channels, "web", "dev", "known-good")
    for digest in (three[0], three[2]):
        project.prove(EvidenceKind.CHECK, "web", digest, EvidenceOutcome.PASSED)
    with project.open() as channels:
        assert plan_rollback(channels, "web", "dev", "known-good").moves[0].digest == three[0]
        channels.record(
            "image.revoke",
            "web",
            "revoked",
            digests={"image": three[0]},
            details={"reason": "CVE-2026-1"},
        )
        with pytest.raises(FleetError, match="nobody revoked"):
            plan_rollback(channels, "web", "dev", "known-good")
        plan = plan_rollback(channels, "web", "dev", "1")
        with pytest.raises(ChecksFailedError) as caught:
            promote(channels, plan)
        assert "CVE-2026-1" in caught.value.details[0]
        assert "--skip-gate" not in (caught.value.hint or "")
        with pytest.raises(ChecksFailedError, match="1 gate of test is not green"):
            promote(
                channels,
                plan_promotion(channels, ["web"], three[0], "test", skip=["from"], why="x"),
            )


def test_the_copy_is_the_history(project: ChannelProject, three: list[str]) -> None:
    with project.open() as channels:
        copy = read_mirror(channels, channels.repository("web"), "dev")
        assert copy == channels.store.history("web", "dev")
        assert read_mirror(channels, channels.repository("web"), "test") == ()


def test_what_was_pruned_is_not_missed(
    project: ChannelProject, three: list[str], lab: LabRegistry
) -> None:
    with project.open() as channels:
        lab.store.delete_manifest("acme/web", three[0])
        assert only(verify(channels)).kind is FindingKind.KEEP
        gone = {
            "repository": f"{lab.address}/acme/web",
            "manifests": [{"digest": three[0], "tags": []}],
        }
        channels.record("channel.prune", "web", "started", digests={}, details=gone)
        assert verify(channels) == ()
