"""`image diff` on real images: the tree is podman's own, packages rpm's, units systemctl's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from bootcfleet.cli.app import run
from bootcfleet.domain.imagetree import Kind
from bootcfleet.domain.reference import Platform
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.imagecontents import OpenedImage, Reader, open_image
from bootcfleet.ops.imagename import name_image
from tests.tools import need

pytestmark = pytest.mark.integration

CONTAINERFILE = """FROM {base}
RUN dnf -y install --setopt=install_weak_deps=0 nginx chrony && dnf clean all && rm -rf /var/cache/*
RUN mkdir -p /usr/old/deep && echo one > /usr/old/deep/a && ln -s a /usr/old/deep/link \\
 && ln /usr/old/deep/a /usr/old/hard
RUN rm -rf /usr/share/zoneinfo/Europe /usr/old/deep && mkdir /usr/old/deep \\
 && echo n > /usr/old/deep/b
RUN mv /etc/issue /etc/issue.moved && chmod 4750 /usr/bin/sudo && chown 3:4 /etc/host.conf \\
 && rm -f /usr/bin/tac && ln -s sort /usr/bin/tac && rm -rf /var/lib/misc && touch /var/lib/misc
RUN systemctl enable nginx.service && systemctl mask chronyd.service \\
 && mkdir -p /etc/systemd/system/x.target.wants && mkfifo /usr/fifo
RUN useradd -u 1234 -s /bin/sh trusty && printf 'u svc 300 "A service" /var/svc\\n' \\
 > /usr/lib/sysusers.d/svc.conf && mkdir -p /usr/lib/bootc/kargs.d \\
 && printf 'kargs = ["console=ttyS0", "quiet"]\\n' > /usr/lib/bootc/kargs.d/10-x.toml
LABEL org.example.new=yes org.opencontainers.image.title=child
EXPOSE 8080
"""


def podman(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Child:
    image_id: str
    ref: str
    root: Path


@pytest.fixture(scope="module")
def child(
    real_base: str, docker_registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Child]:
    folder = tmp_path_factory.mktemp("child")
    (folder / "Containerfile").write_text(CONTAINERFILE.format(base=real_base))
    image_id = podman("build", "--quiet", "--file", str(folder / "Containerfile"), str(folder))
    target = f"{docker_registry}/diff/child"
    podman("push", f"--digestfile={folder}/digest", image_id, f"docker://{target}:dev")
    ref = f"{target}@{(folder / 'digest').read_text()}"
    yield Child(image_id, ref, Path(podman("image", "mount", image_id)))
    podman("image", "umount", image_id)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was read of layers is read once for all tests."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def reader(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    with RegistryClient() as client:
        yield Reader.of(None, client, LocalExecutor(), Platform("linux", "amd64"))


def opened(reader: Reader, ref: str) -> OpenedImage:
    return open_image(reader, name_image(None, ref))


def on_disk(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a mounted image, as the kernel shows it."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder) / name
            about = path.lstat()
            kind = stat.filemode(about.st_mode)[0]
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if kind == "-" else ""
            link = str(path.readlink()) if kind == "l" else ""
            size = about.st_size if kind == "-" else 0
            found[str(path.relative_to(root))] = (
                kind, stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid, size, digest, link,
            )  # fmt: skip
    return found


def test_the_tree_is_the_one_that_podman_mounts(child: Child, reader: Reader) -> None:
    image = opened(reader, child.ref)
    ours = {
        path: (e.kind.value, e.mode, e.uid, e.gid, e.size, e.sha256, e.link)
        for path, e in image.tree.tree.entries.items()
        if e.kind not in {Kind.CHARACTER, Kind.BLOCK}
    }
    disk = {path: one for path, one in on_disk(child.root).items() if one[0] not in "cb"}
    assert len(disk) > 5000
    assert {p: (ours.get(p), disk.get(p)) for p in ours.keys() | disk.keys()
            if ours.get(p) != disk.get(p)} == {}  # fmt: skip


@pytest.fixture(scope="module")
def database(child: Child, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("rpm")
    folder = tmp_path_factory.mktemp("rpm") / "db"
    shutil.copytree(child.root / "usr/lib/sysimage/rpm", folder)
    return folder


def test_the_packages_are_those_of_rpm(child: Child, database: Path, reader: Reader) -> None:
    packages = opened(reader, child.ref).installed.packages
    query = "%{NAME} %|EPOCH?{%{EPOCH}}:{0}| %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{SIZE} %{SHA256HEADER} %{SOURCERPM}\n"  # noqa: E501
    said = subprocess.run(
        ["rpm", "--dbpath", str(database), "-qa", "--qf", query],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    ours = [
        f"{p.name} {p.evr.epoch} {p.evr.version} {p.evr.release} {p.arch} {p.license} {p.size} "
        f"{p.sha256} {p.source}"
        for p in packages
    ]
    assert {p.name for p in packages} >= {"nginx", "chrony", "base-standin"}
    assert sorted(ours) == sorted(said.splitlines())


def test_the_owners_of_files_are_those_of_rpm(child: Child, database: Path, reader: Reader) -> None:
    owners = opened(reader, child.ref).installed.owners
    said = subprocess.run(
        ["rpm", "--dbpath", str(database), "-qa", "--qf", "[%{FILENAMES} %{=NAME}\n]"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert sorted(f"{path} {name}" for path, name in owners.items()) == sorted(said.splitlines())


def test_the_units_are_as_systemctl_says(child: Child, reader: Reader) -> None:
    states = dict(opened(reader, child.ref).facts().units)
    said = podman(
        "run", "--rm", "--network=none", "--env=SYSTEMD_COLORS=0", child.image_id,
        "systemctl", "list-unit-files", "--no-legend", "--no-pager",
    )  # fmt: skip
    theirs = {line.split()[0]: line.split()[1] for line in said.splitlines()}
    made_at_boot = {"generated", "transient", "enabled-runtime", "masked-runtime"}
    theirs = {unit: state for unit, state in theirs.items() if state not in made_at_boot}
    assert theirs["nginx.service"] == "enabled"
    assert theirs["chronyd.service"] == "masked"
    assert {u: (states.get(u), theirs[u]) for u in theirs if states.get(u) != theirs[u]} == {}


def test_the_whole_difference(
    child: Child, real_base: str, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["image", "diff", real_base, child.ref, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["packages"]["added"]] == ["chrony", "nginx"]
    assert found["units"]["added"]["nginx.service"] == "enabled"
    assert found["users"]["added"]["trusty"].startswith("uid 1234, gid 1234, home /home/trusty")
    assert found["users"]["added"]["svc"] == "uid 300, gid 300, home /var/svc, shell /sbin/nologin"
    assert found["kargs"]["added"] == {"console=ttyS0": "10-x.toml", "quiet": "10-x.toml"}
    assert found["ports"]["added"]["EXPOSE 8080/tcp"] == "declared"
    assert found["labels"]["added"]["org.example.new"] == "yes"
    assert found["labels"]["changed"]["org.opencontainers.image.title"]["after"] == "child"
    files = {one["path"]: one for one in found["files"]["changed"]}
    assert files["/usr/bin/sudo"]["what"] == ["mode"]
    assert files["/etc/host.conf"]["what"] == ["owner"]
    assert files["/usr/bin/tac"]["what"] == ["type"]
    gone = {one["path"] for one in found["files"]["removed"]}
    assert {"/etc/issue", "/usr/share/zoneinfo/Europe"} <= gone
    came = {one["path"]: one for one in found["files"]["added"]}
    assert came["/usr/sbin/nginx"]["package"] == "nginx"
    assert "/usr/old/hard" in came
    assert "/usr/old/deep/a" not in came

    assert run(["image", "diff", real_base, child.ref]) == 0
    said = capsys.readouterr().out
    assert "packages: 2 added\n  + chrony.noarch  1.0-1.el10\n  + nginx.noarch" in said
    assert "/usr/sbin/nginx" not in said


def test_an_image_that_was_not_pushed(
    child: Child, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved by podman it has the same tree as in the registry."""
    from bootcfleet.ops.imagename import NamedImage

    local = open_image(reader, NamedImage("child", "child", None, child.image_id))
    pushed = opened(reader, child.ref)
    plain = [
        {path: (e.kind, e.mode, e.uid, e.gid, e.size, e.sha256, e.link) for path, e in
         one.tree.tree.entries.items()}
        for one in (local, pushed)
    ]  # fmt: skip
    assert plain[0] == plain[1]
    assert local.remote is None


@pytest.mark.parametrize("compression", ["zstd", "zstd:chunked"])
def test_layers_of_zstd(
    child: Child, docker_registry: str, reader: Reader, tmp_path: Path, compression: str
) -> None:
    """podman 4.3 takes up what it pushed as gzip before: only a new layer shows."""
    (tmp_path / "Containerfile").write_text(
        f"FROM {child.image_id}\nRUN echo {compression} > /etc/compressed\n"
    )
    image_id = podman("build", "--quiet", str(tmp_path))
    target = f"{docker_registry}/diff/{compression.replace(':', '-')}:t"
    podman("push", f"--compression-format={compression}", image_id, f"docker://{target}")
    image = opened(reader, target)
    kinds = [layer["mediaType"] for layer in image.tree.manifest.body["layers"]]
    assert kinds[-1].endswith("tar+zstd")
    assert image.tree.tree.entries["etc/compressed"].size == len(compression) + 1
    assert {p.name for p in image.installed.packages} >= {"nginx", "chrony"}


def test_the_bill_of_materials_lists_what_rpm_lists(
    child: Child, database: Path, reader: Reader, tmp_path: Path
) -> None:
    assert run(["image", "sbom", child.ref, "--tool", "builtin", "-o", "child.json"]) == 0
    document = parse_file(str(tmp_path / "child.json"))
    assert validate_full_spdx_document(document) == []
    said = subprocess.run(
        ["rpm", "--dbpath", str(database), "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    ours = [f"{one.name} {one.version}" for one in document.packages[1:]]
    assert sorted(ours) == sorted(said.splitlines())
