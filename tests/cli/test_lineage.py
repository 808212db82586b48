"""`image lineage` and `why`: from the ledger, from labels and layers, from a host."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labimage import push_index
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.lab import Lab, LabHost
from tests.acme import AT, Acme, acme_project, push


@pytest.fixture
def acme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Acme]:
    with acme_project(tmp_path, monkeypatch, capsys) as acme:
        yield acme


def test_the_ledger_knows_it_all(acme: Acme) -> None:
    acme.record_all()
    acme.registry.stop()
    out, _ = acme("image", "lineage", "web", "--no-registry")
    header, *rows = out.splitlines()
    assert header.split() == ["IMAGE", "DIGEST", "BUILT", "BY", "COMMIT", "KNOWN", "FROM"]
    assert [row.split()[0] for row in rows] == ["quay.io/fedora/fedora-bootc", "soe", "web", "shop"]
    assert rows[2].startswith("    web")
    assert " ".join(rows[2].split()) == (
        f"web {acme.digests['web']} 2026-11-01 14:00:00Z me@here {'c' * 12} ledger this one"
    )
    assert rows[0].split()[1:] == ["sha256:" + "9" * 64, "outside"]


def test_one_way_only(acme: Acme) -> None:
    acme.record_all()
    up = acme.json("image", "lineage", acme.digests["web"], "--up")
    assert [one["name"] for one in up["ancestors"]] == ["soe", "quay.io/fedora/fedora-bootc"]
    assert up["descendants"] == []
    down = acme.json("image", "lineage", acme.digests["web"][:19], "--down")
    assert [one["name"] for one in down["descendants"]] == ["shop"]
    assert down["ancestors"] == []
    assert down["build"]["actor"] == "me@here"


def test_labels_and_layers_where_the_ledger_is_silent(acme: Acme) -> None:
    found = acme.json("image", "lineage", "shop:0.1")
    assert [one["name"] for one in found["ancestors"]] == ["web", "soe"]
    assert found["build"]["proof"] == "layers"
    assert found["build"]["commit"] == "d" * 40
    assert found["notes"] == []
    out, _ = acme("image", "lineage", acme.digests["shop"])
    assert "labels and layers" in out


def test_a_label_that_the_layers_contradict(acme: Acme) -> None:
    """Somebody's image with our labels, inherited, and other layers."""
    labels = {
        "io.bootcfleet.image": "web",
        "org.opencontainers.image.base.name": f"{acme.registry.address}/acme/soe:0.1",
        "org.opencontainers.image.base.digest": acme.digests["soe"],
    }
    digest = push(acme.registry.address, "acme/web", "odd", [b"something else"], labels)
    found = acme.json("image", "lineage", f"{acme.registry.address}/acme/web:odd")
    assert found["digest"] == digest
    assert found["ancestors"] == []
    repo = f"{acme.registry.address}/acme"
    assert found["notes"] == [
        f"{repo}/web@{digest} does not have the layers of {repo}/soe@{acme.digests['soe']}, which "
        "its label names"
    ]


def test_a_base_that_is_gone(acme: Acme) -> None:
    acme.registry.store.delete_manifest("acme/soe", acme.digests["soe"])
    found = acme.json("image", "lineage", "web:0.1")
    assert found["build"]["proof"] == "label"
    assert found["ancestors"][0]["digest"] == acme.digests["soe"]
    assert "is not in the registry" in found["notes"][0]


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        (
            "wep",
            "'wep' is no digest, reference or image of the project",
            "did you mean 'web'?",
        ),
        (
            "web",
            "the ledger knows no build of web",
            "build it: bootcfleet image build web; or name a tag: web:TAG",
        ),
        (
            "abcdef0",
            "the ledger knows no digest that begins with abcdef0",
            "write the whole digest, or a reference with its registry",
        ),
    ],
)
def test_words_that_name_nothing(acme: Acme, word: str, message: str, hint: str) -> None:
    _, err = acme("image", "lineage", word, ends=2)
    assert err == f"error: {message}\nhint: {hint}\n"


def test_why_an_image(acme: Acme) -> None:
    acme.record_all()
    ledger = acme.ledger()
    ledger.record(
        "image.check", "web", "passed", actor="ci@x", now=AT + timedelta(hours=5),
        digests={"image": acme.digests["web"]},
    )  # fmt: skip
    ledger.close()
    out, _ = acme("why", "web")
    assert out.splitlines() == [
        f"  image     web {acme.digests['web']}",
        f"  built     2026-11-01 14:00:00Z by me@here from commit {'c' * 12} (entry 2)",
        "  log       .bootcfleet/logs/web.log",
        "  check     passed at 2026-11-01 17:00:00Z",
        f"  on        soe {acme.digests['soe']}",
        f"  built     2026-11-01 13:00:00Z by me@here from commit {'c' * 12} (entry 1)",
        "  log       .bootcfleet/logs/soe.log",
        f"  on        quay.io/fedora/fedora-bootc sha256:{'9' * 64} (from outside)",
    ]


@pytest.mark.parametrize("digit", ["9", "8"])
def test_why_tells_the_lock(acme: Acme, digit: str) -> None:
    acme.record_all()
    base = "quay.io/fedora/fedora-bootc:42"
    (acme.root / "bootcfleet.lock").write_text(
        f"version: 1\nbases:\n  {base}:\n    digest: sha256:{digit * 64}\n"
        "    locked: 2026-01-01T00:00:00Z\n    platforms:\n"
        f"      linux/amd64: sha256:{'7' * 64}\n"
    )
    what = "it" if digit == "9" else f"sha256:{digit * 64}"
    assert acme("why", "web")[0].splitlines()[-1] == (
        f"  lock      bootcfleet.lock pins {base} to {what}, since 2026-01-01 00:00:00Z"
    )


def test_why_tells_the_channels(acme: Acme) -> None:
    with (acme.root / "bootcfleet.yaml").open("a") as file:
        file.write("channels: {dev: {}, prod: {from: dev}}\n")
    acme.record_all()
    acme("channel", "promote", "web", "0.1", "dev", "--yes", "--reason", "try it")
    acme("channel", "promote", "web", "dev", "prod", "--yes")
    other = push(acme.registry.address, "acme/web", "other", [b"x"], {})
    acme("channel", "promote", "web", other, "dev", "--yes")
    body = acme.json("why", "web:prod")
    said = [(one["channel"], one["number"], one["source"], one["now"]) for one in body["channels"]]
    assert said == [("prod", 1, "dev", True), ("dev", 1, "0.1", False)]
    lines = [line for line in acme("why", "web:prod")[0].splitlines() if "channel" in line]
    assert lines[0].startswith("  channel   web prod #1: promote from dev at 2")
    assert ": try it" in lines[1]
    assert lines[1].endswith(", until it was moved on")


def test_a_platform_of_an_index_that_another_machine_built(acme: Acme) -> None:
    """A host says its platform's digest; the tag of the build leads to the index."""
    build_id = "b" * 64
    labels = {"io.bootcfleet.image": "web", "io.bootcfleet.build-id": build_id}
    index = push_index(
        acme.registry.address, "acme/web", f"bf-{build_id[:32]}", version="1", files={"a": b"b"},
        created=AT, labels=labels,
    )  # fmt: skip
    with RegistryClient() as client:
        ref = ImageRef.parse(f"{acme.registry.address}/acme/web").with_digest(index)
        amd64, arm64 = map(str, client.manifest(ref).references)
    found = acme.json("image", "lineage", f"{ref.name}@{arm64}")
    assert found["build"]["digests"] == [str(index), amd64, arm64]


def test_why_a_host(acme: Acme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.record_all()
    ledger = acme.ledger()
    for action, subject, outcome, digests, details in (
        ("fleet.upgrade", "r1", "started", {}, {}),
        ("fleet.upgrade.host", "h1", "updated",
         {"before": "sha256:" + "1" * 64, "after": acme.digests["web"]}, {"rollout": "r1"}),
        ("fleet.upgrade.host", "h2", "updated", {"after": acme.digests["web"]}, {"rollout": "r1"}),
        # Another rollout found it there and did nothing.
        ("fleet.upgrade.host", "h1", "refused",
         {"before": "", "after": acme.digests["web"]}, {"rollout": "r2"}),
    ):  # fmt: skip
        ledger.record(
            action, subject, outcome, actor="op@desk", now=AT + timedelta(hours=9),
            digests=digests, details=details,
        )  # fmt: skip
    ledger.close()
    image = f"{acme.registry.address}/acme/web:0.1"
    with Lab(tmp_path / "lab") as lab:
        lab.start_hosts([LabHost("h1", image, {}, ())], image=image, boot_seconds=0.1)
        inventory = str(lab.inventory_path)
        out, _ = acme("why", "h1", "-i", inventory)
        lines = out.splitlines()
        assert lines[0] == f"h1 runs {image}"
        assert lines[1].startswith(f"  booted    {acme.digests['web']}")
        assert "  moved by  op@desk at 2026-11-01 21:00:00Z: fleet.upgrade r1 (updated)" in lines
        assert lines[-1].endswith(f"fedora-bootc sha256:{'9' * 64} (from outside)")
        body = acme.json("why", "h1", "-i", inventory)
        assert body["host"]["booted"]["digest"] == acme.digests["web"]
        assert body["moved"]["rollout"] == "r1"
        assert [link["name"] for link in body["chain"]][:2] == ["web", "soe"]
        _, err = acme("why", "nobody", "-i", inventory, ends=2)
        assert err.startswith(f"error: 'nobody' is no host of {inventory}, and no image of the ")
        assert "hint: known: " in err
        monkeypatch.setenv("BOOTCFLEET_INVENTORY", inventory)
        _, err = acme("why", "h2", ends=2)
        assert err == (
            "error: 'h2' is no host of the inventory, and no image of the project\n"
            "hint: known: h1, shop, soe, web\n"
        )
