"""Containers to run checks in, on a podman that plays along: booted, plain, and always removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.container import Container, running
from bootcfleet.errors import FleetError
from tests.fakepodman import FakePodman

IMAGE = "registry.example.com/acme/web@sha256:" + "a" * 64


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePodman:
    podman = FakePodman(tmp_path / "podman")
    monkeypatch.setenv("PATH", f"{podman.bin}{os.pathsep}{os.environ['PATH']}")
    podman.add(IMAGE)
    return podman


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += 50 * seconds

    def __call__(self) -> float:
        return self.now


def start(podman: FakePodman, boot: bool = True, keep: bool = False) -> Container:
    time = Time()
    with running(
        LocalExecutor(), IMAGE, label="web", boot=boot, keep=keep, sleep=time.sleep, monotonic=time
    ) as container:
        assert podman.containers == [f"container-{container.name}"]
        return container


def test_systemd_is_booted_without_a_network_and_for_an_hour_at_most(podman: FakePodman) -> None:
    container = start(podman)
    assert (container.booted, container.reason) == (True, "")
    (call,) = podman.calls("run")
    assert call["argv"] == [
        "run", "--detach", "--name", container.name, "--label", "io.bootcfleet.check=web",
        "--rm", "--timeout", "3600", "--network=none", "--pull=never", "--systemd=always",
        "--user", "0:0",
        "--entrypoint", '["/sbin/init", "systemd.mask=systemd-firstboot.service"]', IMAGE,
    ]  # fmt: skip
    assert podman.containers == []


def test_it_waits_until_systemd_has_started(podman: FakePodman) -> None:
    podman.control(states=["offline", "starting", "starting", "degraded"])
    container = start(podman)
    assert container.booted
    assert container.reason == "systemd says degraded, failed units: web.service"
    assert len(podman.calls("exec")) == 5


@pytest.mark.parametrize(
    ("control", "booted", "reason"),
    [
        ({"no_init": True}, False,
         'no /sbin/init starts in it: runc: runc create failed: exec: "/sbin/init": '
         "no such file or directory"),
        ({"states": ["offline"]}, False, "systemd did not start within 90 s: offline"),
        ({"states": ["starting"]}, True, "systemd says starting"),
    ],
)  # fmt: skip
def test_where_systemd_does_not_run_it_is_plain_and_says_why(
    podman: FakePodman, control: dict[str, object], booted: bool, reason: str
) -> None:
    podman.control(**control)
    container = start(podman)
    assert (container.booted, container.reason) == (booted, reason)
    words = [call["words"][0] for call in podman.calls("run")]
    assert words == (["/sbin/init"] if booted else ["/sbin/init", "sleep"])
    assert podman.containers == []


def test_plain_is_not_booted(podman: FakePodman) -> None:
    assert start(podman, boot=False).reason == "--no-boot was given"
    assert [call["words"][0] for call in podman.calls("run")] == ["sleep"]


def test_an_image_that_cannot_run_anything(podman: FakePodman) -> None:
    podman.control(no_run=True)
    with pytest.raises(FleetError, match="no container of registry") as caught:
        start(podman)
    assert caught.value.hint == (
        f"checks need a shell and coreutils in the image; try it: podman run --rm {IMAGE} sleep 1"
    )
    assert podman.containers == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FleetError("x"), RuntimeError("y")])
def test_it_is_removed_whatever_happens(podman: FakePodman, error: BaseException) -> None:
    executor = LocalExecutor()

    def interrupted() -> None:
        with running(executor, IMAGE, label="web"):
            assert podman.containers
            executor.close()
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert podman.containers == []


def test_kept_it_stays_and_is_not_ended_by_itself(podman: FakePodman) -> None:
    container = start(podman, keep=True)
    assert podman.containers == [f"container-{container.name}"]
    (call,) = podman.calls("run")
    assert "--rm" not in call["argv"]
    assert "--timeout" not in call["argv"]


def test_words_and_input_arrive_as_they_are(podman: FakePodman) -> None:
    with running(LocalExecutor(), IMAGE, label="web", boot=False) as container:
        words = ["a b", "$HOME", "'", '"', "--user", "", "\\"]
        result = container.executor.run(["printf", "%s|", *words[:4], *words[5:]])
        assert result.stdout == "|".join([*words[:4], *words[5:]]) + "|"
        result = container.executor.run(["cat"], stdin=b"it's", as_root=True)
        assert result.stdout == "it's"
    call = podman.calls("exec")[-1]["argv"]
    assert call == ["exec", "--interactive", "--user", "0:0", container.name, "cat"]


def test_a_container_that_is_gone(podman: FakePodman) -> None:
    with running(LocalExecutor(), IMAGE, label="web", boot=False) as container:
        (podman.folder / f"container-{container.name}").unlink()
        with pytest.raises(FleetError, match="/etc/x in the container cannot be read: no contain"):
            container.executor.get("/etc/x")
        with pytest.raises(FleetError, match="/etc/x in the container cannot be written: no cont"):
            container.executor.put(b"", "/etc/x")
