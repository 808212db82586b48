"""`image revoke`, `image restore`, `who-uses`: what they list, block, move back and undo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.channel import Intent
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.labimage import push_index
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.lab import Lab, LabHost
from bootcfleet.ops.lineage import Lineage
from bootcfleet.ops.project import load_project
from bootcfleet.ops.promote import plan_promotion, promote
from bootcfleet.ops.revocation import load_revocations, with_registry
from bootcfleet.ops.train import TrainFailedError
from tests.acme import AT, Acme, acme_project, push

CHANNELS = "channels:\n  dev: {}\n  prod: {from: dev}\n"


@pytest.fixture
def acme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Acme]:
    with acme_project(tmp_path, monkeypatch, capsys, more=CHANNELS) as acme:
        acme.record_all()
        yield acme


def tag(acme: Acme, image: str, name: str) -> str:
    return acme.registry.store.repository(f"acme/{image}").tags[name]


def promote_twice(acme: Acme) -> tuple[str, str]:
    """web in dev and prod: a good digest on another base, then the one of the fixture."""
    good = push(acme.registry.address, "acme/web", "good", [b"other base", b"web"], {})
    ledger = acme.ledger()
    ledger.record(
        "image.build", "web", "built", actor="me@here", now=AT,
        digests={"image": good, "base": f"quay.io/fedora/fedora-bootc@sha256:{'8' * 64}"},
    )  # fmt: skip
    ledger.close()
    for where in (good, "0.1"):
        acme("channel", "promote", "web", where, "dev", "--yes")
        acme("channel", "promote", "web", "dev", "prod", "--yes")
    assert tag(acme, "web", "prod") == acme.digests["web"]
    return good, acme.digests["web"]


def test_a_dry_run_lists_and_changes_nothing(acme: Acme) -> None:
    promote_twice(acme)
    out, _ = acme("image", "revoke", "soe", "-m", "bad glibc", "--dry-run")
    digests = acme.digests
    assert out.splitlines() == [
        f"soe {digests['soe']}",
        f"  descendant  web {digests['web']}",
        f"  descendant  shop {digests['shop']}",
        f"  channel     web dev #2 {digests['web']}",
        f"  channel     web prod #2 {digests['web']}",
        "  hosts       not asked: there is no inventory with hosts",
    ]
    ledger = acme.ledger()
    assert ledger.entries(action="image.revoke") == []
    ledger.close()


def test_it_blocks_promotions_of_what_stands_on_it(acme: Acme) -> None:
    acme("image", "revoke", "soe", "-m", "bad glibc", "--yes", "--no-hosts")
    _, err = acme("channel", "promote", "shop", "0.1", "dev", "--yes", ends=3)
    assert "it stands on soe" in err
    assert "bad glibc" in err
    assert "dev" not in acme.registry.store.repository("acme/shop").tags
    ledger = acme.ledger()
    (entry,) = ledger.entries(action="image.revoke")
    revocations, lineage = load_revocations(ledger), Lineage.of(ledger)
    ledger.close()
    assert (entry.subject, entry.outcome, entry.digests) == (
        "soe", "revoked", {"image": acme.digests["soe"]},
    )  # fmt: skip
    assert entry.details["reason"] == "bad glibc"
    assert entry.details["descendants"] == [acme.digests["web"], acme.digests["shop"]]
    assert revocations.reason(acme.digests["shop"], lineage) is not None


def test_channels_go_back_to_the_last_good(acme: Acme) -> None:
    good, bad = promote_twice(acme)
    out, _ = acme(
        "image", "revoke", "soe", "-m", "bad glibc", "--rollback-channels", "--yes", "--no-hosts"
    )
    assert f"  channel     web dev #2 {bad} → {good} (entry 1)" in out.splitlines()
    assert f"revoked soe {acme.digests['soe']}" in out.splitlines()
    assert tag(acme, "web", "dev") == tag(acme, "web", "prod") == good
    history = acme.json("channel", "history", "web", "prod")
    entries = history if isinstance(history, list) else history["entries"]
    last = max(entries, key=lambda entry: entry["number"])
    assert (last["number"], last["action"], last["digest"]) == (3, "revoke", good)
    assert last["why"] == "soe was revoked: bad glibc"


def test_a_checked_digest_goes_before_a_newer_one(acme: Acme) -> None:
    checked, _ = promote_twice(acme)
    newer = push(acme.registry.address, "acme/web", "newer", [b"third base", b"web"], {})
    ledger = acme.ledger()
    ledger.record("image.build", "web", "built", actor="me@here", now=AT, digests={"image": newer})
    ledger.record("image.check", "web", "passed", actor="ci@x", now=AT, digests={"image": checked})
    ledger.close()
    acme("channel", "promote", "web", newer, "dev", "--yes")
    acme("channel", "promote", "web", "0.1", "dev", "--yes")
    plan = acme.json("image", "revoke", "soe", "-m", "x", "--rollback-channels", "--dry-run")
    to = {move["channel"]: move["to"] for move in plan["rollbacks"]}
    assert to == {"dev": checked, "prod": checked}


def test_a_channel_without_anything_good_stays_and_is_told(acme: Acme) -> None:
    acme("channel", "promote", "web", "0.1", "dev", "--yes")
    _, err = acme(
        "image", "revoke", "web", "-m", "x", "--rollback-channels", "--yes", "--no-hosts", ends=1
    )
    assert err.splitlines() == [
        "error: 1 of 1 channels could not be moved back: web dev",
        "  web dev: its history has no digest that is good and still in the registry",
        "hint: promote a good digest to them: bootcfleet channel promote IMAGE DIGEST CHANNEL",
    ]
    assert tag(acme, "web", "dev") == acme.digests["web"]


def test_restore(acme: Acme) -> None:
    _, err = acme("image", "restore", "web", "-m", "x", "--yes", ends=2)
    assert err == f"error: {acme.digests['web']} is not revoked\n"
    acme("image", "revoke", "soe", "-m", "bad glibc", "--yes", "--no-hosts")
    _, err = acme("image", "restore", "web", "-m", "x", "--yes", ends=2)
    assert f"error: {acme.digests['web']} is not revoked itself\n" in err
    assert f"bootcfleet image restore {acme.digests['soe']}" in err
    out, _ = acme("image", "revoke", "soe", "-m", "again", "--yes", "--no-hosts")
    assert "  already     soe " in out
    _, err = acme("image", "restore", "soe", "-m", "x", ends=2)
    assert "this changes the ledger and the registry and nobody is there to confirm it" in err
    out, _ = acme("image", "restore", "soe", "-m", "x", "--dry-run")
    assert out.startswith(f"would restore soe {acme.digests['soe']}: ")
    out, _ = acme("image", "restore", "soe", "-m", "it was not glibc", "--yes")
    assert out == f"restored soe {acme.digests['soe']}\n"
    acme("channel", "promote", "shop", "0.1", "dev", "--yes")
    ledger = acme.ledger()
    assert len(ledger.entries(action="image.revoke")) == 1
    ledger.close()


def test_another_ledger_sees_it_in_the_registry(acme: Acme) -> None:
    acme("image", "revoke", "web", "-m", "bad glibc", "--yes", "--no-hosts")
    (acme.root / ".bootcfleet/ledger.db").unlink()
    _, err = acme("channel", "promote", "web", "0.1", "dev", "--yes", ends=3)
    assert "bad glibc" in err
    ref = ImageRef.parse(f"{acme.registry.address}/acme/web")
    ref = ref.with_digest(Digest(acme.digests["web"]))
    with RegistryClient() as client:
        ledger = acme.ledger()
        found = with_registry(load_revocations(ledger), Artifacts(client), [ref])
        ledger.close()
    revoked = found.reason(acme.digests["web"], Lineage())
    assert revoked is not None
    assert revoked.source == "registry"
    acme("image", "restore", "web:0.1", "-m", "it is good", "--yes")
    acme("channel", "promote", "web", "0.1", "dev", "--yes")


def test_a_base_from_outside(acme: Acme) -> None:
    base = "sha256:" + "9" * 64
    out, _ = acme("image", "revoke", base, "-m", "CVE", "--yes", "--no-hosts")
    lines = out.splitlines()
    assert lines[0] == f"quay.io/fedora/fedora-bootc {base}"
    assert lines[1] == f"  descendant  soe {acme.digests['soe']}"
    assert lines[-1] == (
        "note: the registry was not told: quay.io/fedora/fedora-bootc is not in the project's "
        "registry"
    )
    _, err = acme("channel", "promote", "web", "0.1", "dev", "--yes", ends=3)
    assert "it stands on quay.io/fedora/fedora-bootc" in err


def test_nobody_can_confirm(acme: Acme) -> None:
    _, err = acme("image", "revoke", "web", "-m", "x", "--no-hosts", ends=2)
    assert "error: this changes the ledger and the registry and nobody is there to" in err
    _, err = acme("image", "revoke", "web", "-m", " ", "--no-hosts", "--yes", ends=2)
    assert err.startswith("error: an image is revoked for a reason\n")


def test_who_uses(acme: Acme) -> None:
    promote_twice(acme)
    body = acme.json("who-uses", "soe", "--no-hosts")
    assert [one["name"] for one in body["descendants"]] == ["web", "shop"]
    assert [(one["image"], one["channel"]) for one in body["channels"]] == [
        ("web", "dev"),
        ("web", "prod"),
    ]
    assert body["hosts_asked"] is False


def test_hosts_by_slot_and_those_that_do_not_answer(acme: Acme, tmp_path: Path) -> None:
    push(acme.registry.address, "acme/web", "prod", [b"other"], {})
    image = f"{acme.registry.address}/acme/web:prod"
    with Lab(tmp_path / "lab") as lab:
        lab.start_hosts(
            [LabHost(f"h{n}", image, {}, ()) for n in (1, 2, 3, 4, 5)],
            image=image,
            boot_seconds=0.1,
        )
        inventory = str(lab.inventory_path)
        with RegistryClient() as client:
            ref = ImageRef.parse(image)
            client.put_manifest(ref, client.manifest(ref.with_tag("0.1")))
        acme.outside("fleet", "upgrade", "-i", inventory, "--yes", "h1")
        lab.break_host("h3", "unreachable")
        # These answer: they have no images.
        lab.break_host("h4", "no-bootc")
        lab.break_host("h5", "not-bootc")
        body = acme.json("image", "revoke", "soe", "-m", "x", "-i", inventory, "--dry-run")
    assert body["hosts_asked"] is True
    web = acme.digests["web"]
    assert [(one["host"], one["slot"], one["digest"]) for one in body["hosts"]] == [
        ("h1", "booted", web)
    ]
    assert list(body["unknown_hosts"]) == ["h3"]
    assert body["unknown_hosts"]["h3"]


def test_who_uses_a_base_by_its_name(acme: Acme) -> None:
    """Wherever its tag points now: the ledger knows on which digests images were built."""
    older, newer = acme.digests["soe"], "sha256:" + "a" * 64
    acme.digests["soe"] = newer
    acme.record_build("soe", f"quay.io/fedora/fedora-bootc@sha256:{'8' * 64}", 9)
    out, _ = acme("who-uses", "quay.io/fedora/fedora-bootc:42", "--no-hosts")
    lines = out.splitlines()
    first = lines.index(f"quay.io/fedora/fedora-bootc sha256:{'9' * 64}")
    second = lines.index(f"quay.io/fedora/fedora-bootc sha256:{'8' * 64}")
    assert lines[first + 1] == f"  descendant  soe {older}"
    assert lines[second + 1] == f"  descendant  soe {newer}"


def test_somebodys_image_is_found_by_its_layers(acme: Acme) -> None:
    """Built elsewhere FROM soe: it carries the labels of soe, and says nothing of it."""
    labels = {"io.bootcfleet.image": "soe"}
    other = push(acme.registry.address, "acme/web", "theirs", [b"layer 0", b"theirs"], labels)
    foreign = push(acme.registry.address, "acme/web", "foreign", [b"layer x", b"y"], labels)
    for digest, channel in ((other, "dev"), (foreign, "dev")):
        acme("channel", "promote", "web", digest, channel, "--yes")
        body = acme.json("who-uses", "soe", "--no-hosts")
        assert [one["digest"] for one in body["channels"]] == ([other] if digest == other else [])


def test_a_revoked_parent_that_only_the_registry_tells_of(acme: Acme) -> None:
    """Neither the build nor the revocation are in this ledger: labels and a notice are."""
    acme("image", "revoke", "soe", "-m", "bad glibc", "--yes", "--no-hosts")
    (acme.root / ".bootcfleet/ledger.db").unlink()
    _, err = acme("channel", "promote", "shop", "0.1", "dev", "--yes", ends=3)
    assert "it stands on soe" in err
    assert "bad glibc" in err


def test_the_platforms_of_an_index_are_revoked_with_it(acme: Acme) -> None:
    """The ledger does not know them from the build: the revocation writes them down."""
    index = push_index(
        acme.registry.address, "acme/web", "both", version="1", files={"a": b"b"}, created=AT
    )
    with RegistryClient() as client:
        ref = ImageRef.parse(f"{acme.registry.address}/acme/web").with_digest(index)
        amd64, arm64 = map(str, client.manifest(ref).references)
    acme("image", "revoke", str(ref), "-m", "x", "--yes", "--no-hosts")
    ledger = acme.ledger()
    found = load_revocations(ledger)
    assert set(found.by_digest) == {str(index), amd64, arm64}
    _, err = acme("channel", "promote", "web", arm64, "dev", "--yes", ends=3)
    assert "was revoked at" in err
    acme("image", "restore", arm64, "-m", "y", "--yes")
    assert load_revocations(ledger).by_digest == {}
    ledger.close()


def test_revoked_between_the_gates_and_the_move(acme: Acme) -> None:
    with open_channels(load_project()) as channels:
        plan = plan_promotion(channels, ["web"], "0.1", "dev")
        acme("image", "revoke", "soe", "-m", "bad glibc", "--yes", "--no-hosts")
        with pytest.raises(TrainFailedError, match="bad glibc"):
            promote(channels, plan)
        assert channels.store.open_intents() == ()
    assert "dev" not in acme.registry.store.repository("acme/web").tags


def test_a_move_that_is_under_way_is_told(acme: Acme) -> None:
    with open_channels(load_project()) as channels:
        moves = plan_promotion(channels, ["web"], "0.1", "dev").moves
        channels.store.claim(Intent("t1", channels.clock(), "op@desk", moves))
    out, _ = acme("image", "revoke", "soe", "-m", "x", "--dry-run", "--no-hosts")
    assert out.splitlines()[-1] == "note: op@desk is moving it to dev of web now"
