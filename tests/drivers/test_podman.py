"""podman's driver against a podman that writes down what it is asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.podman import BuildSecret, Podman, PodmanError
from bootcfleet.errors import ToolMissingError
from tests.fakepodman import FakePodman

BASE = "registry.example.com/base:1"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePodman:
    fake = FakePodman(tmp_path / "podman")
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    return fake


def podman(waits: list[float] | None = None) -> Podman:
    return Podman(LocalExecutor(), sleep=(waits if waits is not None else []).append)


def context(folder: Path) -> Path:
    folder.mkdir()
    (folder / "Containerfile").write_text(f"FROM {BASE}\n")
    return folder


@pytest.mark.parametrize("version", ["4.3.0", "4.3.1", "4.10.0", "5.0.0-rc3", "10.2"])
def test_new_enough(fake: FakePodman, version: str) -> None:
    fake.control(version=version)
    assert podman().require() == version


@pytest.mark.parametrize("version", ["4.2.9", "3.4.4", "4.2.99-dev", "1.6"])
def test_too_old(fake: FakePodman, version: str) -> None:
    fake.control(version=version)
    with pytest.raises(ToolMissingError) as caught:
        podman().require()
    assert caught.value.message == f"podman 4.3.0 or newer is needed, found {version}"
    assert caught.value.hint == "update podman with the system's package manager"
    assert caught.value.exit_code == 5


def test_no_version(fake: FakePodman) -> None:
    fake.control(version="what?")
    with pytest.raises(ToolMissingError, match="does not say its version"):
        podman().require()


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught:
        podman().require()
    assert caught.value.message == (
        "podman 4.3.0 or newer is needed, and the program 'podman' is not installed"
    )
    assert caught.value.hint == "install it: dnf install podman, or apt-get install podman"


def test_build_says_exactly_this(
    fake: FakePodman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "very-secret")
    fake.add(BASE)
    folder = context(tmp_path / "context")
    lines: list[tuple[str, str]] = []
    image_id = podman().build(
        folder,
        folder / "Containerfile",
        tags=["registry.example.com/acme/web:1.0", "registry.example.com/acme/web:20261121"],
        build_args={"X": "$(reboot)"},
        secrets=[BuildSecret("rhsm", file=Path("/k.pem")), BuildSecret("token", env="TOKEN")],
        on_line=lambda stream, line: lines.append((stream, line)),
    )
    (call,) = fake.calls("build")
    iidfile = call["argv"][call["argv"].index("--iidfile") + 1]
    assert call["argv"] == [
        "build", "--file", f"{folder}/Containerfile",
        "--tag", "registry.example.com/acme/web:1.0",
        "--tag", "registry.example.com/acme/web:20261121",
        "--build-arg", "X=$(reboot)",
        "--secret", "id=rhsm,src=/k.pem", "--secret", "id=token,type=env,env=TOKEN",
        "--pull=missing", "--layers", "--iidfile", iidfile, str(folder),
    ]  # fmt: skip
    assert "very-secret" not in json.dumps(call)
    assert not Path(iidfile).exists()
    assert image_id.startswith("sha256:")
    assert len(image_id) == 71
    assert lines[0] == ("stdout", f"STEP 1/2: FROM {BASE}")


def test_a_failed_build_shows_the_end_of_what_podman_said(fake: FakePodman, tmp_path: Path) -> None:
    fake.add(BASE)
    fake.control(fail=["web"], lines=40)
    folder = context(tmp_path / "context")
    with pytest.raises(PodmanError) as caught:
        podman().build(folder, folder / "Containerfile", tags=["r.example.com/web:1"])
    assert caught.value.message == "podman build ended with exit code 1"
    assert len(caught.value.details) == 15
    assert caught.value.details[-1].startswith('Error: building at STEP "RUN dnf')
    assert caught.value.details[0] == "web line 26"


def test_push_gives_the_digest_of_the_registry(fake: FakePodman) -> None:
    digest = podman().push("abc", "127.0.0.1:5000/acme/web:1", tls_verify=False)
    (call,) = fake.calls("push")
    assert call["argv"][:2] == ["push", "--digestfile"]
    assert call["argv"][3:] == ["--tls-verify=false", "abc", "127.0.0.1:5000/acme/web:1"]
    assert str(digest).startswith("sha256:")
    podman().push("registry.example.com/acme/web:1")
    assert fake.calls("push")[1]["argv"][3:] == ["registry.example.com/acme/web:1"]


def test_push_tries_again_when_the_registry_may_recover(fake: FakePodman) -> None:
    waits: list[float] = []
    lines: list[str] = []
    fake.control(push_failures=2)
    podman(waits).push("abc", "r.example.com/web:1", on_line=lambda _, line: lines.append(line))
    assert len(fake.calls("push")) == 3
    assert waits == [1.0, 4.0]
    assert "push failed, trying again in 1 s" in lines


def test_push_gives_up_after_three_tries(fake: FakePodman) -> None:
    waits: list[float] = []
    fake.control(push_failures=9)
    with pytest.raises(PodmanError) as caught:
        podman(waits).push("abc", "r.example.com/web:1")
    assert caught.value.message == "podman could not push r.example.com/web:1 (3 tries)"
    assert len(fake.calls("push")) == 3


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("unauthorized: authentication required", "log in first: podman login REGISTRY"),
        (
            "http: server gave HTTP response to HTTPS client",
            "the registry speaks plain http: list it as insecure in registries.conf(5)",
        ),
        (
            "x509: certificate signed by unknown authority",
            "put the registry's CA into /etc/containers/certs.d/REGISTRY/ca.crt",
        ),
        ("name unknown", None),
    ],
)
def test_push_does_not_repeat_what_cannot_succeed(
    fake: FakePodman, said: str, hint: str | None
) -> None:
    fake.control(push_failures=9, push_error=said)
    with pytest.raises(PodmanError) as caught:
        podman().push("abc", "r.example.com/web:1")
    assert len(fake.calls("push")) == 1
    assert caught.value.message == "podman could not push r.example.com/web:1"
    assert caught.value.hint == hint
    assert said in caught.value.details[-1]


def test_storage(fake: FakePodman) -> None:
    tool = podman()
    assert not tool.exists(BASE)
    fake.add(BASE)
    fake.control(digests=["registry.example.com/base@sha256:" + "0" * 64])
    assert tool.exists(BASE)
    found = tool.inspect(BASE)
    assert (found.id, found.tags) == ("sha256:" + "f" * 64, (BASE,))
    assert found.digests == ("registry.example.com/base@sha256:" + "0" * 64,)
    assert (dict(found.labels), found.size) == ({}, 7)
    with pytest.raises(PodmanError, match="podman could not inspect nothing"):
        tool.inspect("nothing")


def test_the_other_commands(fake: FakePodman) -> None:
    tool = podman()
    tool.tag("abc", "r.example.com/a:1", "r.example.com/a:2")
    tool.remove("r.example.com/a:1")
    fake.control(pullable=["r.example.com"])
    tool.pull("r.example.com/a:3", tls_verify=True)
    assert [call["argv"] for call in fake.calls("other")] == [
        ["tag", "abc", "r.example.com/a:1", "r.example.com/a:2"],
        ["image", "rm", "r.example.com/a:1"],
    ]
    assert fake.calls("pull")[0]["argv"] == ["pull", "--tls-verify=true", "r.example.com/a:3"]
    with pytest.raises(PodmanError, match="podman could not pull other"):
        tool.pull("other.example.com/a:3")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("4.3.1", ["--timestamp", "1700000000", "--no-cache"]),
        ("5.5.2", ["--timestamp", "1700000000", "--no-cache"]),
        ("5.6.0", ["--source-date-epoch", "1700000000", "--rewrite-timestamp", "--no-cache"]),
    ],
)
def test_fixed_times_by_the_options_that_this_podman_has(
    fake: FakePodman, tmp_path: Path, version: str, expected: list[str]
) -> None:
    fake.control(version=version)
    fake.add(BASE)
    folder = context(tmp_path / "context")
    podman().build(
        folder, folder / "Containerfile", tags=["x/y:1"], platform="linux/arm64",
        timestamp=1700000000,
    )  # fmt: skip
    (call,) = fake.calls("build")
    at = call["argv"].index("--platform")
    assert call["argv"][at : at + 2 + len(expected)] == ["--platform", "linux/arm64", *expected]
