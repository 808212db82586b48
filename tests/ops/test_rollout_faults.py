"""Every fault of the lab, in every phase of a rollout, alone and in mixes."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.faults import Fault
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import EntryKind
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Download,
    Hook,
    HookKind,
    OnFailure,
    OnHalt,
    Retries,
    RolloutPolicy,
    Timeouts,
)
from bootcfleet.drivers import hostlock
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.drivers.simhost import LOCK
from bootcfleet.errors import HostError, HostFault
from tests.faultfleet import OF_ITS_OWN, FaultFleet, When, laws
from tests.simfleet import BAD

HOOKS = {
    "drain": (Hook(HookKind.REMOTE, ("drain",)),),
    "undrain": (Hook(HookKind.REMOTE, ("undrain",)),),
}
#: Mixes to try; a hundred take some minutes.
MIXED = int(os.environ.get("FAULT_MIXES", "25"))

TOLERANT = RolloutPolicy(
    canary=None,
    batch=Limit(100, percent=True),
    budgets=Budgets(max_failures=Limit(100)),
    timeouts=Timeouts(stage=3, boot=3, settle=3),
    retries=Retries(attempts=2, first=0.02, most=0.05),
    **HOOKS,
)


#: How a host ends that breaks alone, and how often it was rebooted; what is not here is updated by
#: one reboot (or, in the last phase, goes back by a second).  ``=``: the rollout's word for the
#: fault is the lab's own.
TABLE = """
plan
  refused = 0: unreachable host-key-changed sudo-refused garbage-output lock-held no-bootc
    not-root clock-skew
  failed connection-lost 0: drops-connection
  refused no-space 0: disk-full
  refused registry-refused 0: registry-refuses
  failed did-not-return 1: does-not-return
  failed came-back-old 1: returns-old
  refused not-bootc-booted 0: not-bootc
  refused incompatible 0: layered-packages
  refused locked 0: locked-by-other
  refused untrusted 0: rejects-images
  failed greenboot-rolled-back 2: greenboot-rolls-back
  failed finalize-failed 1: finalize-fails
  failed boot-fell-back 1: boot-falls-back
  failed came-back-neither 1: comes-back-neither
  failed replaced 0: other-admin-stages
  failed hook-failed 0: drain-fails
begin
  refused = 0: unreachable
  failed = 0: host-key-changed sudo-refused garbage-output lock-held no-bootc not-root
  failed connection-lost 0: drops-connection
  failed no-space 0: disk-full
  failed registry-refused 0: registry-refuses
  failed did-not-return 1: does-not-return
  failed came-back-old 1: returns-old
  rolled-back health-failed 2: health-fails
  failed not-bootc-booted 0: not-bootc
  failed incompatible 0: layered-packages
  failed locked 0: locked-by-other
  failed untrusted 0: rejects-images
  failed greenboot-rolled-back 2: greenboot-rolls-back
  failed finalize-failed 1: finalize-fails
  failed boot-fell-back 1: boot-falls-back
  failed came-back-neither 1: comes-back-neither
  failed replaced 0: other-admin-stages
  failed hook-failed 0: drain-fails
staged
  failed = 0: unreachable host-key-changed sudo-refused garbage-output lock-held no-bootc not-root
  failed did-not-return 1: does-not-return
  failed came-back-old 1: returns-old
  rolled-back health-failed 2: health-fails
  failed replaced 0: not-bootc staged-by-other other-admin-stages
  failed locked 0: locked-by-other
  failed greenboot-rolled-back 2: greenboot-rolls-back
  failed finalize-failed 1: finalize-fails
  failed boot-fell-back 1: boot-falls-back
  failed came-back-neither 1: comes-back-neither
  failed hook-failed 0: drain-fails
draining
  failed = 0: unreachable host-key-changed sudo-refused garbage-output lock-held no-bootc not-root
  failed did-not-return 1: does-not-return
  failed came-back-old 1: returns-old
  rolled-back health-failed 2: health-fails
  failed replaced 0: not-bootc staged-by-other other-admin-stages
  failed locked 0: locked-by-other
  failed greenboot-rolled-back 2: greenboot-rolls-back
  failed finalize-failed 1: finalize-fails
  failed boot-fell-back 1: boot-falls-back
  failed came-back-neither 1: comes-back-neither
  failed hook-failed 0: drain-fails
reboot
  failed = 0: host-key-changed sudo-refused garbage-output lock-held no-bootc not-root
  failed did-not-return 0: unreachable
  failed did-not-return 1: does-not-return
  failed came-back-old 1: returns-old
  rolled-back health-failed 2: health-fails
  failed replaced 0: not-bootc staged-by-other other-admin-stages
  failed locked 0: locked-by-other
  failed greenboot-rolled-back 2: greenboot-rolls-back
  failed finalize-failed 1: finalize-fails
  failed boot-fell-back 1: boot-falls-back
  failed came-back-neither 1: comes-back-neither
check
  failed = 1: host-key-changed sudo-refused garbage-output lock-held no-bootc not-root
  failed did-not-return 1: unreachable
  rolled-back health-failed 2: health-fails
  failed came-back-neither 1: not-bootc
revert
  failed = 1: host-key-changed sudo-refused garbage-output lock-held no-bootc not-root
  failed did-not-return 1: unreachable
  failed did-not-return 2: does-not-return
  failed health-failed 2: returns-old boot-falls-back comes-back-neither
  failed not-bootc-booted 1: not-bootc
  failed locked 1: locked-by-other
"""


def expected(when: When) -> dict[Fault, tuple[str, str, int]]:
    """What the table says of a phase."""
    usual = ("rolled-back", "health-failed", 2) if when is When.REVERT else ("updated", "", 1)
    found = dict.fromkeys(set(Fault) - OF_ITS_OWN, usual)
    section = TABLE.split(f"\n{when.name.lower()}\n")[1]
    section = re.split(r"\n(?=\w)", section)[0].replace("\n    ", " ")
    for line in section.strip().splitlines():
        how, faults = line.split(":")
        phase, word, reboots = how.split()
        for fault in map(Fault, faults.split()):
            found[fault] = (phase, str(fault) if word == "=" else word, int(reboots))
    return found


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with opened() as ledger:
        yield ledger


@contextmanager
def opened() -> Iterator[Ledger]:
    with TemporaryDirectory(dir="/dev/shm") as directory:
        ledger = Ledger.open("sqlite:///ledger.db", base=Path(directory))
        yield ledger
        ledger.close()


@pytest.mark.parametrize("when", list(When))
def test_every_fault_alone(ledger: Ledger, when: When) -> None:
    """A host for each fault, and one that is well: none of them is in another's way."""
    faults = {str(fault): (fault, when) for fault in expected(when)}
    fleet = FaultFleet(ledger, [*faults, "well"], faults)
    if when is When.REVERT:
        fleet.tags.now = dict.fromkeys(fleet.tags.now, BAD)
    end = fleet.play(TOLERANT, timers=False)
    laws(fleet, end, TOLERANT)
    found = {}
    for name in faults:
        state = end.state(name)
        found[Fault(name)] = (str(state.phase), state.fault or "", fleet.sims[name].reboots)
    assert found == expected(when)
    assert end.state("well").phase in (HostPhase.UPDATED, HostPhase.ROLLED_BACK)
    assert end.outcome == "failed"


@pytest.mark.parametrize(("times", "left"), [(1, False), (9, True)])
def test_a_connection_lost_at_the_release(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, times: int, left: bool
) -> None:
    """It is tried again, and the journal says what stays on the host."""
    lost = itertools.count()
    release = hostlock.release

    def broken(executor: Executor, host: str, *, rollout: str) -> bool:
        if next(lost) < times:
            raise HostError(host, HostFault.CONNECTION_LOST, "the connection was lost")
        return release(executor, host, rollout=rollout)

    monkeypatch.setattr(hostlock, "release", broken)
    fleet = FaultFleet(ledger, ["a"], {})
    end = fleet.play(TOLERANT, timers=False)
    assert end.outcome == "done"
    assert (LOCK in fleet.sims["a"].files) is left
    notes = [
        entry.body["message"]
        for entry in RolloutStore.open(ledger.db).entries("r1")
        if entry.kind is EntryKind.NOTE
    ]
    assert notes == (["its lock may be left: the connection was lost"] if left else [])


POLICIES = st.builds(
    lambda canary, batch, failures, unavailable, per, tries, failure, halt, hooks, download: (
        replace(
            TOLERANT,
            canary=canary,
            batch=Limit(batch),
            budgets=Budgets(
                max_failures=Limit(failures),
                max_unavailable=unavailable,
                group_by=("cluster",),
                per_group=per,
            ),
            timeouts=Timeouts(stage=2, boot=0.7, settle=1),
            retries=Retries(attempts=tries, first=0.02, most=0.05),
            on_failure=failure,
            on_halt=halt,
            download=download,
            **(HOOKS if hooks else {"drain": (), "undrain": ()}),
        )
    ),
    canary=st.sampled_from([None, Limit(1)]),
    batch=st.integers(1, 8),
    failures=st.integers(0, 8),
    unavailable=st.sampled_from([None, Limit(1), Limit(2), Limit(3)]),
    per=st.sampled_from([None, Limit(1)]),
    tries=st.integers(0, 2),
    failure=st.sampled_from(list(OnFailure)),
    halt=st.sampled_from(list(OnHalt)),
    hooks=st.booleans(),
    download=st.sampled_from(list(Download)),
)
NAMES = tuple("abcdefgh")
LABELS = {name: {"cluster": "xyzw"[n // 2]} for n, name in enumerate(NAMES)}
MIXES = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(list(Fault)), st.sampled_from(list(When))),
    max_size=5,
)


@settings(max_examples=MIXED, deadline=None)
@given(policy=POLICIES, faults=MIXES)
def test_any_mix(policy: RolloutPolicy, faults: dict[str, tuple[Fault, When]]) -> None:
    with opened() as ledger:
        fleet = FaultFleet(ledger, NAMES, faults, labels=LABELS, boot_seconds=0.01)
        laws(fleet, fleet.play(policy), policy)
