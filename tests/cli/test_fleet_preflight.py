"""`fleet preflight` and `fleet facts` on a lab: what is found, what is said, exit codes."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from bootcfleet.cli.fleet_truth_run import COLUMNS
from bootcfleet.domain.faults import Fault
from bootcfleet.drivers.labimage import push_image
from bootcfleet.ops.lab import Lab, LabHost
from tests.cli.test_fleet import CREATED, Rig

#: Fault → the rule that finds it, what it leads to, and the fault that a refusal has.
FOUND: dict[Fault, tuple[str, str, str | None]] = {
    Fault.UNREACHABLE: ("reach", "refuse", "unreachable"),
    Fault.HOST_KEY_CHANGED: ("reach", "refuse", "host-key-changed"),
    Fault.SUDO_REFUSED: ("reach", "refuse", "sudo-refused"),
    Fault.NO_BOOTC: ("bootc", "refuse", "no-bootc"),
    Fault.NOT_BOOTC: ("bootc", "refuse", "not-bootc-booted"),
    Fault.NOT_ROOT: ("bootc", "refuse", "not-root"),
    Fault.GARBAGE_OUTPUT: ("bootc", "refuse", "garbage-output"),
    Fault.DISK_FULL: ("space", "refuse", "no-space"),
    Fault.REGISTRY_REFUSES: ("registry", "refuse", "registry-refused"),
    Fault.LAYERED_PACKAGES: ("layered-packages", "refuse", "incompatible"),
    Fault.LOCKED_BY_OTHER: ("locked", "refuse", "locked"),
    Fault.REJECTS_IMAGES: ("signature-policy", "refuse", "untrusted"),
    Fault.CLOCK_SKEW: ("clock", "refuse", "clock-skew"),
    Fault.USR_UNLOCKED: ("usr-unlocked", "confirm", None),
    Fault.HEALTH_FAILS: ("system", "warn", None),
    Fault.TIMER_ACTIVE: ("update-timer", "warn", None),
    Fault.PINNED: ("pinned-deployments", "warn", None),
    Fault.STAGED_BY_OTHER: ("staged", "warn", None),
}


@pytest.fixture
def rig(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Rig:
    """A lab with a host for each fault, and one that is well."""
    rig = Rig(lab, capsys)
    rig.publish("1.0")
    lab.start_hosts(
        [LabHost(name, rig.image, {}) for name in ("well", *map(str, FOUND))], image=rig.image
    )
    return rig


def broken(rig: Rig) -> None:
    for fault in FOUND:
        rig.lab.break_host(fault, "clock-skew=900" if fault is Fault.CLOCK_SKEW else fault)


def test_each_fault_is_found_before_anything_is_done(rig: Rig) -> None:
    rig.publish("1.1")
    broken(rig)
    answer = json.loads(rig("preflight", "--json", ends=3)[0])
    hosts = {host["host"]: host for host in answer["hosts"]}
    for fault, (rule, severity, word) in FOUND.items():
        found = hosts[fault]["findings"]
        assert found, fault
        assert (found[0]["rule"], found[0]["severity"], found[0]["fault"]) == (rule, severity, word)
        expected = {"refuse": "refused", "confirm": "confirm", "warn": "warned"}[severity]
        assert hosts[fault]["result"] == expected
    well = hosts["well"]
    assert (well["result"], well["findings"]) == ("ready", [])
    assert well["reference"] == rig.image
    assert 0 < well["download"] < 10_000
    assert well["download_exact"]
    assert well["facts"]["registry"]["tool"] == "skopeo"
    asked = answer["confirmations"]
    assert [(one["rule"], one["hosts"]) for one in asked] == [("usr-unlocked", ["usr-unlocked"])]
    out, _ = rig("preflight", ends=3)
    header, *rows = out.splitlines()
    assert header.split() == ["HOST", "RESULT", "TO", "DOWNLOAD", "FREE"]
    assert rows[0].split()[:3] == ["well", "ready", rig.image]
    assert "refused: locked-by-other: is locked: rollout another-rollout of somebody@" in out
    assert "  look with `rpm-ostree status` there" in out
    assert "to confirm: usr-unlocked: has its /usr unlocked" in out
    assert "warning: timer-active: updates itself" in out
    assert {host.reboots for host in rig.lab.hosts.values()} == {0}


def test_hosts_that_are_there_already(rig: Rig) -> None:
    answer = json.loads(rig("preflight", "--json", "well")[0])
    assert answer["hosts"][0]["result"] == "unchanged"
    rig.lab.break_host("well", "disk-full")
    assert json.loads(rig("preflight", "--json", "well")[0])["hosts"][0]["findings"] == []


def test_a_switch_to_another_release(rig: Rig) -> None:
    rig.lab.hosts["well"].system.os_version = "9.6"
    labels = {"redhat.id": "lab", "redhat.version-id": "10.0"}
    push_image(
        rig.lab.registry_address,
        "acme/next",
        "prod",
        version="2.0",
        files={"next": b"x" * 1000},
        created=CREATED,
        labels=labels,
    )
    image = f"{rig.lab.registry_address}/acme/next:prod"
    out, _ = rig("preflight", "--image", image, "well")
    assert "to confirm: well: goes from lab 9.6 to lab 10.0: another major release" in out
    assert image in out


def test_hosts_may_leave_their_registry_alone(rig: Rig) -> None:
    rig.publish("1.1")
    rig.lab.break_host("well", "registry-refuses")
    rig("preflight", "well", ends=3)
    answer = json.loads(rig("preflight", "--no-registry", "--json", "well")[0])
    assert answer["hosts"][0]["facts"]["registry"] is None


def test_a_registry_that_does_not_answer_here(rig: Rig) -> None:
    rig.lab.registry.refuse("acme/web", 503)
    out, _ = rig("preflight", "--no-registry", "well", ends=1)
    assert "not known: " in out


def test_facts(rig: Rig) -> None:
    rig.lab.hosts["well"].system.zone = "Europe/Amsterdam"
    rig.lab.break_host("unreachable", "unreachable")
    rig.lab.break_host("no-bootc", "no-bootc")
    answer: list[dict[str, Any]] = json.loads(rig("facts", "--json", ends=1)[0])
    facts = {one["host"]: one for one in answer}
    well = facts["well"]
    assert (well["version"], well["time_zone"], well["architecture"]) == (
        "1.0",
        "Europe/Amsterdam",
        "amd64",
    )
    assert well["signature_policy"] == "accept-anything"
    assert 86000 < well["uptime"] < 90000
    assert facts["unreachable"]["error"]["fault"] == "unreachable"
    # A host without bootc still tells what it is.
    assert facts["no-bootc"]["error"]["fault"] == "no-bootc"
    assert facts["no-bootc"]["kernel"] == "6.12.0-lab.x86_64"
    out, _ = rig("facts", "well", "no-bootc", ends=1)
    assert "well      Lab Linux 1.0  6.12.0-lab.x86_64  1.16.9" in out
    assert "1 d" in out.splitlines()[1]
    assert "! " in out.splitlines()[2]
    rows = list(csv.DictReader(io.StringIO(rig("facts", "--csv", "well", "pinned")[0])))
    assert tuple(rows[0]) == COLUMNS
    assert [row["host"] for row in rows] == ["well", "pinned"]
    assert rows[0]["os_version"] == "1.0"
    _, err = rig("facts", "--csv", "--json", ends=2)
    assert "choose one" in err
