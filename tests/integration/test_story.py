"""The design's story, once, for real: templates, podman, a registry, SSH, and a fleet that moves.

Real podman builds the shipped templates on the tests' base with real dnf, pushes to a real
docker-registry, and lab hosts behind real SSH servers pull those very digests.  Every step is the
command that a user would type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootcfleet.cli.app import run
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.lab import Lab, LabHost
from tests.shippedtemplates import FULL

pytestmark = pytest.mark.integration

IMAGES = ("soe", "web", "database", "container-host")


@dataclass
class Story:
    """A project in its directory, and the lab whose hosts run its images."""

    root: Path
    registry: str
    lab: Lab
    capsys: pytest.CaptureFixture[str]

    def command(self, *words: str, ends: int = 0) -> str:
        self.capsys.readouterr()
        code = run(list(words))
        said = self.capsys.readouterr()
        assert code == ends, f"{words}: {code}\n{said.out}\n{said.err}"
        return said.out

    def json(self, *words: str) -> Any:
        return json.loads(self.command(*words, "--json"))

    def digest(self, image: str) -> str:
        return str(RegistryClient().digest(ImageRef.parse(f"{self.registry}/{image}:1.0")))

    def booted(self) -> dict[str, str]:
        return {host["host"]: host["digest"] for host in self.lab.status()}


@pytest.fixture
def story(
    tmp_path: Path,
    real_base: str,
    docker_registry: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Story]:
    registry = f"{docker_registry}/story"
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "acme"
    with Lab(root / ".bootcfleet/lab") as lab:
        story = Story(root, registry, lab, capsys)
        story.command("init", "acme", "--registry", registry, "--base", real_base)
        monkeypatch.chdir(root)
        project = yaml.safe_load((root / "bootcfleet.yaml").read_text())
        project["images"]["soe"]["vars"] = FULL["soe"]
        (root / "bootcfleet.yaml").write_text(yaml.safe_dump(project, sort_keys=False))
        yield story


def test_from_a_template_to_a_fleet_and_back(story: Story) -> None:
    assert [row["name"] for row in story.json("image", "list")] == list(IMAGES)
    story.command("image", "build", "--push", "--jobs", "2")
    first = {image: story.digest(image) for image in IMAGES}

    # A child is FROM the exact digest of its parent, and says so.
    for image in ("web", "database", "container-host"):
        config = RegistryClient().config(ImageRef.parse(f"{story.registry}/{image}:1.0"))
        assert config.labels["org.opencontainers.image.base.digest"] == first["soe"]
        assert config.labels["containers.bootc"] == "1"

    roles = ("web", "web", "web", "database", "container-host")
    story.lab.start_hosts(
        [
            LabHost(
                f"{role}{number}",
                f"{story.registry}/{role}:1.0",
                {"role": role, "site": "ams" if number % 2 else "fra"},
                (role,),
            )
            for number, role in enumerate(roles, 1)
        ],
        image="",
        boot_seconds=0.3,
    )
    fleet = ("-i", str(story.lab.inventory_path))
    rows = story.json("fleet", "status", *fleet)
    assert {row["host"]: row["booted"]["digest"] for row in rows} == story.booted()
    assert {row["drift"] for row in rows} == {"in-sync"}
    assert story.booted()["web1"] == first["web"]

    # A changed template: rebuild, and only the web hosts are behind.
    page = story.root / "containerfiles/web/files/usr/share/www/index.html.j2"
    page.write_text("<h1>second edition</h1>\n")
    assert "second edition" in story.command("image", "render", "web", "--diff")
    story.command("image", "build", "web", "--push")
    second = story.digest("web")
    assert second != first["web"]
    rows = story.json("fleet", "status", *fleet)
    behind = [row["host"] for row in rows if row["drift"] == "behind"]
    assert behind == ["web1", "web2", "web3"]

    # The plan changes nothing; the upgrade moves web and nobody else.
    story.command("fleet", "upgrade", *fleet, "-l", "role=web", "--dry-run")
    assert story.booted()["web1"] == first["web"]
    story.command("fleet", "upgrade", *fleet, "-l", "role=web", "--yes")
    assert story.booted() == {
        "web1": second,
        "web2": second,
        "web3": second,
        "database4": first["database"],
        "container-host5": first["container-host"],
    }
    # Back again, at one site.
    story.command("fleet", "rollback", *fleet, "-l", "role=web,site=ams", "--yes")
    booted = story.booted()
    assert (booted["web1"], booted["web2"], booted["web3"]) == (first["web"], second, first["web"])
    reboots = {host["host"]: host["reboots"] for host in story.lab.status()}
    assert reboots == {"web1": 2, "web2": 1, "web3": 2, "database4": 0, "container-host5": 0}

    # A broken host halts the next rollout before it reaches the others.
    story.lab.break_host("web1", "drops-connection")
    words = ["-l", "role=web", "--yes", "--retries", "0"]
    story.command("fleet", "upgrade", *fleet, *words, ends=4)
    assert story.booted()["web3"] == first["web"]

    entries = story.json("audit", "--limit", "200")
    told = {(entry["action"], entry["subject"], entry["outcome"]) for entry in entries}
    assert ("fleet.upgrade.host", "web2", "updated") in told
    assert ("fleet.rollback.host", "web1", "updated") in told
    assert ("fleet.upgrade.host", "web1", "failed") in told
    built = [e for e in entries if e["action"] == "image.build" and e["subject"] == "soe"]
    assert any(first["soe"] in e["digests"].values() for e in built)
    assert story.json("audit", "--verify")["ok"]
