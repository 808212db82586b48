"""`bootcfleet disk build` and its kin as a user sees them, with a podman that plays along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.project import load_project
from tests.fakebuilder import BIB, BUILDER_DIGEST, DIGEST, IMAGE, FakeBuilder

Say = Callable[..., tuple[int, str, str]]
PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
images:
  web: {base: registry.example.com/base:1}
channels:
  prod: {}
disks:
  web-vm:
    image: web
    channel: prod
    types: [qcow2, ami]
    config:
      kernel: {append: "quiet console=ttyS0"}
      user: [{name: root, key: ssh-ed25519 AAAA me, home: /var/roothome}]
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBuilder:
    fake = FakeBuilder(tmp_path / "fake")
    monkeypatch.setenv("PATH", f"{fake.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SUDO_USER", raising=False)
    # Root, so that no sudo stands before the words; the machine is what the facts' tests are for.
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("bootcfleet.drivers.diskfacts._SELINUX", tmp_path / "none")
    monkeypatch.setattr("bootcfleet.drivers.diskfacts._LOOP", tmp_path)
    root = tmp_path / "project"
    root.mkdir()
    (root / "bootcfleet.yaml").write_text(PROJECT)
    monkeypatch.chdir(root)
    return fake


@pytest.fixture
def say(fake: FakeBuilder, capsys: pytest.CaptureFixture[str]) -> Say:
    def go(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["disk", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def events(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_disk_of_the_project(say: Say, fake: FakeBuilder) -> None:
    code, out, err = say("build", "web-vm")
    assert (code, err) == (0, "")
    root = Path.cwd()
    folder = root / "disks/web-vm"
    body = json.loads((folder / "artifacts.json").read_text())
    assert [(one["type"], one["path"], one["size"]) for one in body["artifacts"]] == [
        ("ami", "image/disk.raw", 42),
        ("qcow2", "qcow2/disk.qcow2", 42),
    ]
    assert (body["image"], body["image_digest"]) == (IMAGE, DIGEST)
    assert (body["builder"], body["builder_digest"]) == (BIB, BUILDER_DIGEST)
    assert body["config_hash"].startswith("sha256:")
    assert (folder / "qcow2/disk.qcow2").read_text() == f"disk of {IMAGE}"
    # Nothing of the work is left.
    assert sorted(path.name for path in folder.iterdir()) == ["artifacts.json", "image", "qcow2"]
    assert "web-vm: [1/2] build\nweb-vm: [2/2] image\n" in out
    assert "org.osbuild.mkfs.xfs" in Path(body["log"]).read_text()
    entry = open_ledger(load_project()).entries(action="disk.build")[-1]
    assert (entry.subject, entry.outcome) == ("web-vm", "built")
    assert entry.digests == {"image": DIGEST, "builder": BUILDER_DIGEST}
    (build,) = fake.builds
    assert build[build.index("--volume") + 1].endswith("/config.toml:/config.toml:ro")
    assert build[-1] == IMAGE

    code, out, _ = say("list")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["web-vm", "ami", "42"],
        ["web-vm", "qcow2", "42"],
    ]
    assert say("verify", "disks/web-vm")[:2] == (
        0, f"{folder}/image/disk.raw: ok\n{folder}/qcow2/disk.qcow2: ok\n",
    )  # fmt: skip
    (folder / "qcow2/disk.qcow2").write_text(f"disk 0f {IMAGE}")
    (folder / "image/disk.raw").unlink()
    code, out, err = say("verify", "disks/web-vm/qcow2/disk.qcow2")
    assert code == 3
    assert f"{folder}/image/disk.raw: it is gone\n" in out
    assert f"{folder}/qcow2/disk.qcow2: its sha256 is " in out
    assert err == (
        "error: 2 of 2 files are not what was built\n"
        "hint: build them again: bootcfleet disk build\n"
    )
    states = [one["state"] for one in json.loads(say("list", "--json")[1])]
    assert states == ["gone", "there"]


def test_a_dry_run_changes_nothing_and_says_the_words(say: Say, fake: FakeBuilder) -> None:
    code, out, _ = say("build", "web-vm", "--type", "raw", "--rootfs", "ext4", "--dry-run")
    assert code == 0
    assert not fake.builds
    assert not (Path.cwd() / "disks").exists()
    last = out.splitlines()[-1]
    assert last.startswith("podman run --rm --name bootcfleet-disk-")
    assert last.endswith(f"{BIB} build --type raw --rootfs ext4 --progress debug {IMAGE}")
    assert out.startswith(f"warning: {BIB} is not pinned: another day may bring another builder (")
    assert "\nspace: at most 10.0 GiB in " in out
    body = json.loads(say("build", "web-vm", "--dry-run", "--json")[1])
    assert body["steps"][0]["argv"][:2] == ["podman", "run"]
    assert body["space"]["store"] == 10 * 1024**3 + 15000


def test_what_is_in_the_way_is_said_at_once(say: Say, fake: FakeBuilder) -> None:
    fake.control(images={}, driver="vfs")
    code, _, err = say("build", "web-vm", "--type", "anaconda-iso", "--aws-bucket", "b")
    assert code == 3
    # What lint finds in the configuration stands beside.
    err = "".join(one for one in err.splitlines(keepends=True) if "config DSK" not in one)
    assert err == (
        "error: web-vm was not built: 5 things are in the way\n"
        "  storage-driver: root's container storage uses vfs; builders read only overlay\n"
        f"  image: {IMAGE} is not in root's storage; builders pull nothing\n"
        "  aws: an upload to AWS needs --aws-ami-name, --aws-bucket and --aws-region: all or none\n"
        "  wipe: whoever boots this installer loses all disks of the machine, without a question: "
        "without a kickstart the ISO wipes every disk of the machine, unasked\n"
        'hint: first: set driver = "overlay" in /etc/containers/storage.conf, then: '
        "podman system reset\n"
    )
    assert not fake.builds
    # A refusal is no build.
    assert open_ledger(load_project()).entries(action="disk.build") == []


def test_what_lint_finds_stops_too(say: Say, fake: FakeBuilder, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[[customizations.usr]]\nname = "x"\n')
    code, _, err = say("build", "web-vm", "--config", str(tmp_path / "config.toml"))
    assert code == 3
    assert f"{tmp_path}/config.toml:1: " in err
    assert not fake.builds


def test_the_builder_is_asked_once_for_its_options(say: Say, fake: FakeBuilder) -> None:
    def probes() -> int:
        return sum(one[-2:] == ["build", "--help"] for one in fake.calls)

    assert say("build", "web-vm")[0] == 0
    assert probes() == 1
    assert json.loads((Path.cwd() / ".bootcfleet/builders.json").read_text()) == {
        BUILDER_DIGEST: ["--progress", "--type", "--verbose"]
    }
    assert say("build", "web-vm")[0] == 0
    assert probes() == 1


def test_the_lock_pins_the_builder(say: Say, fake: FakeBuilder) -> None:
    pinned = f"{BIB.rpartition(':')[0]}@{BUILDER_DIGEST}"
    (Path.cwd() / "bootcfleet.lock").write_text(
        f'version: 1\nbases:\n  "{BIB}":\n    digest: "{BUILDER_DIGEST}"\n'
        '    locked: "2026-11-21T09:00:00Z"\n'
        f'    platforms: {{linux/amd64: "{BUILDER_DIGEST}"}}\n'
    )
    fake.control(images={IMAGE: {}, pinned: {"RepoDigests": [pinned]}})
    code, out, err = say("build", "web-vm")
    assert (code, err) == (0, "")
    assert pinned in fake.builds[0]
    assert "not pinned" not in out


def test_failures_have_a_cause_and_leave_nothing(say: Say, fake: FakeBuilder) -> None:
    assert say("build", "web-vm")[0] == 0
    before = (Path.cwd() / "disks/web-vm/artifacts.json").read_bytes()
    line = "2026/11/21 09:00:00 error: cp: error writing: No space left on device"
    fake.control(say=[line], exit=1)
    code, out, err = say("build", "web-vm", "--json")
    assert code == 1
    error = json.loads(err)["error"]
    assert error["message"] == (
        "bootc-image-builder makes ami, qcow2: failed: there is not enough space in the builder's "
        "store, the output, or the disk itself"
    )
    assert error["hint"].startswith("free space (podman image prune")
    assert line in error["details"]
    assert error["details"][-1] == "known: IB#2534, BIB#1179"
    assert events(out)[-1]["data"]["cause"] == "no-space"  # type: ignore[index]
    folder = Path.cwd() / "disks/web-vm"
    assert sorted(path.name for path in folder.iterdir()) == ["artifacts.json", "image", "qcow2"]
    assert (folder / "artifacts.json").read_bytes() == before
    entry = open_ledger(load_project()).entries(action="disk.build")[-1]
    assert (entry.outcome, entry.details["cause"]) == ("failed", "no-space")


def test_a_builder_that_ends_well_without_a_file(say: Say, fake: FakeBuilder) -> None:
    fake.control(lacks=["qcow2"])
    code, _, err = say("build", "web-vm")
    assert code == 1
    assert err.startswith(
        "error: the builder ended well, and qcow2 is not where it should be "
        "(run-1/qcow2/disk.qcow2)\n  it made run-1/image/disk.raw\n"
    )
    assert not list((Path.cwd() / "disks/web-vm").iterdir())


def test_questions_are_asked(say: Say, fake: FakeBuilder) -> None:
    fake.control(images={"localhost/web:1": {}, BIB: {}})
    code, _, err = say("build", "localhost/web:1")
    assert code == 2
    assert err == (
        "error: this changes the disk that is made and nobody is there to confirm it\n"
        "hint: look at the plan with --dry-run, then run it again with --yes\n"
    )
    assert not fake.builds
    code, _, err = say("build", "localhost/web:1", "--yes", "-o", "out")
    assert (code, err) == (0, "")
    assert (Path.cwd() / "out/qcow2/disk.qcow2").is_file()


def test_an_upload_gives_the_ami(say: Say, fake: FakeBuilder, tmp_path: Path) -> None:
    env = tmp_path / "aws.env"
    env.write_text("AWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=geheim\n")
    env.chmod(0o600)
    words = ["build", "web-vm", "--type", "raw", "--type", "ami", "--env-file", str(env)]
    words += ["--aws-ami-name", "web", "--aws-bucket", "disks", "--aws-region", "eu-central-1"]
    fake.control(aws={"s3api head-bucket": "An error occurred (404): Not Found"})
    code, _, err = say(*words, "--yes")
    assert code == 3
    assert "aws-bucket: the bucket disks cannot be used: An error occurred (404): Not Found" in err

    fake.control(say=["AMI registered: ami-0123456789abcdef0"])
    code, out, err = say(*words, "--yes")
    assert (code, err) == (0, "")
    assert out.endswith("uploaded as ami-0123456789abcdef0\n")
    body = json.loads((Path.cwd() / "disks/web-vm/artifacts.json").read_text())
    assert body["ami"] == "ami-0123456789abcdef0"
    assert [one.get("uploaded") for one in body["artifacts"]] == [body["ami"], None]
    assert "geheim" not in json.dumps(fake.calls) + out + Path(body["log"]).read_text()


def test_pull(say: Say, fake: FakeBuilder) -> None:
    fake.control(images={})
    code, _, err = say("build", "web-vm", "--pull")
    assert (code, err) == (0, "")
    pulled = [one[2:] for one in fake.calls if one[:2] == ["podman", "pull"]]
    assert pulled == [["--platform", "linux/amd64", IMAGE], [BIB]]


def test_the_other_backends(say: Say, fake: FakeBuilder) -> None:
    words = ("build", "web-vm", "--type", "vmdk", "--type", "qcow2", "--backend")
    code, _, err = say(*words, "image-builder")
    assert (code, err) == (0, "")
    body = json.loads((Path.cwd() / "disks/web-vm/artifacts.json").read_text())
    assert [one["path"] for one in body["artifacts"]] == ["vmdk/disk.vmdk", "qcow2/disk.qcow2"]
    fake.forget()
    own = Path("own.toml")
    own.write_text(
        '[customizations]\nkernel.append = "quiet console=ttyS0"\n'
        '[[customizations.user]]\nname = "root"\nkey = "ssh-ed25519 AAAA me"\n'
    )
    code, _, err = say(*words, "bootc-install", "--config", str(own))
    assert (code, err) == (0, "")
    assert (Path.cwd() / "disks/web-vm/vmdk/disk.vmdk").read_text() == "converted by vmdk"
    install = fake.builds[0]
    assert install[install.index("--karg") :][:4] == ["--karg", "quiet", "--karg", "console=ttyS0"]
    assert "--root-ssh-authorized-keys" in install
    body = json.loads((Path.cwd() / "disks/web-vm/artifacts.json").read_text())
    assert "builder" not in body


def test_json_is_a_stream_of_events(say: Say) -> None:
    code, out, err = say("build", "web-vm", "--json")
    assert (code, err) == (0, "")
    found = events(out)
    kinds = [one["kind"] for one in found]
    assert kinds[0] == "disk.build.planned"
    assert kinds[-1] == "disk.build.finished"
    progress = [one["data"] for one in found if one["kind"] == "disk.build.progress"]
    assert progress[-1] == {
        "step": 1, "steps": 1, "pipeline": "image", "stage": "org.osbuild.mkfs.xfs",
        "done": 2, "total": 2, "stage_done": 2, "stage_total": 2, "fraction": 1.0,
    }  # fmt: skip


def test_backends(say: Say, fake: FakeBuilder) -> None:
    code, out, _ = say("backends", "--json")
    assert code == 0
    found = {one["backend"]: one for one in json.loads(out)}
    assert all(one["usable"] for one in found.values())
    fake.control(driver="vfs")
    _, out, _ = say("backends")
    assert "bootc-install        no " in out
    assert (
        "bootc-install: root's container storage uses vfs; builders read only overlay (set "
        'driver = "overlay" in /etc/containers/storage.conf, then: podman system reset)\n'
    ) in out


def test_a_colon_and_an_unknown_type(say: Say) -> None:
    assert say("build", "web-vm", "-o", "a:b")[2].startswith(f"error: {Path.cwd()}/a:b has a colon")
    assert say("build", "web-vm", "-t", "qcow")[::2] == (
        2, "error: there is no disk type 'qcow'\nhint: did you mean 'qcow2'?\n",
    )  # fmt: skip
    code, _, err = say("verify", ".")
    assert (code, err) == (
        2, f"error: there is no artifacts.json at {Path.cwd()}\n"
        "hint: name the folder that disk build has written; bootcfleet disk list shows them\n",
    )  # fmt: skip


@pytest.mark.skipif(os.getuid() != 0, reason="the fake podman is found by root's PATH alone")
def test_interrupt(fake: FakeBuilder) -> None:
    """^C ends the builder, leaves no half file, and is written down."""
    fake.control(hang=True)
    leftover = Path.cwd() / "disks/web-vm/.building-999999999-x"
    leftover.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", "disk", "build", "web-vm"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (fake.folder / "hangs").exists() or not (fake.folder / "hangs").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith(
        "error: interrupted: no disk was built; what was there before is as it was\n"
    )
    assert not Path(f"/proc/{(fake.folder / 'hangs').read_text()}").exists()
    assert any(one[:3] == ["podman", "rm", "--force"] for one in fake.calls)
    assert list((Path.cwd() / "disks/web-vm").iterdir()) == []
    assert open_ledger(load_project()).entries(action="disk.build")[-1].outcome == "cancelled"
