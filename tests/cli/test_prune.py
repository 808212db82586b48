"""`channel prune` on a registry: what goes, what stays and why, and when nothing is done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.channel import Intent
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.labimage import push_index
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.errors import FleetError
from bootcfleet.ops import prune as ops
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.lab import Lab, LabHost
from bootcfleet.ops.project import load_project
from bootcfleet.ops.promote import plan_promotion
from bootcfleet.ops.survey import HostSurvey
from tests.acme import Acme, acme_project, push

CHANNELS = "channels:\n  dev: {}\n  prod: {from: dev}\n"
LONG_AGO = datetime.now(UTC) - timedelta(days=90)


@pytest.fixture
def acme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Acme]:
    with acme_project(tmp_path, monkeypatch, capsys, more=CHANNELS) as acme:
        (acme.root / "inventory.yaml").write_text("version: 1\nhosts: {}\n")
        yield acme


def build(acme: Acme, number: int, name: str = "web", base: str | None = None) -> str:
    """As a build of 90 days ago with a tag of its own: its digest."""
    tag = f"bf-{number:032x}"
    digest = push(acme.registry.address, f"acme/{name}", tag, [f"{name}{number}".encode()], {})
    ledger = acme.ledger()
    digests = {"image": digest, **({"base": base} if base else {})}
    ledger.record(
        "image.build", name, "built", actor="ci@x", now=LONG_AGO + timedelta(hours=number),
        digests=digests,
    )  # fmt: skip
    ledger.close()
    return digest


def planned(acme: Acme, *words: str) -> tuple[set[str], dict[str, list[str]]]:
    """What a dry run would delete, and the reasons of what it keeps."""
    body: Any = acme.json("channel", "prune", "--dry-run", *words)
    kept = {one["digest"]: one["reasons"] for one in body["keep"]}
    return {one["digest"] for one in body["delete"]}, kept


def manifests(acme: Acme, name: str = "web") -> set[str]:
    return set(acme.registry.store.repository(f"acme/{name}").manifests)


def test_builds_that_nothing_needs_go_and_the_others_stay(acme: Acme) -> None:
    digests = [build(acme, number) for number in range(5)]
    deleted, kept = planned(acme)
    assert deleted == set(digests[:2])
    assert kept[digests[2]] == ["it is one of the last 3 builds of web"]
    assert kept[acme.digests["web"]][0] == "somebody may follow the tag 0.1"
    _, err = acme("channel", "prune", ends=2)
    assert err.startswith("error: this changes the registry and nobody is there to confirm it\n")
    out, _ = acme("channel", "prune", "--yes")
    assert out.splitlines()[-1] == (
        "deleted 2 manifests; the registry frees the space when it collects garbage"
    )
    assert manifests(acme) == {*digests[2:], acme.digests["web"]}
    assert planned(acme)[0] == set()
    ledger = acme.ledger()
    begun, done = ledger.entries(action="channel.prune")
    ledger.close()
    assert (begun.outcome, done.outcome, done.details["deleted"]) == ("started", "done", 2)
    assert {one["digest"] for one in begun.details["manifests"]} == deleted


def test_the_last_revisions_of_a_channel(acme: Acme) -> None:
    digests = [build(acme, number) for number in range(5)]
    for digest in digests:
        acme("channel", "promote", "web", digest, "dev", "--yes")
    # Moved a moment ago: all are young.
    assert planned(acme, "--keep", "2")[0] == set()
    deleted, kept = planned(acme, "--keep", "2", "--younger-than", "0m")
    assert deleted == set(digests[:3])
    assert "dev of web points at it" in kept[digests[4]]
    assert kept[digests[3]] == [
        "it is one of the last 2 of web in dev",
        "it is one of the last 2 builds of web",
    ]
    acme("channel", "prune", "--keep", "2", "--younger-than", "0m", "--yes")
    tags = acme.registry.store.repository("acme/web").tags
    acme("channel", "verify")  # what was pruned is not missing
    assert tags["dev"] == digests[4]
    assert "channel-dev.history" in tags
    assert set(tags.values()) & set(digests) == set(digests[3:])


def test_the_base_of_a_child_that_stays(acme: Acme) -> None:
    soes = [build(acme, number, "soe") for number in range(5)]
    repo = f"{acme.registry.address}/acme/soe"
    build(acme, 9, "web", f"{repo}@{soes[0]}")
    deleted, kept = planned(acme)
    assert deleted == {soes[1]}
    assert kept[soes[0]][0].endswith(" is built on it")


def test_a_lock_and_a_declared_base(acme: Acme) -> None:
    soes = [build(acme, number, "soe") for number in range(6)]
    repo = f"{acme.registry.address}/acme/soe"
    file = acme.root / "bootcfleet.yaml"
    text = file.read_text()
    file.write_text(text.replace("quay.io/fedora/fedora-bootc:42", f"{repo}@{soes[1]}"))
    (acme.root / "bootcfleet.lock").write_text(
        "version: 1\nbases:\n"
        f"  {repo}:old:\n    digest: {soes[0]}\n    locked: 2026-01-01T00:00:00Z\n"
        "    platforms:\n"
        f"      linux/amd64: {soes[0]}\n"
    )
    deleted, kept = planned(acme, "soe")
    assert deleted == {soes[2]}
    assert kept[soes[0]] == [f"bootcfleet.lock pins {repo}:old to it"]
    assert kept[soes[1]] == ["soe is declared to be built on it"]


def test_what_hosts_have_in_any_slot(acme: Acme, tmp_path: Path) -> None:
    digests = [build(acme, number) for number in range(6)]
    image = f"{acme.registry.address}/acme/web:bf-{0:032x}"
    with Lab(tmp_path / "lab") as lab:
        lab.start_hosts(
            [LabHost(name, image, {}, ()) for name in ("h1", "h2")], image=image, boot_seconds=0.1
        )
        inventory = ["-i", str(lab.inventory_path)]
        target = f"{acme.registry.address}/acme/web@{digests[1]}"
        acme.outside("fleet", "switch", target, "h1", *inventory, "--yes")
        deleted, kept = planned(acme, *inventory)
        assert deleted == {digests[2]}
        assert set(kept[digests[0]]) == {"h1 has it (rollback)", "h2 has it (booted)"}
        assert kept[digests[1]] == ["h1 has it (booted)"]
        lab.break_host("h2", "unreachable")
        before = manifests(acme)
        _, err = acme("channel", "prune", *inventory, "--yes", ends=1)
        assert err.startswith("error: 1 hosts did not say what they have; nothing was deleted\n")
        assert "  h2: " in err
        assert err.endswith(
            "hint: when they answer, run it again; or leave the hosts aside: --ignore-hosts\n"
        )
        assert manifests(acme) == before
        out, _ = acme("channel", "prune", *inventory, "--dry-run")
        assert "note: without --dry-run this is refused: 1 hosts did not say" in out
        acme("channel", "prune", *inventory, "--ignore-hosts", "--yes")
    assert manifests(acme) == {*digests[3:], acme.digests["web"]}


def test_no_inventory_is_not_no_hosts(acme: Acme) -> None:
    (acme.root / "inventory.yaml").unlink()
    build(acme, 1)
    _, err = acme("channel", "prune", "--yes", ends=1)
    assert err.startswith("error: what the hosts need is not known: there is no inventory ")


def test_an_index_goes_whole(acme: Acme) -> None:
    made = LONG_AGO
    gone = push_index(
        acme.registry.address, "acme/web", f"bf-{1:032x}", version="1", files={"a": b"1"},
        created=made,
    )  # fmt: skip
    for number in range(2, 5):
        build(acme, number)
    with RegistryClient() as client:
        ref = ImageRef.parse(f"{acme.registry.address}/acme/web")
        parts = set(map(str, client.manifest(ref.with_digest(gone)).references))
    deleted, _ = planned(acme)
    assert deleted == {str(gone), *parts}


@pytest.mark.parametrize("without", [(), ("referrers",)])
def test_what_belongs_to_an_image_goes_with_it(
    without: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with acme_project(tmp_path, monkeypatch, capsys, more=CHANNELS, without=without) as acme:
        (acme.root / "inventory.yaml").write_text("version: 1\nhosts: {}\n")
        digests = [build(acme, number) for number in range(4)]
        repo = ImageRef.parse(f"{acme.registry.address}/acme/web")
        with RegistryClient() as client:
            artifacts = Artifacts(client)
            mine = artifacts.push(repo, "a/sbom", subject=Digest(digests[0]))
            kept = artifacts.push(repo, "a/sbom", subject=Digest(digests[3]))
            push(acme.registry.address, "acme/web", f"sha256-{digests[0][7:]}.sig", [b"s"], {})
            acme("channel", "prune", "--yes")
            assert not client.exists(repo.with_digest(mine))
            assert [one.digest for one in artifacts.referrers(repo, Digest(digests[3]))] == [kept]
        tags = acme.registry.store.repository("acme/web").tags
        assert not any(tag.startswith(f"sha256-{digests[0][7:]}") for tag in tags)


def test_a_registry_that_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with acme_project(tmp_path, monkeypatch, capsys, without=("delete",)) as acme:
        (acme.root / "inventory.yaml").write_text("version: 1\nhosts: {}\n")
        for number in range(4):
            build(acme, number)
        _, err = acme("channel", "prune", "--yes", ends=1)
        assert "does not delete" in err
        assert "storage.delete.enabled" in err
        ledger = acme.ledger()
        assert [one.outcome for one in ledger.entries(action="channel.prune")] == [
            "started",
            "failed",
        ]
        ledger.close()


def test_what_somebody_is_moving_right_now(acme: Acme) -> None:
    digests = [build(acme, number) for number in range(4)]
    with open_channels(load_project()) as channels:
        moves = plan_promotion(channels, ["web"], digests[0], "dev").moves
        found = ops.plan(channels, HostSurvey(True), keep=3, younger_than=timedelta(hours=1))
        assert [one.stored.digest for one in found.delete] == [digests[0]]
        channels.store.claim(Intent("t1", channels.clock(), "op@desk", moves))
        with pytest.raises(FleetError) as caught:
            ops.prune(channels, found)
        assert "op@desk is moving web in dev" in caught.value.message
        again = ops.plan(channels, HostSurvey(True), keep=3, younger_than=timedelta(hours=1))
        assert again.delete == ()
    assert digests[0] in manifests(acme)


def test_a_tag_that_moved_since_the_plan(acme: Acme) -> None:
    digests = [build(acme, number) for number in range(4)]
    with open_channels(load_project()) as channels:
        found = ops.plan(channels, HostSurvey(True), keep=3, younger_than=timedelta(hours=1))
        assert [one.stored.digest for one in found.delete] == [digests[0]]
        repo = ImageRef.parse(f"{acme.registry.address}/acme/web")
        manifest = channels.registry.manifest(repo.with_digest(Digest(digests[0])))
        channels.registry.put_manifest(repo.with_tag("dev"), manifest)
        with pytest.raises(FleetError) as caught:
            ops.prune(channels, found)
    assert caught.value.message == (
        f"the registry has changed since the plan: {repo}:dev points at {digests[0]} now; nothing "
        "was deleted"
    )
    assert digests[0] in manifests(acme)
