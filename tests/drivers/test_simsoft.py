"""Soft reboots, held-back downloads and progress on the lab's hosts, by our driver over SSH."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.abilities import Abilities
from bootcfleet.domain.bootcprogress import DownloadProgress
from bootcfleet.drivers.bootc import BootcHost, HostFacts
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.labimage import push_image
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.connect import over_ssh
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.lab import Lab

EVERY = Abilities.of("1.16.9")


class Rig:
    """One lab host, and the driver that speaks to it."""

    def __init__(self, lab: Lab, fleet: Fleet) -> None:
        self.lab = lab
        self.host = lab.hosts["host1"]
        self.bootc: BootcHost = fleet.bootc("host1")
        self.fleet = fleet

    def publish(self, version: str) -> None:
        push_image(
            self.lab.registry_address,
            "lab/web",
            "stable",
            version=version,
            files={"usr/share/lab/version": version.encode()},
            created=datetime.now(UTC),
        )

    def reboot(self, *, soft: bool = False) -> HostFacts:
        before = self.bootc.boot_id()
        self.bootc.reboot(soft=soft)
        return self.bootc.wait_for_boot(
            before, 20, sleep=time.sleep, monotonic=time.monotonic, soft=soft
        )

    def version(self) -> str | None:
        booted = self.bootc.status().booted
        return booted.version if booted else None


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        lab.start_hosts(1, image=lab.seed(), boot_seconds=0.3)
        inventory = load_inventory(lab.inventory_path, LocalExecutor())
        fleet = over_ssh(inventory.hosts, lambda _: "")
        try:
            yield Rig(lab, fleet)
        finally:
            fleet.close()


def test_a_soft_reboot_boots_what_was_prepared_under_the_same_kernel(rig: Rig) -> None:
    rig.host.soft_reboot_capable = True
    rig.publish("2.0")
    before = rig.bootc.facts()
    rig.bootc.stage_upgrade(abilities=EVERY, soft_reboot=True)
    staged = rig.bootc.status().staged
    assert staged is not None
    assert staged.soft_reboot_capable
    facts = rig.reboot(soft=True)
    assert facts.boot_id == f"{before.boot_id}+1"
    assert facts.boot_time == before.boot_time, "the kernel was not booted"
    assert facts.status.booted is not None
    assert facts.status.booted.version == "2.0"
    # And back again, softly; then a full one.
    rig.bootc.queue_rollback(soft_reboot=True)
    assert rig.reboot(soft=True).boot_id == f"{before.boot_id}+2"
    assert rig.version() == "1.0"
    assert "+" not in rig.reboot().boot_id
    assert rig.host.reboots == 3


def test_a_full_reboot_is_one_even_where_a_soft_one_is_prepared(rig: Rig) -> None:
    rig.host.soft_reboot_capable = True
    rig.publish("2.0")
    before = rig.bootc.boot_id()
    rig.bootc.stage_upgrade(abilities=EVERY, soft_reboot=True)
    facts = rig.reboot()
    assert facts.boot_id.partition("+")[0] != before
    assert rig.version() == "2.0"


def test_systemd_takes_a_prepared_soft_reboot_for_a_plain_one(rig: Rig) -> None:
    rig.host.soft_reboot_capable = True
    rig.publish("2.0")
    before = rig.bootc.boot_id()
    rig.bootc.stage_upgrade(abilities=EVERY, soft_reboot=True)
    with pytest.raises(HostError):
        rig.fleet.executor("host1").run(["systemctl", "reboot"], as_root=True, timeout=10)
    facts = rig.bootc.wait_for_boot(before, 20, sleep=time.sleep, monotonic=time.monotonic)
    assert facts.boot_id == f"{before}+1"
    assert rig.version() == "2.0"


def test_a_host_with_another_kernel_cannot_be_rebooted_softly(rig: Rig) -> None:
    rig.publish("2.0")
    rig.bootc.stage_upgrade(abilities=EVERY, soft_reboot=True)
    run = rig.fleet.executor("host1").run
    refused = run(["bootc", "upgrade", "--soft-reboot=required"], as_root=True)
    assert refused.exit_code == 1
    assert "deployment is not soft-reboot capable" in refused.stderr
    # Restarting userspace does not boot it, but makes it the next boot's.
    rig.reboot(soft=True)
    assert rig.version() == "1.0"
    assert rig.bootc.status().rollback_queued
    rig.reboot()
    assert rig.version() == "2.0"


def test_a_download_that_is_held_back_is_not_booted(rig: Rig) -> None:
    rig.publish("2.0")
    rig.bootc.stage_upgrade(abilities=EVERY, download_only=True)
    staged = rig.bootc.status().staged
    assert staged is not None
    assert staged.download_only
    facts = rig.reboot()
    assert rig.version() == "1.0"
    assert facts.status.staged is None
    rig.bootc.stage_upgrade(abilities=EVERY, download_only=True)
    rig.bootc.finish_download()
    rig.bootc.finish_download()
    status = rig.bootc.status()
    assert status.staged is not None
    assert not status.staged.download_only
    rig.reboot()
    assert rig.version() == "2.0"


def test_nothing_downloaded_cannot_be_finished(rig: Rig) -> None:
    with pytest.raises(HostError) as caught:
        rig.bootc.finish_download()
    assert caught.value.message == "bootc upgrade failed: Upgrading: No staged deployment found"


def test_an_ordinary_upgrade_releases_what_was_held_back_and_holds_it_again(rig: Rig) -> None:
    rig.publish("2.0")
    run = rig.fleet.executor("host1").run
    said = [
        run(["bootc", "upgrade", *options], as_root=True).stdout.splitlines()[-1]
        for options in (["--download-only"], [], ["--download-only"], ["--download-only"])
    ]
    assert said[0].startswith("  Digest: sha256:"), "the first says what any staging says"
    assert said[1:] == [
        "Staged deployment will now be applied on reboot",
        "Image downloaded, but will not be applied on reboot",
        "Staged update present, not changed",
    ]


def test_progress_comes_while_the_host_downloads(rig: Rig) -> None:
    rig.host.pull_seconds = 1.0
    rig.publish("2.0")
    told: list[tuple[float, DownloadProgress]] = []
    rig.bootc.stage_upgrade(
        abilities=EVERY, on_progress=lambda report: told.append((time.monotonic(), report))
    )
    ended = time.monotonic()
    tasks = [report.task for _, report in told]
    assert list(dict.fromkeys(tasks)) == ["pulling", "importing", "staging"]
    assert len(told) >= 4
    assert ended - told[0][0] > 0.5, "it was told on the way and not at the end"
    assert told[-1][1].finished
    assert rig.bootc.status().staged is not None


def test_a_failure_is_the_same_with_progress(rig: Rig) -> None:
    rig.publish("2.0")
    rig.lab.break_host("host1", "disk-full")
    with pytest.raises(HostError) as caught:
        rig.bootc.stage_upgrade(abilities=EVERY, on_progress=lambda _: None)
    assert caught.value.fault is HostFault.NO_SPACE
    assert "No space left on device" in caught.value.message


def test_a_second_bootc_waits_for_the_first(rig: Rig) -> None:
    rig.host.pull_seconds = 30
    rig.publish("2.0")
    with pytest.raises(HostError) as caught:
        rig.bootc.stage_upgrade(abilities=EVERY, timeout=1)
    assert caught.value.fault is HostFault.TIMEOUT
    rig.bootc._timeout = 1
    with pytest.raises(HostError) as caught:
        rig.bootc.facts()
    assert caught.value.fault is HostFault.LOCK_HELD
