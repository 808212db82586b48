"""The lab in this process: its hosts over real SSH, by our executor and by OpenSSH's own client."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.connect import over_ssh
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.lab import Lab
from tests.tools import need


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        lab.start_hosts(2, image=lab.seed(), boot_seconds=0.1, sudo_password="lab")
        yield lab


def fleet_of(lab: Lab, password: str) -> Fleet:
    inventory = load_inventory(lab.inventory_path, LocalExecutor())
    return over_ssh(inventory.hosts, lambda question: password)


def test_sudo_with_a_password_that_is_asked_for(lab: Lab) -> None:
    fleet = fleet_of(lab, "lab")
    try:
        assert fleet.bootc("host1").facts().version == "1.16.9"
        assert fleet.executor("host1").run(["id", "-u"], as_root=True).stdout == "0\n"
        echoed = fleet.executor("host1").run(["cat"], stdin=b"data", as_root=True)
        assert echoed.stdout == "data"
    finally:
        fleet.close()


def test_a_wrong_password_is_refused(lab: Lab) -> None:
    fleet = fleet_of(lab, "wrong")
    try:
        with pytest.raises(HostError) as caught:
            fleet.bootc("host1").facts()
        assert caught.value.fault is HostFault.SUDO_REFUSED
        assert "wrong" not in caught.value.message
    finally:
        fleet.close()


def test_a_held_lock_is_told_from_a_time_out(lab: Lab) -> None:
    fleet = fleet_of(lab, "lab")
    lab.break_host("host1", "lock-held")
    try:
        bootc = fleet.bootc("host1")
        bootc._timeout = 1.0
        with pytest.raises(HostError) as caught:
            bootc.facts()
        assert caught.value.fault is HostFault.LOCK_HELD
        assert caught.value.transient
        lab.heal("host1")
        assert bootc.facts().status.booted is not None
    finally:
        fleet.close()


def test_openssh_itself_gets_the_same_answers(lab: Lab) -> None:
    ssh = [
        need("ssh"), "-F", "/dev/null", "-i", str(lab.identity_path), "-p", str(lab.ports["host1"]),
        "-o", f"UserKnownHostsFile={lab.known_hosts_path}", "-o", "StrictHostKeyChecking=yes",
        "-o", "BatchMode=yes", "root@127.0.0.1",
    ]  # fmt: skip

    def call(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*ssh, command], capture_output=True, text=True, check=False)

    status = call("bootc status --format=json")
    assert status.returncode == 0
    assert not status.stdout.endswith("\n")  # as bootc's canonical JSON
    assert call("bootc status --nonsense").returncode == 2
    assert call("bootc rollback").stderr == "error: Rolling back: No rollback available\n"
    before = call("cat /proc/sys/kernel/random/boot_id").stdout
    assert call("systemctl reboot").returncode == 255  # the connection goes down with the host
    lab.hosts["host1"]._up_at = 0.0
    assert call("cat /proc/sys/kernel/random/boot_id").stdout != before
