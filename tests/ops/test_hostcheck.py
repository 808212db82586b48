"""The checks of an image after a host's reboot: which, and what happens when one fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.check import Check, CheckReport, CheckResult, Mode, Outcome
from bootcfleet.domain.checkfile import CheckSource, checks_of
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.labimage import push_image
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.check import record_report
from bootcfleet.ops.lab import Lab, LabHost
from bootcfleet.ops.project import load_project

TEMPLATE = "FROM {{ base }}\n"
CHECKS = """\
version: 1
checks:
  - {file: /etc/os-release, contains: VERSION_ID, mode: "0644"}
  - {unit: sshd.service, active: true}
  - {kernels: 1}
  - {kernel_argument: root}
  - {file: /nowhere, needs: image}
"""


class Site:
    """A project, a lab whose hosts run its image, and the commands on it."""

    def __init__(self, root: Path, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.lab, self.capsys = root, lab, capsys
        self.repository = f"{lab.registry_address}/acme/web"
        self.write("bootcfleet.yaml", (
            f"version: 1\nname: acme\nregistry: {lab.registry_address}/acme\n"
            "images:\n  web: {base: 'registry.example.com/base:1'}\n"
        ))  # fmt: skip
        self.write("containerfiles/web/Containerfile.j2", TEMPLATE)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def publish(self, version: str) -> str:
        return str(
            push_image(
                self.lab.registry_address,
                "acme/web",
                "prod",
                version=version,
                files={"version": version.encode()},
                created=datetime(2026, 11, 1, tzinfo=UTC),
            )
        )

    def prove(self, digest: str, text: str) -> None:
        """Put into the ledger that `digest` was checked with the checks in `text`."""
        document = yamlfile.parse(text, "then.yaml")
        results = [
            CheckResult(check, Outcome.PASSED)
            for check in checks_of([[CheckSource("web", document, {})]])
        ]
        report = CheckReport("web", f"x@{digest}", digest, Mode.BOOTED, tuple(results), "h")
        with recorder(load_project()) as record:
            record_report(record, report)

    def fleet(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = run(["fleet", words[0], "-i", str(self.lab.inventory_path), *words[1:]])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def versions(self) -> list[str]:
        return [str(host["booted"]) for host in self.lab.status()]


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Site]:
    root = tmp_path / "acme"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        site = Site(root, lab, capsys)
        site.publish("1.0")
        image = f"{site.repository}:prod"
        hosts = [LabHost(f"h{n}", image, {}, ("web",), image_checks=True) for n in (1, 2)]
        lab.start_hosts(hosts, image=image, boot_seconds=0.1)
        inventory = lab.inventory_path.read_text()
        assert "image_checks: false" in inventory
        lab.inventory_path.write_text(inventory.replace("checks: false", "checks: true"))
        yield site


def test_hosts_get_the_checks_of_their_image(site: Site) -> None:
    site.write("containerfiles/web/checks.yaml", CHECKS)
    site.publish("1.1")
    code, out, err = site.fleet("upgrade", "--yes", "--canary", "0", "--batch", "100%")
    assert code == 0, err
    assert (
        "after the reboot: 4 checks of web (as the project has them now; this digest was never "
        "checked): h1, h2"
    ) in out.splitlines()
    assert site.versions() == ["1.1", "1.1"]


def test_a_failing_check_takes_the_host_back(site: Site) -> None:
    site.write(
        "containerfiles/web/checks.yaml",
        "version: 1\nchecks:\n"
        "  - {file: /etc/os-release, lacks: 'VERSION_ID=\"1.1\"'}\n"
        "  - {file: /etc/missing, optional: true}\n",
    )
    site.publish("1.1")
    code, out, err = site.fleet("upgrade", "--yes")
    assert code == 4, err
    assert "1.1" not in site.versions()
    failed = "check 'file /etc/os-release' failed: expected no 'VERSION_ID=\"1.1\"' in the file"
    assert f"{failed}, found it is there" in out
    assert "optional check 'file /etc/missing' failed: expected there, found not there" in out
    assert [host["reboots"] for host in site.lab.status()] == [2, 0]


def test_a_digest_that_was_checked_brings_its_own_checks(site: Site) -> None:
    digest = site.publish("1.1")
    site.prove(digest, "version: 1\nchecks: [{kernels: 1}, {unit: sshd.service, active: true}]\n")
    # The project has gone on, to what this digest never promised.
    site.write("containerfiles/web/checks.yaml", "version: 1\nchecks: [{package: new}]\n")
    code, out, err = site.fleet("upgrade", "--yes", "--canary", "0", "--batch", "100%")
    assert code == 0, err
    assert "after the reboot: 2 checks of web (as this digest was checked): h1, h2" in out
    # Back again: the old digest was never checked, and need not fulfil the checks of today.
    code, out, err = site.fleet("rollback", "--yes", "--canary", "0", "--batch", "100%")
    assert code == 0, err
    assert "after the reboot" not in out
    assert site.versions() == ["1.0", "1.0"]


def test_the_inventory_can_leave_them_out(site: Site) -> None:
    site.write("containerfiles/web/checks.yaml", "version: 1\nchecks: [{package: never}]\n")
    # Hosts of a lab cannot fulfil the checks of real images, so its inventory says so.
    inventory = site.lab.inventory_path
    inventory.write_text(inventory.read_text().replace("checks: true", "checks: false"))
    assert "image_checks: false" in inventory.read_text()
    site.publish("1.1")
    code, out, err = site.fleet("upgrade", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["image_checks"] == {}


def test_checks_that_are_wrong_stop_the_rollout_before_it_begins(site: Site) -> None:
    site.write("containerfiles/web/checks.yaml", "version: 1\nchecks: [{pakage: x}]\n")
    site.publish("1.1")
    code, _, err = site.fleet("upgrade", "--yes")
    assert code == 2
    assert "checks.yaml:2: checks[0]: says nothing to check" in err
    assert [host["reboots"] for host in site.lab.status()] == [0, 0]


def test_other_images_have_no_checks_of_the_project(site: Site) -> None:
    site.write("containerfiles/web/checks.yaml", CHECKS)
    text = (site.root / "bootcfleet.yaml").read_text()
    site.write("bootcfleet.yaml", text.replace("/acme\n", "/another\n"))
    site.publish("1.1")
    code, out, _ = site.fleet("upgrade", "--dry-run", "--json")
    assert (code, json.loads(out)["image_checks"]) == (0, {})


def test_the_repository_of_a_channel_is_the_projects_too(site: Site) -> None:
    site.write("containerfiles/web/checks.yaml", CHECKS)
    text = (site.root / "bootcfleet.yaml").read_text()
    site.write("bootcfleet.yaml", text.replace("/acme\n", "/another\n") + (
        f"channels: {{prod: {{repository: {site.lab.registry_address}/acme}}}}\n"
    ))  # fmt: skip
    site.publish("1.1")
    code, out, err = site.fleet("upgrade", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["image_checks"] == {"h1": 4, "h2": 4}


def test_kept_checks_of_another_version_are_an_error_and_no_guess() -> None:
    from bootcfleet.errors import FleetError

    body: Mapping[str, Any] = {"name": "x", "kind": "hologram", "spec": {}}
    with pytest.raises(FleetError, match="a check in the ledger cannot be read: 'hologram'"):
        Check.from_json(body)
