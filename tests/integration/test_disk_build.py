"""`disk build` with real podman and a stand-in for bootc-image-builder that makes real disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.diskobserved import Consent
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.ops.disk import DiskBuildError, DiskTools, plan_disk, run_disk
from tests.integration.bootable import debian_root, require_tools
from tests.standins.bib import make_builder
from tests.tools import need

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

#: Never asked for: the image is in podman's storage under this name.
IMAGE = "registry.invalid/acme/bootable:prod"
PLAIN = "registry.invalid/acme/plain:1"
PROJECT = f"""\
version: 1
name: acme
registry: registry.invalid/acme
images:
  web:
    base: registry.invalid/base@sha256:{"0" * 64}
    template: plain
    checks:
      - {{file: /etc/hostname, owner: root}}
      - {{unit: ssh.service, active: true}}
      - {{kernel_argument: standin.word=1}}
"""


@pytest.fixture(scope="module")
def builder(containers_conf: Path) -> str:
    """The stand-in, and two images: one that boots, and one that is none for bootc."""
    require_tools()
    need("qemu-img")
    built = make_builder()
    words = ["podman", "import", "--quiet", "--change", "LABEL containers.bootc=1"]
    subprocess.run([*words, str(debian_root()), IMAGE], check=True, capture_output=True)
    empty = containers_conf / "empty.tar"
    subprocess.run(["tar", "-cf", str(empty), "-T", "/dev/null"], check=True)
    subprocess.run(["podman", "import", "--quiet", str(empty), PLAIN], check=True)
    return built


def test_a_disk_that_boots(
    builder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "config.toml").write_text(
        '[customizations]\nkernel.append = "console=ttyS0 standin.word=1"\n'
    )
    words = ["disk", "build", IMAGE, "--type", "qcow2", "--type", "raw", "--rootfs", "ext4"]
    words += ["--builder", builder, "--config", "config.toml", "--output", "out", "--yes", "--json"]
    code = run(words)
    out, err = capsys.readouterr()
    assert (code, err) == (0, ""), out
    events = [json.loads(line) for line in out.splitlines()]
    stages = [one["data"]["stage"] for one in events if one["kind"] == "disk.build.progress"]
    assert "org.osbuild.mkfs.ext4" in stages
    assert events[-1]["data"]["builder_digest"].startswith("sha256:")
    flags = json.loads((tmp_path / "state/bootcfleet/builders.json").read_text())
    assert "--installer-payload-ref" in next(iter(flags.values()))
    info = subprocess.run(
        ["qemu-img", "info", "--output=json", "out/qcow2/disk.qcow2"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert json.loads(info.stdout)["format"] == "qcow2"
    assert run(["disk", "verify", "out"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "artifacts.json", "image", "qcow2",
    ]  # fmt: skip
    listed = subprocess.run(["podman", "ps", "-aq"], check=True, capture_output=True)
    assert listed.stdout == b""

    # And it is a machine: it boots under qemu, lets root in, and passes the image's checks.
    need("qemu-system-x86_64")
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    (tmp_path / "containerfiles/plain").mkdir(parents=True)
    (tmp_path / "containerfiles/plain/Containerfile.j2").write_text("FROM {{ base }}\n")
    capsys.readouterr()
    words = ["disk", "run", "out/qcow2/disk.qcow2", "--checks", "web", "--ssh-key"]
    code = run([*words, "--accel", "tcg", "--memory", "1G", "--serial", "console.log", "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err + out
    body = json.loads(out)
    assert [one["outcome"] for one in body["report"]["checks"]] == ["passed"] * 3
    assert "standin.word=1" in Path("console.log").read_text(errors="replace")


def test_interrupt_ends_the_container(builder: str, tmp_path: Path) -> None:
    words = ["disk", "build", IMAGE, "--rootfs", "ext4", "--builder", builder]
    process = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", *words, "--output", "out", "--yes", "--json"],
        cwd=tmp_path, env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    # The builder is at work: it has said so.
    assert any('"disk.build.progress"' in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert json.loads(err)["error"]["message"] == (
        "interrupted: no disk was built; what was there before is as it was"
    )
    assert list((tmp_path / "out").iterdir()) == []
    listed = subprocess.run(["podman", "ps", "-aq"], check=True, capture_output=True)
    assert listed.stdout == b""


@pytest.mark.parametrize(
    ("change", "cause", "said"),
    [
        ({"image": "registry.invalid/none:1"}, "no-image", "bootc-image-builder no longer pulls"),
        ({"image": PLAIN}, "not-bootc", f"error: image {PLAIN} is not a bootc image"),
        ({"config": "[customizations]\nusr = 1\n"}, "config", "unknown keys found: "
         "[customizations.usr]"),
        ({"config": "{"}, "config", 'cannot decode "/config.toml"'),
    ],
)  # fmt: skip
def test_what_the_builder_itself_refuses(
    builder: str, tmp_path: Path, change: dict[str, str], cause: str, said: str
) -> None:
    """Without the preflight: the builder's own words lead to the known cause."""
    asked = {"image": IMAGE, "config": None, **change}
    request = DiskRequest(
        "web", str(asked["image"]), (DiskType.QCOW2,), Backend.BOOTC_IMAGE_BUILDER, builder,
        "linux/amd64", rootfs="ext4", config=asked["config"],
    )  # fmt: skip
    executor = LocalExecutor()
    plan = plan_disk(request, executor, tmp_path, tmp_path / "out", Consent())
    outcomes: list[str] = []

    def record(_action: str, _subject: str, outcome: str, **_more: object) -> None:
        outcomes.append(outcome)

    tools = DiskTools(executor, tmp_path, record, lambda: datetime.now(UTC))
    with pytest.raises(DiskBuildError) as caught:
        run_disk(plan, tools, lambda event: None)
    assert caught.value.cause == cause
    assert any(said in line for line in caught.value.details), caught.value.details
    assert outcomes == ["failed"]
    assert list((tmp_path / "out").iterdir()) == []
