"""`fleet drift` on a lab and a project with channels and a ledger; and what a rollback would do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootcfleet.cli.app import run
from bootcfleet.domain.hosttruth import PULL_DROP_IN
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.revocation import REVOKE
from bootcfleet.domain.rollout import Operation
from bootcfleet.drivers import simtimer
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.simhost import Deployment
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.connect import over_ssh, select
from bootcfleet.ops.imagestanding import image_judge
from bootcfleet.ops.lab import Lab, LabHost
from bootcfleet.ops.preflight import Preflight, preflight
from bootcfleet.ops.project import load_project
from bootcfleet.ops.promote import promote_now
from tests.channelproject import ChannelProject


@dataclass
class Rig:
    """A lab whose hosts follow the channel dev of a project."""

    lab: Lab
    project: ChannelProject
    capsys: pytest.CaptureFixture[str]

    @property
    def channel(self) -> str:
        return f"{self.project.address}/acme/web:dev"

    def promote(self, version: str) -> str:
        """Build a version of web and promote it to dev; its digest."""
        digest = self.project.build("web", version)
        with self.project.open() as channels:
            promote_now(channels, ["web"], digest, "dev")
        return digest

    def __call__(self, *words: str, ends: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        line = ["fleet", words[0], "-i", str(self.lab.inventory_path), *words[1:]]
        code = run(line)
        said = self.capsys.readouterr()
        assert code == ends, f"{line}: {code}\n{said.out}\n{said.err}"
        return said.out, said.err

    def drift(self, *words: str, ends: int = 3) -> dict[str, list[str]]:
        """Host → kinds of drift."""
        answer = json.loads(self("drift", "--json", *words, ends=ends)[0])
        return {host["host"]: [one["kind"] for one in host["drift"]] for host in answer["hosts"]}

    def revoke(self, digest: str) -> None:
        with self.project.open() as channels:
            channels.record(
                REVOKE, "web", "revoked", digests={"image": digest}, details={"reason": "CVE-1"}
            )


@pytest.fixture
def rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Rig]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        project = ChannelProject.make(tmp_path / "acme", lab.registry_address)
        monkeypatch.chdir(project.folder)
        rig = Rig(lab, project, capsys)
        rig.promote("1.0")
        lab.start_hosts(
            [LabHost(f"h{n}", rig.channel, {}) for n in (1, 2, 3)],
            image=rig.channel,
            boot_seconds=0.2,
        )
        yield rig


def test_hosts_that_run_what_their_channel_says(rig: Rig) -> None:
    assert rig.drift(ends=0) == {"h1": [], "h2": [], "h3": []}
    out, _ = rig("drift")
    header, *rows = out.splitlines()
    assert " ".join(header.split()) == "HOST DRIFT RUNS SHOULD RUN"
    assert rows[0].split()[:3] == ["h1", "-", "1.0"]
    assert rows[-1] == "0 of 3 hosts drift"


def test_a_channel_that_went_on_and_a_timer_that_followed(rig: Rig) -> None:
    rig.promote("1.1")
    assert set(map(tuple, rig.drift().values())) == {("behind",)}
    out, _ = rig("drift", ends=3)
    assert [line.partition(": runs")[0] for line in out.splitlines() if ": runs" in line] == [
        "behind: h1, h2, h3"
    ]
    assert "  bootcfleet fleet upgrade h1 h2 h3\n" in out
    hosts = json.loads(rig("drift", "--json", ends=3)[0])["hosts"]
    hints = [one["drift"][0]["hint"] for one in hosts]
    assert hints == [f"bootcfleet fleet upgrade {name}" for name in ("h1", "h2", "h3")]
    rig("upgrade", "--yes", "--canary", "0")
    assert rig.drift(ends=0) == {"h1": [], "h2": [], "h3": []}
    rig.promote("1.2")
    for name in ("h1", "h2"):
        host = rig.lab.hosts[name]
        host.timer.enabled = host.timer.active = True
        simtimer.fire(host)
        host._up_at = 0.0
    # What a host does that was enrolled in pull mode is what it was enrolled for.
    rig.lab.hosts["h2"].files[PULL_DROP_IN] = b"[Timer]\n"
    assert rig.drift() == {"h1": ["moved-outside"], "h2": [], "h3": ["behind"]}
    out, _ = rig("drift", "h1", ends=3)
    assert "its bootc-fetch-apply-updates.timer is active" in out
    assert "look at it: bootcfleet why h1" in out


def test_the_history_decides_what_a_channel_is(rig: Rig) -> None:
    """A tag that somebody pushed over is no reason to call the hosts wrong."""
    rig.project.push("web", "9.9", tag="dev")
    answer = json.loads(rig("drift", "--json")[0])
    assert answer["drifted"] == []
    assert len(answer["notes"]) == 1
    assert "by its history it is" in answer["notes"][0]


def test_pinned_unknown_and_changed(rig: Rig) -> None:
    host = rig.lab.hosts["h1"]
    pinned = f"{rig.project.address}/acme/web@{host.booted.image.digest}"
    host.booted = Deployment(pinned, "registry", host.booted.image)
    rig.project.push("other", "1.0", tag="x")
    other = f"{rig.project.address}/acme/other:x"
    rig.lab.hosts["h2"].booted = Deployment(other, "registry", host.pull(other))
    rig.lab.break_host("h3", "usr-unlocked")
    assert rig.drift() == {
        "h1": ["pinned"],
        "h2": ["other-image", "follows-other", "unknown-image"],
        "h3": ["changed-locally"],
    }


def test_revoked_and_past_the_end_of_life(rig: Rig) -> None:
    first = str(rig.lab.hosts["h1"].booted.image.digest)
    rig.promote("1.1")
    rig("upgrade", "--yes", "h3")
    rig.revoke(first)
    found = rig.drift()
    assert found["h1"] == found["h2"] == ["behind", "revoked"]
    # The image before stays in the rollback slot: that is what an update leaves behind.
    assert found["h3"] == []
    assert rig.drift("--no-registry")["h1"] == ["behind", "revoked"]
    config = rig.project.folder / "bootcfleet.yaml"
    config.write_text(
        config.read_text().replace(
            "  web: {base: 'registry.invalid/base:1'}",
            "  web: {base: 'registry.invalid/base:1', end_of_life: 2020-01-01}",
        )
    )
    assert rig.drift()["h3"] == ["end-of-life"]


def test_who_cannot_be_asked(rig: Rig) -> None:
    rig.lab.break_host("h1", "unreachable")
    rig.lab.break_host("h2", "no-bootc")
    answer = json.loads(rig("drift", "--json", ends=1)[0])
    assert answer["not_asked"] == ["h1", "h2"]
    out, _ = rig("drift", ends=1)
    assert out.splitlines()[-1] == "0 of 1 host drifts; 2 could not be asked"
    # Drift is there, whoever is silent.
    rig.promote("1.1")
    rig("drift", ends=3)


def test_an_inventory_that_says_another_image(rig: Rig) -> None:
    path = rig.lab.inventory_path
    text = path.read_text()
    image = ImageRef.parse(rig.channel).with_tag("prod")
    assert "hosts:" in text
    body: dict[str, Any] = yaml.safe_load(text)
    body["hosts"]["h1"]["image"] = str(image)
    path.write_text(yaml.safe_dump(body))
    found = rig.drift()
    assert found["h1"] == ["follows-other"]
    assert found["h2"] == []


def test_without_a_project_a_name_is_no_machine(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger of a user knows hosts of all labs that there ever were."""
    monkeypatch.chdir(tmp_path)
    rig.promote("1.1")
    rig("upgrade", "--yes", "--canary", "0")
    host = rig.lab.hosts["h1"]
    assert host.rollback is not None
    host.booted, host.rollback = host.rollback, host.booted
    assert rig.drift()["h1"] == ["behind", "moved-outside"]
    with closing(open_ledger(None)) as ledger:
        for number, name in enumerate(("r8", "r9")):
            ledger.record(
                "fleet.upgrade",
                name,
                "started",
                actor="a",
                now=datetime.now(UTC),
                digests={"other.example/acme/web:dev": "sha256:" + "e" * 64},
            )
            ledger.record(
                "fleet.upgrade.host",
                f"h{number + 2}",
                "updated",
                actor="a",
                now=datetime.now(UTC),
                digests={"before": "", "after": "sha256:" + "e" * 64},
                details={"rollout": name},
            )
    assert rig.drift() == {"h1": ["behind", "moved-outside"], "h2": [], "h3": []}


def previews(rig: Rig, client: RegistryClient | None) -> Preflight:
    loaded = load_project()
    _, hosts = select(rig.lab.inventory_path, (), (), ())
    with closing(over_ssh(hosts, lambda question: question)) as fleet:
        return preflight(
            fleet,
            fleet.names,
            operation=Operation.ROLLBACK,
            registry=client,
            judge_images=image_judge(loaded, client, today=datetime.now(UTC).date()),
        )


def test_what_a_rollback_would_do(rig: Rig) -> None:
    first = str(rig.lab.hosts["h1"].booted.image.digest)
    rig.promote("1.1")
    rig("upgrade", "--yes", "--canary", "0", "h1", "h2")
    rig.lab.break_host("h2", "staged-by-other")
    rig.revoke(first)
    with RegistryClient() as client:
        found = previews(rig, client)
    rules = {
        host: [one.rule for one in report.findings if one.rule != "uptime"]
        for host, report in found.reports.items()
    }
    assert rules == {
        "h1": ["revoked", "etc"],
        "h2": ["staged", "revoked", "etc"],
        "h3": ["no-rollback"],
    }
    assert found.notes == ()
    asked = {one.rule: one for one in found.confirmations}
    assert asked["revoked"].hosts == ("h1", "h2")
    assert "CVE-1" in asked["revoked"].message
    offline = previews(rig, None)
    assert [one.rule for one in offline.confirmations] == ["revoked", "staged"]


def test_an_upgrade_to_what_is_revoked(rig: Rig) -> None:
    rig.revoke(rig.promote("1.1"))
    answer = json.loads(rig("preflight", "--json")[0])
    assert [one["rule"] for one in answer["confirmations"]] == ["revoked"]
    assert {host["result"] for host in answer["hosts"]} == {"confirm"}
