"""Promotion from channel to channel: the same bytes, whole or not at all, with a history."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bootcfleet.domain.channel import ChannelAction, check_history
from bootcfleet.domain.checkfile import checks_hash
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.signatures import Signatures
from bootcfleet.drivers.signingkey import PrivateKey, generate
from bootcfleet.errors import ChecksFailedError, FleetError, UsageError
from bootcfleet.ops.check import project_checks
from bootcfleet.ops.evidence import record_evidence
from bootcfleet.ops.project import load_project
from bootcfleet.ops.promote import plan_promotion, promote, promote_now
from bootcfleet.ops.render import ProjectImages
from tests.channelproject import CHANNELS, ChannelProject
from tests.oddmanifests import push_forms


@pytest.fixture
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


@pytest.fixture
def project(lab: LabRegistry, tmp_path: Path) -> ChannelProject:
    return ChannelProject.make(tmp_path / "acme", lab.address)


def tags(lab: LabRegistry, image: str) -> dict[str, str]:
    return dict(lab.store.repositories[f"acme/{image}"].tags)


def test_from_the_build_to_prod(project: ChannelProject, lab: LabRegistry) -> None:
    digest = project.build("web", "1.0")
    with project.open() as channels:
        (first,) = promote_now(channels, ["web"], "build", "dev", why="first")
        promote_now(channels, ["web"], "dev", "test")
        (last,) = promote_now(channels, ["web"], "test", "prod")
        assert channels.store.history("web", "dev") == (first,)
        assert channels.store.current("web", "prod") == last
    assert (first.number, first.previous_digest, first.source) == (1, None, "build")
    assert (first.digest, first.version, first.why) == (digest, "1.0", "first")
    assert first.action is ChannelAction.PROMOTE
    assert first.keep == f"dev-20261121T0301Z-{digest[7:19]}"
    found = tags(lab, "web")
    assert {found[name] for name in ("dev", "test", "prod", first.keep, last.keep)} == {digest}
    assert set(found) == {
        "v1.0", "dev", "test", "prod", first.keep, last.keep, found and last.keep.replace(
            "prod", "test"), "channel-dev.history", "channel-test.history", "channel-prod.history",
    }  # fmt: skip


def test_the_ledger_has_it_too(project: ChannelProject) -> None:
    old, new = project.push("web", "1"), project.push("web", "2")
    with project.open() as channels:
        promote_now(channels, ["web"], old, "dev")
        (entry,) = promote_now(channels, ["web"], new, "dev", why="news")
        (_, audit) = channels.ledger.entries(action="channel.promote")
        assert audit.subject == "web"
        assert audit.outcome == "done"
        assert audit.digests == {"before": old, "after": new}
        assert audit.details["train"] == entry.train
        assert audit.details["why"] == "news"
        assert (entry.previous_digest, entry.number) == (old, 2)
        assert check_history(channels.store.history("web", "dev")) is None


def test_once_more_is_nothing(project: ChannelProject, lab: LabRegistry) -> None:
    digest = project.build("web", "1")
    with project.open() as channels:
        promote_now(channels, ["web"], "build", "dev")
        written = lab.requests("PUT")
        plan = plan_promotion(channels, ["web"], "build", "dev")
        assert (plan.moves, plan.unchanged) == ((), {"web": digest})
        assert promote(channels, plan) == ()
        assert lab.requests("PUT") == written
        assert len(channels.store.history("web", "dev")) == 1


def test_a_tag_that_was_there_before_its_history(project: ChannelProject, lab: LabRegistry) -> None:
    """What it pointed at keeps a tag as well."""
    old = project.push("web", "1", tag="dev")
    new = project.push("web", "2")
    with project.open() as channels:
        (entry,) = promote_now(channels, ["web"], "v2", "dev")
    assert entry.previous_digest == old
    found = tags(lab, "web")
    assert found["dev"] == new
    assert [name for name, digest in found.items() if digest == old] == [
        f"dev-20261121T0301Z-{old[7:19]}"
    ]


def test_the_last_build(project: ChannelProject) -> None:
    """Also one that somebody else had made; not one that failed, or was not pushed."""
    digest = project.build("web", "1")
    other = project.push("web", "2")
    with project.open() as channels:
        for outcome, digests in (
            ("unchanged", {"image": other}),
            ("built", {"image-id": digest}),
            ("failed", {"image": digest}),
        ):
            channels.record("image.build", "web", outcome, digests=digests, details={})
        assert plan_promotion(channels, ["web"], "build", "dev").moves[0].digest == other


def test_a_train(project: ChannelProject, lab: LabRegistry) -> None:
    digests = {image: project.build(image, "1") for image in ("soe", "web")}
    with project.open() as channels:
        plan = plan_promotion(channels, [], "build", "dev", everything=True)
        assert plan.left_out == {"db": "no build of db was pushed, by the ledger"}
        entries = promote(channels, plan)
        assert {entry.image: entry.digest for entry in entries} == digests
        assert len({entry.train for entry in entries}) == 1


def test_a_train_that_the_registry_stops_is_put_back(
    project: ChannelProject, lab: LabRegistry
) -> None:
    old = {image: project.build(image, "1") for image in ("soe", "web", "db")}
    with project.open() as channels:
        promote_now(channels, ["soe", "db"], "build", "dev")
        new = {image: project.build(image, "2") for image in ("soe", "web", "db")}
        plan = plan_promotion(channels, [], "build", "dev", everything=True)
        assert len(plan.moves) == 3
        put = channels.registry.put_manifest

        def refuse(ref, manifest):  # type: ignore[no-untyped-def]
            if ref.tag == "dev" and str(manifest.digest) == new["db"]:
                raise FleetError("no more room", hint="make some")
            return put(ref, manifest)

        channels.registry.put_manifest = refuse  # type: ignore[method-assign]
        with pytest.raises(FleetError, match="no more room") as caught:
            promote(channels, plan)
        assert caught.value.hint == "make some"
        assert caught.value.details == (
            f"the moves that {channels.actor} began (soe dev, web dev, db dev): put back: "
            f"{lab.address}/acme/web:dev, {lab.address}/acme/soe:dev",
        )
        assert tags(lab, "soe")["dev"] == old["soe"]
        assert "dev" not in tags(lab, "web")
        assert tags(lab, "db")["dev"] == old["db"]
        assert channels.store.open_intents() == ()
        assert len(channels.store.history("soe", "dev")) == 1
        undone = channels.ledger.entries(action="channel.promote")[-3:]
        assert {entry.outcome for entry in undone} == {"undone"}


GATES = (
    "  dev: {}\n"
    "  test: {from: dev, checks: 7d, lint: true, signature: true, soak: 24h, max_download: 1kB}\n"
    "  prod: {from: test, images: [web]}\n"
)


def test_every_gate_is_asked(lab: LabRegistry, tmp_path: Path) -> None:
    project = ChannelProject.make(tmp_path / "acme", lab.address, GATES)
    project.now = datetime.now(UTC)
    first = project.build("web", "1")
    with project.open() as channels:
        promote_now(channels, ["web"], "build", "dev")
        plan = plan_promotion(channels, ["web"], "dev", "test")
        said = {gate.name: (gate.ok, gate.message) for _, gate in plan.refused}
        assert list(said) == ["checks", "lint", "signature", "soak"]
        assert said["checks"] == (False, "check was never run on this digest")
        with pytest.raises(ChecksFailedError) as caught:
            promote(channels, plan)
    assert caught.value.message == "4 gates of test are not green for web; nothing was moved"
    assert caught.value.details[:2] == (
        "web: checks: check was never run on this digest",
        f"  bootcfleet image check web --digest {first}",
    )
    assert (caught.value.hint or "").startswith(
        "mend it, or answer for it: --skip-gate checks,lint,signature,soak"
    )
    for kind in (EvidenceKind.CHECK, EvidenceKind.LINT, EvidenceKind.SIGN):
        project.prove(kind, "web", first, EvidenceOutcome.PASSED)
    project.now += timedelta(hours=24)
    with project.open() as channels:
        plan = plan_promotion(channels, ["web"], "dev", "test")
        assert {gate.name: gate.ok for gate in plan.moves[0].gates} == {
            "from": True, "checks": True, "lint": True, "signature": True, "soak": True,
            "max_download": True, "revoked": True,
        }  # fmt: skip
        (entry,) = promote(channels, plan)
    assert [gate["gate"] for gate in entry.gates if gate["ok"]] == [
        "from", "checks", "lint", "signature", "soak", "max_download", "revoked",
    ]  # fmt: skip
    project.now += timedelta(days=8)
    project.prove(EvidenceKind.LINT, "web", first, EvidenceOutcome.FAILED)
    with project.open() as channels:
        # Not for the move of a digest that is there already; so of another one.
        assert plan_promotion(channels, ["web"], "dev", "test").moves == ()
        second = project.build("web", "2")
        promote_now(channels, ["web"], "build", "dev")
        plan = plan_promotion(
            channels, ["web"], "dev", "test", skip=["checks", "lint", "signature"], why="urgent"
        )
        assert [gate.name for _, gate in plan.refused] == ["soak"]
        assert second != first


def test_a_skipped_gate_is_recorded(lab: LabRegistry, tmp_path: Path) -> None:
    project = ChannelProject.make(tmp_path / "acme", lab.address, GATES)
    project.build("web", "1")
    with project.open() as channels:
        with pytest.raises(UsageError, match="a gate is skipped for a reason"):
            plan_promotion(channels, ["web"], "build", "prod", skip=["from"])
        with pytest.raises(UsageError, match="there is no gate 'form' that can be skipped"):
            plan_promotion(channels, ["web"], "build", "prod", skip=["form"], why="x")
        plan = plan_promotion(channels, ["web"], "build", "prod", skip=["from"], why="CVE-2026-1")
        (entry,) = promote(channels, plan)
        assert entry.why == "CVE-2026-1"
        assert [(gate["gate"], gate["ok"]) for gate in entry.gates] == [
            ("from", False), ("revoked", True),
        ]  # fmt: skip
        (audit,) = channels.ledger.entries(action="channel.promote")
        assert audit.details["skipped"] == ["from"]
        with pytest.raises(UsageError, match="the channel prod does not take db"):
            plan_promotion(channels, ["db"], "build", "prod")


def test_the_size_gate(lab: LabRegistry, tmp_path: Path) -> None:
    project = ChannelProject.make(tmp_path / "acme", lab.address, "  dev: {max_download: 100B}\n")
    project.build("web", "1")
    with project.open() as channels:
        promote_now(channels, ["web"], "build", "dev")
        project.build("web", "2")
        plan = plan_promotion(channels, ["web"], "build", "dev")
        ((_, gate),) = plan.refused
    assert gate.name == "max_download"
    said = r"a host on dev downloads \d\.\d KiB, and 100 B are allowed"
    assert re.fullmatch(said, gate.message)


def test_a_tag_that_somebody_moved_is_not_written_over(
    project: ChannelProject, lab: LabRegistry
) -> None:
    project.build("web", "1")
    with project.open() as channels:
        promote_now(channels, ["web"], "build", "dev")
        promote_now(channels, ["web"], "dev", "test")
        other = project.push("web", "9", tag="test")
        project.build("web", "2")
        promote_now(channels, ["web"], "build", "dev")
        plan = plan_promotion(channels, ["web"], "dev", "test")
        ((_, gate),) = plan.refused
        assert gate.name == "tag"
        assert gate.hint == "bootcfleet channel verify web test"
        # And in the moment between plan and move.
        ready = plan_promotion(channels, ["web"], "dev", "prod", skip=["from"], why="x")
        project.push("web", "8", tag="prod")
        with pytest.raises(FleetError, match=r"somebody moved .*web:prod"):
            promote(channels, ready)
        assert channels.store.history("web", "prod") == ()
    assert tags(lab, "web")["test"] == other


def test_two_people(project: ChannelProject) -> None:
    one, two = project.push("web", "1"), project.push("web", "2")
    with project.open() as ours, project.open() as theirs:
        plan = plan_promotion(ours, ["web"], one, "dev")
        promote(theirs, plan_promotion(theirs, ["web"], two, "dev"))
        with pytest.raises(FleetError) as caught:
            promote(ours, plan)
        assert caught.value.message.startswith(f"{theirs.actor} moved web in dev to {two} at 2026")
        assert ours.store.open_intents() == ()
        assert ours.found(ours.tag("web", "dev")) == two


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((["web"], "dev", "prd"), "the project has no channel 'prd'"),
        ((["wbe"], "dev", "test"), "the project has no image 'wbe'"),
        (([], "dev", "test"), "name the images, or say --all-images"),
        ((["web"], "dev", "dev"), "dev cannot be promoted to itself"),
        ((["web", "web"], "dev", "test"), "web is named twice"),
        ((["web"], "dev", "test"), "web is not in dev"),
        ((["web"], "build", "dev"), "no build of web was pushed, by the ledger"),
        ((["web"], "b/d", "dev"), "'b/d' is no channel, tag or digest"),
        ((["web"], "v7", "dev"), "'v7' is neither a channel nor a tag of "),
        ((["web"], "sha256:1", "dev"), "'sha256:1' is not a digest"),
    ],
)
def test_what_cannot_be(
    project: ChannelProject, words: tuple[list[str], str, str], message: str
) -> None:
    with project.open() as channels, pytest.raises(FleetError) as caught:
        plan_promotion(channels, *words)
    assert caught.value.message.startswith(message)


def test_an_artifact_is_no_image(project: ChannelProject) -> None:
    project.build("web", "1")
    with project.open() as channels:
        promote_now(channels, ["web"], "build", "dev")
        with pytest.raises(UsageError) as caught:
            plan_promotion(channels, ["web"], "channel-dev.history", "test")
    assert caught.value.message == (
        "channel-dev.history of web is not an image, but "
        "application/vnd.bootcfleet.channel-history.v1+jsonl"
    )


def test_channels_are_declared(lab: LabRegistry, tmp_path: Path) -> None:
    assert "dev" in CHANNELS
    project = ChannelProject.make(tmp_path / "acme", lab.address, "  {}\n")
    with project.open() as channels, pytest.raises(UsageError) as caught:
        channels.spec("dev")
    assert "channels: {dev: {}}" in (caught.value.hint or "")


def test_the_digest_is_the_same_to_the_byte(project: ChannelProject, lab: LabRegistry) -> None:
    with project.open() as channels:
        web = channels.repository("web")
        for tag, digest in push_forms(channels.registry, str(web)).items():
            before = channels.registry.manifest(web.with_tag(tag))
            promote_now(channels, ["web"], tag, "dev")
            (entry,) = promote_now(channels, ["web"], "dev", "test")
            assert (entry.digest, entry.size) == (digest, len(before.raw))
            assert channels.registry.manifest(web.with_tag("test")) == before
            stored = lab.store.repositories["acme/web"].manifests[digest]
            assert (stored.raw, stored.media_type) == (before.raw, before.media_type)


def test_checks_that_changed_since_they_passed_are_stale(lab: LabRegistry, tmp_path: Path) -> None:
    project = ChannelProject.make(tmp_path / "acme", lab.address, "  dev: {checks: true}\n")
    template = project.folder / "containerfiles/web"
    template.mkdir(parents=True)
    (template / "Containerfile.j2").write_text("FROM {{ base }}\n")
    (template / "template.yaml").write_text("variables: {}\n")
    (template / "checks.yaml").write_text("version: 1\nchecks: [{package: nginx}]\n")
    digest = project.build("web", "1")
    images = ProjectImages.open(load_project(project.folder), LocalExecutor())
    now = checks_hash(project_checks(images, "web"))
    for recorded, green in ((now, True), ("0" * 64, False)):
        with project.open() as channels:
            record_evidence(
                channels.record, EvidenceKind.CHECK, "web", digest, EvidenceOutcome.PASSED,
                {"checks_hash": recorded},
            )  # fmt: skip
            plan = plan_promotion(channels, ["web"], "build", "dev")
            assert bool(plan.refused) is not green
    (_, gate) = plan.refused[0]
    assert gate.message == "check is stale: the checks have changed since"
    assert gate.hint == f"bootcfleet image check web --digest {digest}"


def test_a_signature_is_looked_at_and_not_only_its_record(
    project: ChannelProject, lab: LabRegistry
) -> None:
    """With a key in the project: evidence of a signature that is not there is none."""
    pair = generate(b"pass phrase")
    (project.folder / "cosign.pub").write_bytes(pair.public)
    text = (project.folder / "bootcfleet.yaml").read_text()
    (project.folder / "bootcfleet.yaml").write_text(
        text.replace("prod: {", "prod: {signature: true, ") + "signing: {public_key: cosign.pub}\n"
    )
    digest = project.push("web", "1")

    def signature() -> GateResult:
        with project.open() as channels:
            plan = plan_promotion(channels, ["web"], digest, "prod")
            (gate,) = (gate for gate in plan.moves[0].gates if gate.name == "signature")
            return gate

    project.prove(EvidenceKind.SIGN, "web", digest, EvidenceOutcome.PASSED)
    assert not signature().ok
    assert signature().message.startswith(f"{digest} is not signed with this key: ")
    ref = ImageRef.parse(f"{lab.address}/acme/web")
    key = PrivateKey(pair.private, b"pass phrase", "key")
    Signatures(project.client).add(ref, Digest(digest), key)
    assert signature().ok
