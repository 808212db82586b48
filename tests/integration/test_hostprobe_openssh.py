"""The look at a host over a real sshd: at this machine as it is, and with a bootc that answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.rollout import Operation
from bootcfleet.drivers.hostprobe import facts_of, probe
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.ssh import SshExecutor
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.preflight import Preflight, preflight
from tests.integration.onehost import OneHost, one_host
from tests.machines import OTHER, Machine
from tests.tools import need

pytestmark = pytest.mark.integration

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneHost]:
    with one_host(tmp_path, monkeypatch, "127.0.25.1") as host:
        yield host


@pytest.fixture
def executor(host: OneHost) -> Iterator[SshExecutor]:
    made = host.executor()
    yield made
    made.close()


def bootc(host: OneHost, status: str, *, first: str = "") -> None:
    (host.bin / "status.json").write_text(status)
    answer = f'{first}\nexec cat "{host.bin}/status.json"'
    host.program("bootc", f'[ "$1" = --version ] && exec echo bootc 1.16.9\n{answer}')
    host.program("systemctl", "case $* in *SoftReboots*) echo Version=252 ;; *) echo running; esac")


def test_a_machine_without_bootc(executor: SshExecutor) -> None:
    truth = probe(executor, "web1")
    assert truth.problem is not None
    assert truth.problem.fault is HostFault.NO_BOOTC
    assert truth.kernel == os.uname().release
    assert truth.space is not None
    assert truth.clock is not None
    # It is the same clock.
    assert truth.clock.skew == 0.0


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_other_shells(host: OneHost, executor: SshExecutor, shell: str) -> None:
    host.program("sh", f'exec {need(shell)} {"sh " if shell == "busybox" else ""}"$@"')
    bootc(host, Machine("web1", rollback=OTHER).status())
    truth = probe(executor, "web1")
    facts = facts_of(truth)
    assert truth.problem is None
    assert facts is not None
    assert facts.status.rollback is not None
    assert truth.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_bootc_that_waits_for_its_lock(host: OneHost, executor: SshExecutor) -> None:
    bootc(host, "", first="sleep 600")
    with pytest.raises(HostError) as caught:
        probe(executor, "web1", timeout=3)
    assert caught.value.fault is HostFault.LOCK_HELD


def test_a_preflight_with_a_real_skopeo(host: OneHost) -> None:
    """The host asks a registry itself; its answers come to a plan, a refusal and a mirror."""
    # The lab's registry speaks plain HTTP, which a host would be told by its registries.conf.
    host.program("skopeo", f'exec {need("skopeo")} "$@" --tls-verify=false')
    with LabRegistry() as registry, RegistryClient() as client:
        reference = f"{registry.address}/acme/web:prod"

        def publish(version: str) -> str:
            data = {"version": version.encode() * 1000}
            return str(
                push_image(
                    registry.address,
                    "acme/web",
                    "prod",
                    version=version,
                    files=data,
                    created=CREATED,
                )
            )

        def judge() -> Preflight:
            fleet = Fleet([host.host], lambda one: host.executor())
            try:
                return preflight(
                    fleet,
                    fleet.names,
                    operation=Operation.UPGRADE,
                    resolve=client.resolve,
                    registry=client,
                )
            finally:
                fleet.close()

        status = json.loads(Machine("web1", reference=reference).status())
        status["status"]["booted"]["image"]["imageDigest"] = publish("1.0")
        status["status"]["rollback"] = None
        bootc(host, json.dumps(status, sort_keys=True, separators=(",", ":")))
        report = judge().reports["web1"]
        assert report.result == "unchanged"
        newer = publish("1.1")
        report = judge().reports["web1"]
        assert report.refusals == ()
        assert isinstance(report.truth, HostTruth)
        assert report.truth.registry is not None
        assert report.truth.registry.digest == newer
        assert report.download is not None
        assert report.exact
        host.program("skopeo", "echo 'unauthorized: authentication required' >&2; exit 1")
        report = judge().reports["web1"]
        assert [one.fault for one in report.refusals] == [HostFault.REGISTRY_REFUSED]
        # A mirror that lags behind gives another manifest.
        host.program("skopeo", "echo '{}'")
        report = judge().reports["web1"]
        assert [one.fault for one in report.refusals] == [HostFault.WRONG_DIGEST]
