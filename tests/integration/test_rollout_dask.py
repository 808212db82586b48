"""A rollout whose SSH work is done by a Dask cluster of two worker processes, with one journal."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers.labimage import push_image
from bootcfleet.ops.lab import Lab

pytestmark = pytest.mark.integration


class Cluster:
    """A scheduler and two workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._log = (folder / "dask.log").open("wb")
        port = self.address.rpartition(":")[2]
        words = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
        self._processes = [self._start(*words)]
        worker = ["worker", f"tcp://{self.address}", "--nthreads", "4", "--no-dashboard"]
        self._processes += [
            self._start(*worker, "--name", name, "--local-directory", str(folder / name))
            for name in ("one", "two")
        ]

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "dask", *words]
        return subprocess.Popen(argv, stdout=self._log, stderr=self._log)

    def kill_one(self) -> None:
        self._processes[-1].kill()

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._log.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def connected() -> bool:
    """Whether this process keeps connections of its own; runs in the workers."""
    from bootcfleet.ops import workers

    return workers._kept is not None and bool(workers._kept.executors)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    from distributed import Client

    cluster = Cluster(tmp_path)
    try:
        with Client(f"tcp://{cluster.address}", timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        push(lab, "1.0")
        lab.start_hosts(6, image=f"{lab.registry_address}/acme/web:prod", boot_seconds=0.5)
        yield lab


def push(lab: Lab, version: str) -> str:
    return str(
        push_image(
            lab.registry_address,
            "acme/web",
            "prod",
            version=version,
            files={"v": version.encode()},
            created=datetime(2026, 11, 1, tzinfo=UTC),
        )
    )


ALL = ("--canary", "0", "--batch", "100%", "--retries", "3")


def upgrade(lab: Lab, executor: str) -> int:
    argv = ["fleet", "upgrade", "-i", str(lab.inventory_path), "--yes", "--executor", executor]
    return run([*argv, *ALL])


def test_two_workers_share_the_hosts(lab: Lab, cluster: Cluster) -> None:
    from distributed import Client

    digest = push(lab, "1.1")
    assert upgrade(lab, f"dask://{cluster.address}") == 0
    assert {row["digest"] for row in lab.status()} == {digest}
    assert {row["reboots"] for row in lab.status()} == {1}
    with Client(f"tcp://{cluster.address}", timeout=60, set_as_default=False) as client:
        assert list(client.run(connected).values()) == [True, True]
    assert run(["audit", "--verify"]) == 0


def test_a_worker_that_dies_costs_no_host_a_second_reboot(lab: Lab, cluster: Cluster) -> None:
    digest = push(lab, "1.1")
    killed: list[float] = []

    def kill() -> None:
        if not killed:
            killed.append(time.monotonic())
            cluster.kill_one()

    for host in lab.hosts.values():
        before = host.on_reboot
        host.on_reboot = lambda before=before: (kill(), before())  # type: ignore[misc]
    assert upgrade(lab, f"dask://{cluster.address}") == 0
    assert killed
    assert {row["digest"] for row in lab.status()} == {digest}
    assert {row["reboots"] for row in lab.status()} == {1}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("ray://127.0.0.1:1", "'ray://127.0.0.1:1' is no executor"),
        ("dask://", "is no executor"),
        ("dask://127.0.0.1:1", "the Dask scheduler at 127.0.0.1:1 does not answer"),
    ],
)
def test_an_executor_that_is_none(
    lab: Lab,
    where: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from bootcfleet.ops import executors

    monkeypatch.setattr(executors, "_PATIENCE", 1)
    push(lab, "1.1")
    assert upgrade(lab, where) in {1, 2}
    assert message in capsys.readouterr().err
    assert {row["reboots"] for row in lab.status()} == {0}
