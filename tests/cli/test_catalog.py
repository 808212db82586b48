"""`bootcfleet catalog` over a project with a ledger, a channel, and lab hosts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.buildfiles import BuildFiles
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.lab import Lab, LabHost
from bootcfleet.ops.project import load_project

PROJECT = """\
version: 1
name: acme
registry: {registry}/acme
images:
  soe: {{base: "registry.example.com/base:1", description: The base of all}}
  web: {{from: soe, end_of_life: 2030-01-01}}
channels: {{dev: {{}}}}
"""


@pytest.fixture
def digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """A web image in a lab's registry, promoted to dev, with evidence; a lab host runs it."""
    monkeypatch.chdir(tmp_path)
    with Lab(tmp_path / ".bootcfleet/lab") as lab:
        lab.start_registry()
        Path("bootcfleet.yaml").write_text(PROJECT.format(registry=lab.registry_address))
        ref = ImageRef.parse(f"{lab.registry_address}/acme/web:1.0")
        with RegistryClient() as client:
            made = push_image(
                client,
                f"{ref.registry}/{ref.repository}",
                "1.0",
                version="1.0",
                files={"etc/motd": b"hello"},
                created=datetime(2026, 11, 21, 10, tzinfo=UTC),
            )
            digest = str(made)
        loaded = load_project()
        built = LastBuild(
            "f" * 64, f"{ref.name}@{digest}", "x", "2026-11-21T10:00:00+00:00", digest=digest
        )
        BuildFiles(tmp_path / ".bootcfleet").remember("web", built)
        ledger = open_ledger(loaded)
        now = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
        for action, outcome in (("image.build", "built"), ("image.push", "pushed"),
                                ("image.check", "failed")):  # fmt: skip
            ledger.record(action, "web", outcome, actor="me", now=now, digests={"image": digest})
        ledger.close()
        assert run(["channel", "promote", "web", digest, "dev", "--yes"]) == 0
        lab.start_hosts([LabHost("web1", f"{ref}", {})], image="", boot_seconds=0.1)
        capsys.readouterr()
        code = run(["catalog", "-i", str(lab.inventory_path), "--json", "-o", "images.md"])
        said = capsys.readouterr()
        assert code == 0, said
        Path("said.json").write_text(said.out)
    return digest


def test_what_is_known_is_in_it(digest: str) -> None:
    body = json.loads(Path("said.json").read_text())
    soe, web = body["images"]
    assert (soe["description"], soe["digest"], soe["packages"]) == ("The base of all", None, None)
    assert (web["parent"], web["digest"], web["end_of_life"]) == ("soe", digest, "2030-01-01")
    assert web["evidence"] == {"check": "failed at 2026-11-21T10:05:00Z"}
    assert web["channels"]["dev"]["digest"] == digest
    assert web["hosts"] == [{"host": "web1", "slot": "booted", "digest": digest}]
    assert body["notes"] == []
    text = Path("images.md").read_text()
    assert f"| web1 | booted | {digest} |" in text
    assert "[soe](#soe)" in text


def test_without_hosts_and_images(digest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "--no-hosts", "--no-packages", "-f", "html", "-o", "page.html"]) == 0
    assert capsys.readouterr().out == "wrote page.html: 2 images\n"
    text = Path("page.html").read_text()
    assert "hosts were not asked: --no-hosts" in text
    assert digest in text
