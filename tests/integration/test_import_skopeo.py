"""`channel import` by real skopeo from one registry into another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labimage import push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts
from tests.acme import AT, Acme, acme_project
from tests.tools import need

pytestmark = pytest.mark.integration


@dataclass
class Rig:
    """The project, and the registry upstream with fedora-bootc:42."""

    acme: Acme
    upstream: LabRegistry

    def publish(self, version: str) -> str:
        return str(
            push_index(
                self.upstream.address, "fedora/fedora-bootc", "42", version=version,
                files={"v": version.encode()}, created=AT,
            )
        )  # fmt: skip

    def tag(self, name: str = "42") -> str | None:
        return self.acme.registry.store.repository("acme/fedora-bootc").tags.get(name)

    def outcomes(self) -> list[str]:
        ledger = self.acme.ledger()
        found = [entry.outcome for entry in ledger.entries(action="channel.import")]
        ledger.close()
        return found

    def configure(self, more: str = "") -> None:
        file = self.acme.root / "bootcfleet.yaml"
        text = file.read_text().partition("imports:")[0]
        file.write_text(
            f"{text}imports:\n  fedora-bootc:\n"
            f"    source: {self.upstream.address}/fedora/fedora-bootc:42\n{more}"
        )


@pytest.fixture
def rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Rig]:
    need("skopeo")
    with (
        LabRegistry() as upstream,
        acme_project(tmp_path, monkeypatch, capsys, without=("referrers",)) as acme,
    ):
        rig = Rig(acme, upstream)
        rig.configure()
        yield rig


def test_following_a_tag(rig: Rig) -> None:
    first = rig.publish("42.1")
    with RegistryClient() as client:
        ref = ImageRef.parse(f"{rig.upstream.address}/fedora/fedora-bootc:42")
        sbom = Artifacts(client).push(ref, "a/sbom", subject=client.digest(ref))
    out, _ = rig.acme("channel", "import")
    assert f"fedora-bootc: 42 is {first}, from {ref}" in out.splitlines()
    assert rig.tag() == first
    held = rig.acme.registry.store.repository("acme/fedora-bootc").manifests
    assert str(sbom) in held
    out, _ = rig.acme("channel", "import", "fedora-bootc")
    assert out == f"fedora-bootc: 42 is unchanged: {first}\n"
    second = rig.publish("42.2")
    out, _ = rig.acme("channel", "import", "--dry-run")
    assert second in out
    assert rig.tag() == first
    assert rig.acme("channel", "import", "--due")[0] == "", "its time has not come"
    rig.acme("channel", "import")
    assert rig.tag() == second
    rig.acme("channel", "verify", "fedora-bootc")
    history = rig.acme.json("channel", "history", "fedora-bootc", "42")
    entries = history if isinstance(history, list) else history["entries"]
    said = sorted((entry["number"], entry["action"], entry["digest"]) for entry in entries)
    assert said == [(1, "import", first), (2, "import", second)]
    # Every digest of the history has a tag that keeps it.
    assert set(rig.acme.registry.store.repository("acme/fedora-bootc").tags.values()) >= {
        first,
        second,
    }


def test_the_last_good_stays_when_the_source_fails(rig: Rig) -> None:
    first = rig.publish("42.1")
    rig.acme("channel", "import")
    rig.upstream.refuse("fedora/fedora-bootc", 403)
    for _ in range(2):
        _, err = rig.acme("channel", "import", ends=1)
    assert err.startswith("error: 1 of 1 imports failed: fedora-bootc\n  fedora-bootc: ")
    assert "HTTP 403" in err
    assert rig.tag() == first
    (row,) = rig.acme.json("channel", "import", "--status")
    assert row["state"]["condition"] == "failed"
    assert row["state"]["digest"] == first
    assert rig.outcomes() == ["done", "failed"], "not an entry for each look"
    rig.upstream.refuse("fedora/fedora-bootc", None)
    rig.acme("channel", "import")
    assert rig.outcomes() == ["done", "failed", "recovered"]
    out, _ = rig.acme("channel", "import", "--status")
    assert "unchanged" in out


def test_a_revoked_digest_is_not_moved_to(rig: Rig) -> None:
    first = rig.publish("42.1")
    rig.acme("channel", "import")
    bad = rig.publish("42.2")
    rig.acme("image", "revoke", bad, "-m", "does not boot", "--yes", "--no-hosts")
    _, err = rig.acme("channel", "import", ends=1)
    assert "does not boot" in err
    assert rig.tag() == first
    third = rig.publish("42.3")
    rig.acme("channel", "import")
    assert rig.tag() == third


def test_a_pin_stays(rig: Rig) -> None:
    rig.configure("    mode: pin\n    channel: stable\n")
    first = rig.publish("42.1")
    rig.acme("channel", "import")
    rig.publish("42.2")
    assert rig.acme("channel", "import")[0] == f"fedora-bootc: stable is pinned: {first}\n"
    assert rig.tag("stable") == first


def test_a_tag_that_somebody_moved_is_not_written_over(rig: Rig) -> None:
    rig.publish("42.1")
    rig.acme("channel", "import")
    other = rig.publish("42.2")
    store = rig.acme.registry.store.repository("acme/fedora-bootc")
    upstream = rig.upstream.store.repository("fedora/fedora-bootc")
    rig.acme.registry.store.put_manifest(
        "acme/fedora-bootc", other, upstream.manifests[other], "42"
    )
    rig.publish("42.3")
    _, err = rig.acme("channel", "import", ends=1)
    assert "bootcfleet channel verify fedora-bootc 42" in err
    assert store.tags["42"] == other


def test_names(rig: Rig) -> None:
    _, err = rig.acme("channel", "import", "fedora", ends=2)
    assert err.startswith("error: the project has no import 'fedora'\n")


def test_a_loop_until_it_is_interrupted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        raise KeyboardInterrupt

    # Not time.sleep itself: other threads wait as well.
    monkeypatch.setattr("bootcfleet.cli.import_run.time", SimpleNamespace(sleep=sleep))
    first = rig.publish("42.1")
    rig.acme("channel", "import", "--loop", ends=130)
    assert rig.tag() == first
    assert waits == [60.0]
