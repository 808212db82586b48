"""What a rollout asks of one host: each command is a round trip, and work on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import Operation
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.drivers import bootc, bootcprogress, bootmarker, hostlock, hostprobe, updatetimer
from bootcfleet.drivers.command import CommandResult
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.fleet import Fleet
from tests.simfleet import QUICK, TRIES, SimExecutor, SimFleet

POLICY = RolloutPolicy(
    canary=None, batch=Limit(100, percent=True), bake=0, timeouts=QUICK, retries=TRIES
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open("sqlite:///ledger.db", base=tmp_path)
    yield opened
    opened.close()


def title(argv: Sequence[str]) -> str:
    """What a command is for."""
    script = argv[2] if argv[:2] == ["sh", "-c"] else ""
    if script.startswith(hostlock.TITLE):
        return f"lock {argv[4]}"
    if script.startswith(updatetimer.TITLE):
        return f"timers {argv[4]}"
    if script.startswith(hostprobe.TITLE):
        return "preflight"
    if script.startswith(bootcprogress.TITLE):
        return " ".join(argv[4:])
    if script == bootc.FACTS_SCRIPT:
        return "facts"
    if "systemctl reboot" in script:
        return "reboot"
    return "boot id" if list(argv) == ["cat", bootmarker.BOOT_ID] else " ".join(argv)


class Heard(SimFleet):
    """A simulated host that writes down what it is asked, when it is there to hear it."""

    def __init__(self, ledger: Ledger) -> None:
        self.asked: list[str] = []
        super().__init__(ledger, ("a",))

    def connect(self) -> Fleet:
        asked, sims = self.asked, self.sims

        class Ear(SimExecutor):
            def run(self, argv: Sequence[str], **more: Any) -> CommandResult:
                heard = True
                try:
                    return super().run(argv, **more)
                except HostError as error:
                    heard = error.fault is not HostFault.UNREACHABLE
                    raise
                finally:
                    if heard:
                        asked.append(title(list(argv)))

        return Fleet(self.hosts, lambda host: Ear(sims[host.name]))


@pytest.mark.parametrize(("operation", "most"), [(Operation.UPGRADE, 16), (Operation.ROLLBACK, 15)])
def test_no_command_is_sent_without_need(ledger: Ledger, operation: Operation, most: int) -> None:
    """Who adds one changes the number here, and has a reason that a command there cannot serve."""
    fleet = Heard(ledger)
    assert fleet.upgrade(POLICY).outcome == "done"
    if operation is Operation.ROLLBACK:
        fleet.asked.clear()
        assert fleet.run(fleet.plan(POLICY, operation)).outcome == "done"
    assert len(fleet.asked) <= most, fleet.asked
    told = Counter(fleet.asked)
    # When it is staged, right before its reboot, and after it.
    assert told["preflight"] == told["reboot"] == told["lock release"] == 1
    assert told["facts"] >= 3
