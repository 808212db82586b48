"""`bootcfleet image build` with real podman and a real registry, on a base of one file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.labels import image_index, label_instruction
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.plan import this_platform
from tests.tools import need

pytestmark = pytest.mark.integration

TYPES = "application/vnd.oci.image.manifest.v1+json"


class Site:
    """A project whose images are pushed to the registry of this session."""

    def __init__(self, root: Path, registry: str) -> None:
        self.root, self.registry = root, registry

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def digest(self, name: str, reference: str) -> str:
        """What the registry says that a tag is."""
        request = urllib.request.Request(
            f"http://{self.registry}/v2/{name}/manifests/{reference}", headers={"Accept": TYPES}
        )
        with urllib.request.urlopen(request) as answer:
            return str(answer.headers["Docker-Content-Digest"])

    def config(self, name: str, reference: str) -> dict[str, Any]:
        """The configuration of an image in the registry."""
        where = f"http://{self.registry}/v2/{name}"
        request = urllib.request.Request(
            f"{where}/manifests/{reference}", headers={"Accept": TYPES}
        )
        with urllib.request.urlopen(request) as answer:
            digest = json.load(answer)["config"]["digest"]
        with urllib.request.urlopen(f"{where}/blobs/{digest}") as answer:
            body = json.load(answer)
        assert isinstance(body, dict)
        return body


def podman(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def site(
    containers_conf: Path,
    docker_registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    # One file and a label are base enough, but where a command runs in it.
    context = tmp_path / "base"
    context.mkdir()
    (context / "hello").write_text("base\n")
    (context / "Containerfile").write_text("FROM scratch\nCOPY hello /hello\nLABEL stage=base\n")
    where = f"{docker_registry}/test-build/base:1"
    podman("build", "--tag", where, str(context))
    podman("push", where)
    podman("rmi", "--force", where)
    site = Site(tmp_path / "acme", docker_registry)
    site.write(
        "bootcfleet.yaml",
        f"version: 1\nname: acme\nregistry: {docker_registry}/{tmp_path.name.lower()}\n"
        'image_version: "1.0"\n'
        "images:\n"
        f"  soe: {{base: '{where}', template: plain}}\n"
        "  web: {from: soe, template: plain}\n"
        "  database: {from: soe, template: plain}\n",
    )
    site.write(
        "containerfiles/plain/Containerfile.j2",
        "FROM {{ base }}\nCOPY files/ /\nLABEL name={{ image.name }} base={{ base }}\n",
    )
    site.write("containerfiles/plain/files/etc/{name}.j2", "{{ image.name }}\n")
    site.write("containerfiles/plain/files/etc/names/fixed", "1\n")
    monkeypatch.chdir(site.root)
    yield site
    for entry in last().values():
        subprocess.run(["podman", "rmi", "--force", *entry["tags"]], capture_output=True)


def last() -> dict[str, dict[str, Any]]:
    """What builds.json remembers."""
    path = Path(".bootcfleet/builds.json")
    found = json.loads(path.read_text())["images"] if path.exists() else {}
    assert isinstance(found, dict)
    return found


def test_build_push_and_build_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    repository = Path(site.root).parent.name.lower()
    assert run(["image", "build", "--push", "--jobs", "2"]) == 0, capsys.readouterr()
    built = last()
    assert set(built) == {"soe", "web", "database"}

    # Every tag in the registry is the digest that was recorded.
    for name, entry in built.items():
        tags = [tag.rpartition(":")[2] for tag in entry["tags"]]
        assert tags[0] == "1.0"
        assert {site.digest(f"{repository}/{name}", tag) for tag in tags} == {entry["digest"]}

    # A child stands on the very digest of its parent: by reference and by layers.
    soe = site.config(f"{repository}/soe", built["soe"]["digest"])
    for name in ("web", "database"):
        child = site.config(f"{repository}/{name}", built[name]["digest"])
        expected = f"{site.registry}/{repository}/soe@{built['soe']['digest']}"
        assert child["config"]["Labels"]["base"] == expected == built[name]["base"]
        layers = soe["rootfs"]["diff_ids"]
        assert child["rootfs"]["diff_ids"][: len(layers)] == layers
        assert len(child["rootfs"]["diff_ids"]) == len(layers) + 1
    base = site.digest("test-build/base", "1")
    assert built["soe"]["base"] == f"{site.registry}/test-build/base@{base}"

    # The build id is a label, and a tag that any machine finds it by: nothing is built again,
    # whether it was built here or elsewhere.
    for forget in (False, True):
        if forget:
            Path(".bootcfleet/builds.json").unlink()
        capsys.readouterr()
        assert run(["image", "build", "--push", "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        kinds = [json.loads(line)["kind"] for line in lines if line[:1] == "{"]
        assert kinds.count("image.build.unchanged") == 3
        assert "image.build.started" not in kinds
        assert {name: entry["digest"] for name, entry in last().items()} == {
            name: entry["digest"] for name, entry in built.items()
        }
    plain = Path("bootcfleet.yaml").read_text()

    # A change in one image's file changes that image and nothing beside it.
    site.write(
        "bootcfleet.yaml",
        Path("bootcfleet.yaml")
        .read_text()
        .replace("web: {from: soe, template: plain}", "web: {from: soe, template: other}"),
    )
    site.write(
        "containerfiles/other/Containerfile.j2",
        "FROM {{ base }}\nCOPY files/ /\nLABEL name={{ image.name }} base={{ base }}\n",
    )
    site.write("containerfiles/other/files/etc/web", "changed\n")
    assert run(["image", "build", "web", "--push"]) == 0
    after = last()
    assert after["soe"]["digest"] == built["soe"]["digest"]
    assert after["web"]["digest"] != built["web"]["digest"]
    assert site.digest(f"{repository}/web", "1.0") == after["web"]["digest"]

    # And back: the image of before is in the registry by its id; only the tags move.
    site.write("bootcfleet.yaml", plain)
    capsys.readouterr()
    assert run(["image", "build", "web", "--push"]) == 0
    assert "web: in the registry already, built " in capsys.readouterr().out
    assert site.digest(f"{repository}/web", "1.0") == built["web"]["digest"]


def test_what_is_mounted_reaches_the_image(site: Site, tmp_path: Path) -> None:
    """podman's cache does not look at bind mounts (buildah#5400); the ARG before the RUN does."""
    busybox = Path(need("busybox"))
    target = Path("containerfiles/plain/files/bin/sh")
    target.parent.mkdir(parents=True)
    shutil.copy(busybox, target)
    site.write(
        "containerfiles/plain/Containerfile.j2",
        "FROM {{ base }}\nCOPY files/bin/ /bin/\n"
        "RUN --mount=type=bind,source=files/mounted,target=/m cat /m > /said\n",
    )
    for text in ("one", "two"):
        site.write("containerfiles/plain/files/mounted", text)
        assert run(["image", "build", "soe"]) == 0
        image = last()["soe"]["image_id"]
        assert podman("run", "--rm", image, "sh", "-c", "cat /said") == text


def test_two_platforms_are_an_index(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    other = "linux/s390x" if this_platform() != "linux/s390x" else "linux/amd64"
    text = Path("bootcfleet.yaml").read_text()
    where = f"{site.registry}/test-build/two:1"
    for platform in (this_platform(), other):
        tag = f"{where}-{platform.rpartition('/')[2]}"
        podman("build", "--no-cache", "--platform", platform, "--tag", tag, str(tmp_base(site)))
        podman("push", tag)
    client = RegistryClient()
    parts = {
        one: client.manifest(ImageRef.parse(f"{where}-{one.rpartition('/')[2]}"))
        for one in (this_platform(), other)
    }
    client.put_manifest(ImageRef.parse(where), image_index(parts, {}))
    text = text.replace("images:\n", f"platforms: [{this_platform()}, {other}]\nimages:\n")
    site.write("bootcfleet.yaml", text.replace("test-build/base:1", "test-build/two:1"))
    assert run(["image", "build", "web", "--push"]) == 0, capsys.readouterr()
    repository = Path(site.root).parent.name.lower()
    built = last()
    for name in ("soe", "web"):
        ref = ImageRef.parse(f"{site.registry}/{repository}/{name}:1.0")
        found = client.resolve(ref)
        assert str(found.digest) == built[name]["digest"]
        assert {str(one) for one in found.platforms} == {this_platform(), other}
        for platform, digest in found.platforms.items():
            config = client.config(ref.with_digest(digest))
            assert config.platform == platform
            assert config.labels["io.bootcfleet.image"] == name
    # Each platform's child stands on that platform's parent; the label names the index.
    web = client.resolve(ImageRef.parse(f"{site.registry}/{repository}/web:1.0"))
    soe = client.resolve(ImageRef.parse(f"{site.registry}/{repository}/soe:1.0"))
    for platform, digest in web.platforms.items():
        child = client.manifest(web.ref.with_digest(digest))
        parent = client.manifest(soe.ref.with_digest(soe.platforms[platform]))
        assert child.layers[: len(parent.layers)] == parent.layers
        labels = client.config(web.ref.with_digest(digest)).labels
        assert labels["org.opencontainers.image.base.digest"] == str(soe.digest)
    # Nothing changed: the index is found by its build id, too.
    Path(".bootcfleet/builds.json").unlink()
    capsys.readouterr()
    assert run(["image", "plan", "web", "--push", "--detailed-exitcode"]) == 0
    assert "nothing to build" in capsys.readouterr().out
    # What has to run something on another platform is refused before anything starts.
    site.write("containerfiles/plain/Containerfile.j2", "FROM {{ base }}\nRUN true\n")
    if not Path("/proc/sys/fs/binfmt_misc/qemu-s390x").exists():
        assert run(["image", "build", "web", "--push"]) == 5
        assert f"error: {other} cannot be built here: no qemu-" in capsys.readouterr().err


def tmp_base(site: Site) -> Path:
    """The context of the base of one file."""
    return site.root.parent / "base"


def test_a_fixed_time_gives_the_same_image_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert run(["image", "build", "soe"]) == 0
    said = capsys.readouterr().out
    assert "reproducible build as of 2023-11-14T22:13:20Z: podman " in said
    first = last()["soe"]["image_id"]
    Path(".bootcfleet/builds.json").unlink()
    time.sleep(1.1)
    assert run(["image", "build", "soe"]) == 0
    assert last()["soe"]["image_id"] == first
    created = json.loads(podman("image", "inspect", first))[0]["Created"]
    assert created.startswith("2023-11-14T22:13:20")


def test_local_builds_stand_on_image_ids(site: Site) -> None:
    assert run(["image", "build"]) == 0
    built = last()
    assert built["web"]["base"] == built["soe"]["image_id"]
    assert built["web"]["digest"] is None
    inspected = json.loads(podman("image", "inspect", built["web"]["image_id"]))[0]
    assert inspected["Labels"]["name"] == "web"
    assert set(built["web"]["tags"]) <= set(inspected["RepoTags"])


def test_a_failing_image_leaves_the_others(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("bootcfleet.yaml").read_text()
    site.write("bootcfleet.yaml", text.replace("web: {from: soe, template: plain}",
                                               "web: {from: soe, template: broken}"))  # fmt: skip
    site.write("containerfiles/broken/Containerfile.j2", "FROM {{ base }}\nCOPY nothing /\n")
    assert run(["image", "build"]) == 1
    assert set(last()) == {"soe", "database"}
    error = capsys.readouterr().err
    assert "error: 1 of 3 images failed: web" in error
    assert "nothing" in error


def test_secrets_are_mounted_and_in_no_layer(
    site: Site, real_base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_TOKEN", "hunter2")
    site.write("keys/key.pem", "hunter3\n")
    site.write(
        "bootcfleet.yaml",
        f"version: 1\nname: acme\nregistry: {site.registry}/secrets\nimages:\n"
        f"  sealed:\n    base: {real_base}\n"
        "    secrets: [{id: token, env: BUILD_TOKEN}, {id: key, file: keys/key.pem}]\n",
    )
    site.write(
        "containerfiles/sealed/Containerfile.j2",
        "FROM {{ base }}\n"
        "RUN --mount=type=secret,id=token,required=true --mount=type=secret,id=key,required=true "
        "cat /run/secrets/token /run/secrets/key | tr -d '\\n' | sha256sum > /usr/share/seen\n",
    )
    assert run(["image", "build"]) == 0
    image_id = last()["sealed"]["image_id"]
    root = Path(podman("image", "mount", image_id))
    try:
        expected = hashlib.sha256(b"hunter2hunter3").hexdigest()
        assert (root / "usr/share/seen").read_text().split()[0] == expected
        assert not (root / "run/secrets/token").exists()
        assert not (root / "run/secrets/key").exists()
    finally:
        podman("image", "unmount", image_id)
    assert "hunter" not in podman("image", "inspect", image_id)
    assert "hunter" not in podman("history", "--no-trunc", image_id)


def test_interrupt_ends_the_commands_inside_the_build(site: Site, real_base: str) -> None:
    # A duration that no other process on this machine has.
    seconds = 700_000_000 + os.getpid()
    site.write(
        "bootcfleet.yaml",
        f"version: 1\nname: acme\nregistry: {site.registry}/slow\nimages:\n"
        f"  slow: {{base: '{real_base}'}}\n",
    )
    site.write(
        "containerfiles/slow/Containerfile.j2", f"FROM {{{{ base }}}}\nRUN sleep {seconds}\n"
    )

    def sleeping() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (
                    (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                )
            except OSError:
                continue
            if words[:2] == [b"sleep", str(seconds).encode()]:
                found.append(int(entry.name))
        return found

    before = podman("ps", "--all", "--external", "--quiet")
    process = subprocess.Popen([sys.executable, "-m", "bootcfleet", "image", "build"])
    try:
        while not sleeping():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        for _ in range(100):
            if not sleeping():
                break
            time.sleep(0.1)
        assert sleeping() == []
        assert podman("ps", "--all", "--external", "--quiet") == before
    finally:
        process.kill()
        for pid in sleeping():
            os.kill(pid, signal.SIGKILL)


def test_children_wait_until_the_checks_of_their_parent_are_green(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    target = Path("containerfiles/plain/files/bin/sh")
    target.parent.mkdir(parents=True)
    for name in ("sh", "sleep", "cat", "stat", "readlink", "id"):
        shutil.copy(need("busybox"), target.parent / name)
    text = Path("bootcfleet.yaml").read_text()
    checks = "checks: [{file: /etc/names/fixed, contains: '%s'}]"
    soe = "template: plain, " + checks
    site.write("bootcfleet.yaml", text.replace("1', template: plain", f"1', {soe % '2'}"))
    assert run(["image", "build", "--push", "--check", "web"]) == 1
    said = capsys.readouterr()
    assert "soe: its checks are not green: " in said.err
    assert "not built, because what they stand on failed: web" in said.err
    assert "  | file /etc/names/fixed" in said.err
    # It was made, and is to be found: by a promotion, which its checks will bar.
    assert run(["audit", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(e["action"], e["outcome"]) for e in entries if e["subject"] == "soe"] == [
        ("image.lint", "passed"),
        ("image.check", "failed"),
        ("image.build", "built"),
        ("image.push", "pushed"),
    ]
    # The image is there, and is not built again once its checks are right.
    site.write("bootcfleet.yaml", text.replace("1', template: plain", f"1', {soe % '1'}"))
    assert run(["image", "build", "--push", "--check", "web", "--json"]) == 0
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds.count("image.build.unchanged") == 1
    assert kinds.count("image.check.finished") == 2
    # What was found green is not checked again.
    assert run(["image", "build", "--push", "--check", "web", "--json"]) == 0
    assert "image.check" not in capsys.readouterr().out


def test_labels_are_what_they_are_told_to_be(containers_conf: Path, tmp_path: Path) -> None:
    """Whatever is in them: podman expands variables and reads quotes in a LABEL."""
    labels = {
        "a.b/c": "plain",
        "dollar": "$HOME ${PATH} $$",
        "quotes": "\"double\" 'single' `back`",
        "slash": "C:\\new \\",
        "empty": "",
        "words": "https://git.example.com/x?a=b&c=d #e",
        "text": "Grüße",
    }
    text = "FROM scratch\nCOPY Containerfile /\n" + label_instruction(labels)
    (tmp_path / "Containerfile").write_text(text)
    image = podman("build", "--quiet", str(tmp_path))
    found = json.loads(podman("image", "inspect", image))[0]["Labels"]
    assert {key: found[key] for key in labels} == labels
