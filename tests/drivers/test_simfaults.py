"""The lab's faults that show after a command or a reboot: by our driver over SSH, and told apart.

Each host is looked at as a rollout does: observed, staged, observed, rebooted, observed, and its
evidence gathered.  What the host itself wrote down is compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.faults import Fault
from bootcfleet.domain.hostevidence import GreenbootVerdict, HostEvidence
from bootcfleet.domain.outcome import explain
from bootcfleet.domain.rollout import Observation, Target
from bootcfleet.drivers.bootc import BootcHost
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.hostevidence import gather_evidence
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.simhost import SimHost
from bootcfleet.drivers.simrecord import What, away
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.connect import over_ssh
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.lab import Lab

#: The faults that this module tests.
TESTED = {
    Fault.GREENBOOT_ROLLS_BACK,
    Fault.FINALIZE_FAILS,
    Fault.BOOT_FALLS_BACK,
    Fault.COMES_BACK_NEITHER,
    Fault.OTHER_ADMIN_STAGES,
    Fault.TIMER_MOVES,
    Fault.REGISTRY_5XX,
    Fault.RATE_LIMITED,
    Fault.SLOW_PULL,
    Fault.LOCK_HELD_FOR,
}


class Rig:
    """One lab host, the driver that speaks to it, and what a rollout would know of it."""

    def __init__(self, lab: Lab, fleet: Fleet) -> None:
        self.lab, self.fleet = lab, fleet
        self.host: SimHost = lab.hosts["host1"]
        self.bootc: BootcHost = fleet.bootc("host1")
        self.old = str(self.host.booted.image.digest)
        self.target: Target | None = None
        self.before: Observation | None = None

    def publish(self, version: str) -> str:
        return push_image(
            self.lab.registry_address,
            "lab/web",
            "stable",
            version=version,
            files={"usr/share/lab/version": version.encode()},
            created=datetime.now(UTC),
        )

    def plan(self, version: str = "2.0") -> None:
        digest = str(self.publish(version))
        reference = self.host.booted.reference
        boot = self.bootc.boot_id()
        self.target = Target("host1", reference, frozenset({digest}), self.old, boot, "test")

    def observe(self) -> Observation:
        facts = self.bootc.facts()
        status = facts.status
        return Observation(
            boot_id=facts.boot_id,
            booted=status.booted.digest if status.booted else None,
            staged=status.staged.digest if status.staged else None,
            rollback=status.rollback.digest if status.rollback else None,
            rollback_queued=status.rollback_queued,
            download_only=bool(status.staged and status.staged.download_only),
        )

    def stage(self) -> None:
        self.bootc.stage_upgrade()
        self.before = self.observe()

    def reboot(self) -> Observation:
        before = self.bootc.boot_id()
        self.bootc.reboot()
        self.bootc.wait_for_boot(before, 20, sleep=time.sleep, monotonic=time.monotonic)
        return self.observe()

    def evidence(self) -> HostEvidence:
        return gather_evidence(self.fleet.executor("host1"), "host1", previous_boot=True)

    def outcome(self, seen: Observation | None) -> tuple[HostFault | None, str]:
        assert self.target is not None
        return explain(self.target, self.before, seen, self.evidence())

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.05)

    def whats(self) -> list[What]:
        return [entry.what for entry in self.host.history]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        lab.start_hosts(1, image=lab.seed(), boot_seconds=0.4)
        inventory = load_inventory(lab.inventory_path, LocalExecutor())
        fleet = over_ssh(inventory.hosts, lambda _: "")
        try:
            yield Rig(lab, fleet)
        finally:
            fleet.close()


def test_a_host_writes_down_what_happens_to_it(rig: Rig) -> None:
    rig.plan()
    rig.stage()
    rig.reboot()
    rig.bootc.queue_rollback()
    rig.reboot()
    run = rig.fleet.executor("host1").run
    assert run(["drain"]).ok
    assert run(["/usr/local/bin/undrain"]).ok
    assert rig.whats() == [
        What.BOOTED, What.STAGED, What.DOWN, What.UP, What.BOOTED,
        What.ROLLBACK_QUEUED, What.DOWN, What.UP, What.BOOTED, What.DRAINED, What.UNDRAINED,
    ]  # fmt: skip
    history = rig.host.history
    assert rig.target is not None
    assert [e.detail for e in history if e.what is What.BOOTED] == [
        rig.old, *rig.target.accepted, rig.old,
    ]  # fmt: skip
    times = away(history)
    assert len(times) == 2
    assert all(until - since >= 0.39 for since, until in times)
    assert times[0][1] <= times[1][0] <= time.monotonic()
    shown = rig.lab.status()[0]["history"]
    assert [entry["what"] for entry in shown] == [str(what) for what in rig.whats()]
    assert shown[0].keys() == {"at", "monotonic", "what", "detail"}


def test_a_host_that_does_not_come_back_is_away_until_it_is_healed(rig: Rig) -> None:
    rig.plan()
    rig.stage()
    rig.lab.break_host("host1", "does-not-return")
    rig.bootc.reboot()
    rig.until(lambda: rig.host.reboots == 1)
    assert away(rig.host.history)[-1][1] == float("inf")
    assert rig.outcome(None)[0] is HostFault.DID_NOT_RETURN
    assert "could not be asked" in rig.evidence().notes[0]
    rig.lab.heal("host1")
    assert away(rig.host.history)[-1][1] < time.monotonic()
    assert rig.outcome(rig.observe())[0] is None


def test_as_planned(rig: Rig) -> None:
    rig.plan()
    rig.stage()
    seen = rig.reboot()
    assert rig.outcome(seen)[0] is None
    evidence = rig.evidence()
    assert evidence.system_state == "running"
    assert evidence.boot_id == seen.boot_id
    assert evidence.greenboot is GreenbootVerdict.ABSENT
    assert len(evidence.boots) == 2
    assert evidence.slots == {"booted": seen.booted, "rollback": rig.old}
    assert evidence.notes == ()


def test_greenboot_rolls_back_by_itself(rig: Rig) -> None:
    rig.plan()
    rig.stage()
    rig.lab.break_host("host1", "greenboot-rolls-back")
    rig.reboot()
    rig.until(lambda: rig.host.reboots == 2 and rig.host.up)
    assert rig.target is not None
    booted = [entry.detail for entry in rig.host.history if entry.what is What.BOOTED]
    assert booted == [rig.old, *rig.target.accepted, rig.old], "at first it ran the new one"
    seen = rig.observe()
    fault, message = rig.outcome(seen)
    assert fault is HostFault.GREENBOOT
    assert "01-web.sh failed" in message
    assert seen.booted == rig.old
    assert seen.rollback in rig.target.accepted
    assert not seen.rollback_queued
    assert rig.evidence().greenboot is GreenbootVerdict.ROLLED_BACK
    assert rig.whats().count(What.DOWN) == 2
    # What it went back to is not checked away.
    rig.reboot()
    assert rig.host.reboots == 3
    assert rig.observe().booted == rig.old


def test_systemd_starts_while_greenboot_checks(rig: Rig) -> None:
    rig.host.greenboot_seconds = 30.0
    rig.plan()
    rig.stage()
    rig.lab.break_host("host1", "greenboot-rolls-back")
    rig.reboot()
    assert rig.bootc.system_running().state == "starting"
    rig.lab.heal("host1")


def test_a_finalisation_that_fails(rig: Rig) -> None:
    rig.plan()
    rig.stage()
    rig.lab.break_host("host1", "finalize-fails")
    seen = rig.reboot()
    fault, message = rig.outcome(seen)
    assert fault is HostFault.FINALIZE_FAILED
    assert "grub2-mkconfig" in message
    assert (seen.booted, seen.staged, seen.rollback) == (rig.old, None, None)
    evidence = rig.evidence()
    assert evidence.failed_units == ("ostree-boot-complete.service",)
    assert rig.bootc.system_running().state == "degraded"
    # The next boot has forgotten it.
    rig.lab.heal("host1")
    rig.stage()
    assert rig.outcome(rig.reboot())[0] is None
    assert rig.bootc.system_running().state == "running"


def test_a_boot_loader_that_falls_back(rig: Rig) -> None:
    rig.plan()
    rig.stage()
    rig.lab.break_host("host1", "boot-falls-back")
    seen = rig.reboot()
    assert rig.outcome(seen)[0] is HostFault.BOOT_FELL_BACK
    rig.lab.heal("host1")
    assert rig.outcome(rig.reboot())[0] is None, "the next reboot tries it again"


def test_a_deployment_that_nobody_planned(rig: Rig) -> None:
    rig.plan()
    rig.stage()
    rig.lab.break_host("host1", "comes-back-neither")
    seen = rig.reboot()
    assert rig.outcome(seen)[0] is HostFault.CAME_BACK_NEITHER
    assert seen.rollback == rig.old


def test_somebody_else_stages_once_ours_was_seen(rig: Rig) -> None:
    rig.plan()
    rig.lab.break_host("host1", "other-admin-stages")
    rig.stage()
    assert rig.target is not None
    assert rig.before is not None
    assert rig.before.staged in rig.target.accepted
    seen = rig.observe()
    assert rig.outcome(seen)[0] is HostFault.REPLACED
    assert rig.observe() == seen, "once is enough"
    # A controller that does not look again boots what nobody planned.
    assert rig.outcome(rig.reboot())[0] is HostFault.CAME_BACK_NEITHER
    assert any(entry.detail.endswith(" by another") for entry in rig.host.history)


def test_bootcs_timer_moves_the_host(rig: Rig) -> None:
    rig.plan()
    rig.lab.break_host("host1", "timer-moves")
    rig.until(lambda: rig.host.reboots == 1 and rig.host.up)
    assert rig.outcome(rig.observe())[0] is None, "to what was planned, as it happens"
    later = str(rig.publish("3.0"))
    rig.until(lambda: rig.host.reboots == 2 and rig.host.up)
    seen = rig.observe()
    assert rig.outcome(seen)[0] is HostFault.CAME_BACK_NEITHER
    assert rig.target is not None
    fault, _ = explain(rig.target, rig.before, seen, resolved_now={later})
    assert fault is HostFault.TAG_MOVED
    rig.lab.heal("host1")
    assert not rig.host.timer.active


def test_a_timer_that_is_inhibited_does_not_move_the_host(rig: Rig) -> None:
    rig.lab.break_host("host1", "timer-moves")
    timer = "bootc-fetch-apply-updates.timer"
    run = rig.fleet.executor("host1").run
    assert run(["systemctl", "mask", "--runtime", "--now", timer], as_root=True).ok
    rig.publish("2.0")
    time.sleep(1.2)
    assert rig.host.reboots == 0


@pytest.mark.parametrize(("fault", "words"), [("registry-5xx=2", "503"), ("rate-limited=2", "429")])
def test_a_registry_that_answers_again_after_a_while(rig: Rig, fault: str, words: str) -> None:
    rig.plan()
    rig.lab.break_host("host1", fault)
    for _ in range(2):
        with pytest.raises(HostError) as caught:
            rig.bootc.stage_upgrade()
        assert caught.value.fault is HostFault.REGISTRY
        assert caught.value.transient
        assert words in caught.value.message
    rig.stage()
    assert rig.lab.status()[0]["faults"] == [], "it is spent"


def test_a_slow_pull(rig: Rig) -> None:
    rig.plan()
    rig.lab.break_host("host1", "slow-pull=1")
    started = time.monotonic()
    rig.stage()
    assert time.monotonic() - started >= 1


def test_a_lock_that_is_held_for_a_while(rig: Rig) -> None:
    rig.lab.break_host("host1", "lock-held-for=2")
    rig.bootc._timeout = 0.5
    with pytest.raises(HostError) as caught:
        rig.bootc.facts()
    assert caught.value.fault is HostFault.LOCK_HELD
    assert "rpm-ostree upgrade" in caught.value.message
    rig.bootc._timeout = 30
    rig.bootc.facts()
