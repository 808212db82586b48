"""The preflight on machines in memory: what is asked once, what is passed on, and downloads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.domain.rollout import Operation
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.preflight import Preflight, preflight, preflight_one
from tests.machines import BAD, NEW, OLD, OTHER, VERSIONS, Machine, said

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


def fleet_of(*machines: Machine) -> Fleet:
    by_name = {machine.name: machine for machine in machines}
    return Fleet([Host(name) for name in by_name], lambda host: by_name[host.name])


class Resolver:
    """Resolves everything to NEW, and counts."""

    def __init__(self, error: RegistryError | None = None) -> None:
        self.asked: list[str] = []
        self.error = error

    def __call__(self, ref: ImageRef) -> Resolved:
        self.asked.append(str(ref))
        if self.error:
            raise self.error
        return Resolved(ref, Digest(NEW), {Platform("linux", "amd64"): Digest(NEW)}, "1.1")


def judge(*machines: Machine, **options: Any) -> Preflight:
    fleet = fleet_of(*machines)
    return preflight(fleet, fleet.names, **({"resolve": Resolver()} | options))


def test_a_host_that_tells_no_more_than_bootc_does_is_ready() -> None:
    """A tool that is missing is not held against the host."""
    found = judge(Machine("a"), Machine("b", booted=NEW))
    report = found.reports["a"]
    assert report.result == "ready"
    assert report.facts is not None
    assert report.facts.version == "1.16.9"
    assert (report.system_state, report.zone, report.timer) == ("running", None, False)
    assert found.reports["b"].result == "unchanged"
    assert found.refused == ()
    json.dumps([one.to_json() for one in found.reports.values()])


def test_what_had_failed_before_is_known() -> None:
    report = judge(Machine("a", booted=BAD)).reports["a"]
    assert (report.system_state, report.failed_units) == ("degraded", ("web.service",))
    assert report.result == "warned"


def test_each_reference_is_resolved_once() -> None:
    resolve = Resolver()
    judge(*(Machine(f"h{n}") for n in range(9)), resolve=resolve)
    assert resolve.asked == ["r.example/acme/web:prod"]


def test_a_registry_that_does_not_answer_here_is_told() -> None:
    error = RegistryError("no answer")
    found = judge(Machine("a"), resolve=Resolver(error))
    assert found.problems == (error,)
    assert found.reports["a"].facts is not None
    with pytest.raises(RegistryError, match="no answer"):
        preflight_one(Host("a"), Machine("a"), operation=Operation.UPGRADE, resolve=Resolver(error))


def test_a_rollback_and_a_reboot_ask_no_registry() -> None:
    resolve = Resolver()
    machine = Machine("a", rollback=OTHER)
    for operation, rules in ((Operation.ROLLBACK, ["etc"]), (Operation.REBOOT, [])):
        report = judge(machine, operation=operation, resolve=resolve).reports["a"]
        assert [one.rule for one in report.findings] == rules
        assert report.reference is None
    assert resolve.asked == []


def test_one_host_hides_no_other() -> None:
    gone = Machine("gone", down=99, never_returns=True)
    sick = Machine("sick", fail={"sh -c": lambda: said("", "bootc: command not found", 127)})
    found = judge(gone, sick, Machine("well"))
    assert isinstance(found.reports["gone"].error, HostError)
    assert [one.fault for one in found.reports["gone"].refusals] == [HostFault.UNREACHABLE]
    assert [one.fault for one in found.reports["sick"].refusals] == [HostFault.NO_BOOTC]
    assert found.refused == ("gone", "sick")
    assert [one.text for one in found.sentences()] == [
        "gone: connection refused",
        "sick: bootc status failed: bootc: command not found",
    ]


def test_one_host_alone() -> None:
    report = preflight_one(Host("a"), Machine("a"), operation=Operation.UPGRADE, resolve=Resolver())
    assert (report.result, str(report.reference)) == ("ready", "r.example/acme/web:prod")


@pytest.fixture
def registry() -> Iterator[LabRegistry]:
    with LabRegistry() as registry:
        yield registry


def test_downloads_without_what_hosts_have(registry: LabRegistry, tmp_path: Path) -> None:
    reference = f"{registry.address}/acme/web:prod"

    def publish(version: str, *, index: bool = False) -> str:
        push = push_index if index else push_image
        data = {"version": version.encode() * 500}
        return str(
            push(registry.address, "acme/web", "prod", version=version, files=data, created=CREATED)
        )

    with RegistryClient() as client:
        first = publish("1.0")
        second = publish("1.1", index=True)
        size = sum(
            size
            for _, size in client.manifest(
                ImageRef.parse(reference).with_digest(
                    client.resolve(ImageRef.parse(reference)).platforms[Platform("linux", "amd64")]
                )
            ).layers
        )
        for digest in (first, second):
            VERSIONS[digest] = "x"
        machines = [
            Machine("known", booted=first, reference=reference),
            # Its image is no longer in the registry, so that nobody knows what it has of it.
            Machine("lost", booted=OLD, reference=reference),
            Machine("staged", booted=first, staged=second, reference=reference),
        ]
        found = judge(*machines, resolve=client.resolve, registry=client)
    known, lost, staged = (found.reports[machine.name] for machine in machines)
    assert known.download is not None
    assert sum(one for _, one in known.download.new) == size
    assert known.download.index > 0
    assert known.exact
    assert lost.download is not None
    assert (lost.download.size, lost.exact) == (known.download.size, False)
    assert staged.download is not None
    assert staged.download.new == ()
    for digest in (first, second):
        del VERSIONS[digest]
