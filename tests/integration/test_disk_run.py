"""A real disk is booted by `disk run`, reached over SSH, checked, and powered off."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from tests.integration.bootable import make_bootable_disk, require_tools, unpack_debian_root
from tests.tools import need

PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
images:
  web:
    base: registry.example.com/base@sha256:%s
    template: plain
    checks:
      - {file: /etc/hostname, owner: root}
      - {unit: ssh.service, enabled: true, active: true}
      - {command: [cat, /etc/hostname], equals: bootable}
""" % ("0" * 64)


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_disk_boots_and_its_checks_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_tools()
    need("qemu-system-x86_64")
    raw = make_bootable_disk(unpack_debian_root(tmp_path / "root"), tmp_path / "disk.raw")
    disk = tmp_path / "disk.qcow2"
    words = [need("qemu-img"), "convert", "-O", "qcow2", str(raw), str(disk)]
    subprocess.run(words, check=True)
    raw.unlink()
    before = disk.read_bytes()
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    template = tmp_path / "containerfiles/plain"
    template.mkdir(parents=True)
    (template / "Containerfile.j2").write_text("FROM {{ base }}\n")
    monkeypatch.chdir(tmp_path)

    # The disk has no key of anybody: root's comes through the firmware.
    asked = ["disk", "run", "disk.qcow2", "--checks", "web", "--ssh-key", "--memory", "1G"]
    code = run([*asked, "--uefi", "--serial", "console.log", "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err + out
    body = json.loads(out)
    assert body["ok"]
    assert [one["outcome"] for one in body["report"]["checks"]] == ["passed"] * 4
    assert body["report"]["mode"] == "host"
    assert body["system_state"] in ("running", "degraded")
    # The system has gone down by itself, and its last words are on the console.
    assert body["stopped"] == "powerdown"
    assert "Power down" in Path("console.log").read_text(errors="replace")
    assert disk.read_bytes() == before
