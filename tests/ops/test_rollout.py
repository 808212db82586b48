"""Rollouts on machines in memory: what each host ends as, and what it was made to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bootcfleet.domain.event import Event
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.policy import HealthCheck
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.domain.rollout import HostPhase, Operation, Rollout
from bootcfleet.domain.rollout_policy import Budgets, RolloutPolicy, Timeouts
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.rollout_plan import Plan, plan_rollout
from bootcfleet.ops.rollout_record import carry_out, raise_if_halted
from tests.machines import BAD, NEW, OLD, OTHER, Machine, said

FULL_REBOOT = "env SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1 systemctl reboot"
AMD = Platform("linux", "amd64")


def resolver(digest: str = NEW, platforms: Mapping[Platform, str] | None = None):  # type: ignore[no-untyped-def]
    def resolve(ref: ImageRef) -> Resolved:
        own = {p: Digest(d) for p, d in (platforms or {AMD: digest}).items()}
        return Resolved(ref, Digest(digest), own, "1.1")

    return resolve


class World:
    """Machines, a fleet over them, and what was recorded and said."""

    def __init__(self, *machines: Machine, checks: tuple[HealthCheck, ...] = ()) -> None:
        self.machines = {machine.name: machine for machine in machines}
        hosts = [Host(name, checks=checks) for name in self.machines]
        self.fleet = Fleet(hosts, lambda host: self.machines[host.name])
        self.events: list[Event] = []
        self.records: list[tuple[str, str, str]] = []
        self.now = 0.0

    def record(
        self,
        action: str,
        subject: str,
        outcome: str,
        *,
        digests: Mapping[str, str],
        details: Mapping[str, Any],
    ) -> None:
        self.records.append((action, subject, outcome))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def plan(
        self, operation: Operation = Operation.UPGRADE, digest: str = NEW, **options: Any
    ) -> Plan:
        policy = RolloutPolicy(
            canary=options.pop("canary", None),
            batch=Limit(100, percent=True),
            budgets=Budgets(max_failures=Limit(options.pop("max_failures", 0))),
            timeouts=Timeouts(boot=60, settle=10),
        )
        resolve = options.pop("resolve", None) or resolver(digest)
        return plan_rollout(
            self.fleet, operation, policy, rollout_id="r1", resolve=resolve, **options
        )

    def run(self, plan: Plan) -> Rollout:
        return carry_out(
            plan,
            self.fleet,
            record=self.record,
            emit=self.events.append,
            parallel=8,
            sleep=self.sleep,
            monotonic=lambda: self.now,
        )

    def upgrade(self, **options: Any) -> dict[str, HostPhase]:
        end = self.run(self.plan(**options))
        return {host: end.state(host).phase for host in (*end.targets, *end.states)}


def test_an_upgrade_stages_reboots_once_and_verifies() -> None:
    world = World(Machine("a"), Machine("b"))
    assert world.upgrade() == {"a": HostPhase.UPDATED, "b": HostPhase.UPDATED}
    for machine in world.machines.values():
        assert machine.booted == NEW
        assert machine.reboots == 1
        assert [line for line in machine.log if "apply" in line] == []
        assert machine.log.index("bootc upgrade") < machine.log.index(FULL_REBOOT)
    assert world.records[0] == ("fleet.upgrade", "r1", "started")
    assert world.records[-1] == ("fleet.upgrade", "r1", "done")
    assert ("fleet.upgrade.host", "a", "updated") in world.records


def test_a_host_that_runs_it_already_is_not_touched() -> None:
    world = World(Machine("a", booted=NEW), Machine("b"))
    plan = world.plan()
    assert plan.moving == ("b",)
    assert plan.rollout.state("a").phase is HostPhase.UNCHANGED
    world.run(plan)
    assert world.machines["a"].reboots == 0


def test_what_is_staged_already_is_only_booted() -> None:
    world = World(Machine("a", staged=NEW))
    assert world.upgrade() == {"a": HostPhase.UPDATED}
    assert "bootc upgrade" not in world.machines["a"].log


def test_a_tag_that_moved_since_the_plan_stops_the_host_before_its_reboot() -> None:
    world = World(Machine("a", tag=OTHER))
    plan = world.plan()
    end = world.run(plan)
    assert end.state("a").phase is HostPhase.FAILED
    assert end.state("a").fault is HostFault.WRONG_DIGEST
    assert world.machines["a"].reboots == 0


def test_a_sick_host_goes_back_and_the_rest_is_left_alone() -> None:
    world = World(*(Machine(name, tag=BAD) for name in "abc"))
    end = world.run(world.plan(digest=BAD, canary=Limit(1)))
    assert end.state("a").phase is HostPhase.ROLLED_BACK
    assert "web.service" in end.state("a").message
    assert world.machines["a"].booted == OLD
    assert world.machines["a"].reboots == 2
    assert {end.state(h).phase for h in "bc"} == {HostPhase.SKIPPED}
    assert world.machines["b"].reboots == 0
    with pytest.raises(Exception, match="canary a failed") as caught:
        raise_if_halted(end)
    assert caught.value.exit_code == 4  # type: ignore[attr-defined]


def test_a_host_that_comes_back_on_its_old_deployment_is_not_updated() -> None:
    world = World(Machine("a", comes_back_old=True))
    end = world.run(world.plan())
    assert end.state("a").fault is HostFault.CAME_BACK_OLD


def test_a_host_that_does_not_come_back() -> None:
    world = World(Machine("a", never_returns=True), Machine("b"))
    end = world.run(world.plan(max_failures=1))
    assert end.state("a").fault is HostFault.DID_NOT_RETURN
    assert end.state("b").phase is HostPhase.UPDATED
    assert world.now >= 60


@pytest.mark.parametrize(
    ("text", "code", "fault"),
    [
        ("error: Upgrading: No space left on device", 1, HostFault.NO_SPACE),
        ("error: ... manifest unknown", 1, HostFault.IMAGE_NOT_FOUND),
        ("error: ... 401 Unauthorized", 1, HostFault.REGISTRY_REFUSED),
        ("error: something new", 1, HostFault.COMMAND_FAILED),
    ],
)
def test_a_failure_to_stage_names_its_cause(text: str, code: int, fault: HostFault) -> None:
    machine = Machine("a", fail={"bootc upgrade": lambda: said("", text, code)})
    world = World(machine, Machine("b"))
    end = world.run(world.plan(max_failures=1))
    assert end.state("a").fault is fault
    assert machine.reboots == 0
    assert end.state("b").phase is HostPhase.UPDATED


def test_a_connection_lost_while_staging_is_a_failure_of_that_host_only() -> None:
    def cut() -> Any:
        raise HostError("a", HostFault.CONNECTION_LOST, "cut")

    world = World(Machine("a", fail={"bootc upgrade": cut}), Machine("b"))
    assert world.upgrade(max_failures=1) == {"a": HostPhase.FAILED, "b": HostPhase.UPDATED}


def test_the_hosts_own_checks_decide() -> None:
    check = HealthCheck("http", ("probe",), retries=2, interval=1)
    world = World(Machine("a"), checks=(check,))
    end = world.run(world.plan())
    assert end.state("a").phase is HostPhase.ROLLED_BACK
    assert "check 'http' failed: exit code 127" in end.state("a").message
    assert world.machines["a"].log.count("probe") == 3


def test_a_host_that_was_degraded_before_may_be_so_after() -> None:
    world = World(Machine("a", sick_on=frozenset({OLD, NEW})))
    assert world.upgrade() == {"a": HostPhase.UPDATED}


def test_an_unreachable_host_is_refused_and_hides_nobody() -> None:
    world = World(Machine("a", down=1, never_returns=True), Machine("b"))
    plan = world.plan()
    assert plan.rollout.state("a").phase is HostPhase.REFUSED
    assert world.run(plan).state("b").phase is HostPhase.UPDATED


def test_an_image_without_the_hosts_platform_is_refused() -> None:
    resolve = resolver(NEW, {Platform("linux", "arm64"): OTHER})
    plan = World(Machine("a")).plan(resolve=resolve)
    assert "no image for it (it has linux/arm64)" in plan.rollout.state("a").message


def test_the_platforms_own_manifest_counts() -> None:
    world = World(Machine("a"))
    assert world.upgrade(resolve=resolver(OTHER, {AMD: NEW})) == {"a": HostPhase.UPDATED}


def test_an_upgrade_of_a_host_pinned_by_digest_is_refused() -> None:
    plan = World(Machine("a", reference=f"r.example/acme/web@{OLD}")).plan()
    assert "pinned by digest" in plan.rollout.state("a").message


def test_a_switch_follows_the_new_reference() -> None:
    world = World(Machine("a"))
    image = ImageRef.parse("r.example/acme/db:1")
    assert world.upgrade(operation=Operation.SWITCH, image=image) == {"a": HostPhase.UPDATED}
    assert "bootc switch r.example/acme/db:1" in world.machines["a"].log


def test_a_rollback_returns_to_the_rollback_slot() -> None:
    world = World(Machine("a", booted=NEW, rollback=OLD, staged=OTHER), Machine("b"))
    plan = world.plan(operation=Operation.ROLLBACK)
    assert "discards the staged" in plan.rollout.targets["a"].reason
    assert plan.rollout.state("b").message == "has no rollback deployment"
    end = world.run(plan)
    assert end.state("a").phase is HostPhase.UPDATED
    assert world.machines["a"].booted == OLD


def test_a_rollback_that_is_queued_is_not_toggled() -> None:
    world = World(Machine("a", booted=NEW, rollback=OLD, queued=True))
    world.upgrade(operation=Operation.ROLLBACK)
    assert "bootc rollback" not in world.machines["a"].log
    assert world.machines["a"].booted == OLD


def test_a_reboot_does_not_boot_a_staged_update_by_accident() -> None:
    world = World(Machine("a", staged=NEW))
    assert "--apply-staged" in world.plan(operation=Operation.REBOOT).rollout.state("a").message
    plan = world.plan(operation=Operation.REBOOT, apply_staged=True)
    assert world.run(plan).state("a").phase is HostPhase.UPDATED
    assert world.machines["a"].booted == NEW


def test_an_interrupted_rollout_is_recorded_and_stops() -> None:
    world = World(*(Machine(name) for name in "abc"))
    plan = world.plan(canary=Limit(1))

    def interrupt(event: Event) -> None:
        if event.kind == "host.updated":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(
            plan,
            world.fleet,
            record=world.record,
            emit=interrupt,
            parallel=8,
            sleep=world.sleep,
            monotonic=lambda: world.now,
        )
    assert world.records[-1] == ("fleet.upgrade", "r1", "interrupted")
    assert ("fleet.upgrade.host", "b", "pending") in world.records
    assert world.machines["b"].reboots == 0
