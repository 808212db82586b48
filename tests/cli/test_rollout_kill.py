"""kill -9 at instants of real time: real processes, real SSH, simulated hosts.

Whatever the instant, `rollout resume` comes to what an undisturbed rollout comes to.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.faults import Fault
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.drivers.simhost import LOCK
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.lab import Lab, LabHost

CREATED = datetime(2026, 11, 1, tzinfo=UTC)
NAMES = tuple(f"h{n}" for n in range(1, 7))
BAD_HOST = "h3"
#: Rollouts, one after the other, and how often each controller is killed.
KILLS = (2, 3, 3, 4)


@pytest.fixture
def lab(lab: Lab) -> Lab:
    publish(lab, 0)
    image = f"{lab.registry_address}/acme/web:prod"
    hosts = [LabHost(name, image, {"role": "web"}, ("web",)) for name in NAMES]
    lab.start_hosts(hosts, image=image, boot_seconds=0.4)
    lab.break_host(BAD_HOST, str(Fault.RETURNS_OLD))
    return lab


def publish(lab: Lab, number: int) -> None:
    version = f"1.{number}"
    files = {"version": version.encode()}
    push_image(
        lab.registry_address, "acme/web", "prod", version=version, files=files, created=CREATED
    )


def controller(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", *words],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def reboots(lab: Lab) -> dict[str, int]:
    return {str(host["host"]): int(host["reboots"]) for host in lab.status()}


def outcome(ledger: Ledger, lab: Lab, number: int, before: dict[str, int]) -> dict[str, Any]:
    """What a rollout came to, by the hosts and by the audit chain."""
    assert ledger.verify() is None
    rollout = RolloutStore.open(ledger.db).find().id
    audit = [
        (entry.action, entry.subject, entry.outcome)
        for entry in ledger.entries()
        if entry.details.get("rollout") == rollout or entry.subject == rollout
    ]
    mine = [(action, "r" if subject == rollout else subject, end) for action, subject, end in audit]
    return {
        "new": {str(h["host"]) for h in lab.status() if h["booted"] == f"1.{number}"},
        "staged": {str(h["host"]) for h in lab.status() if h["staged"]},
        "reboots": {name: count - before[name] for name, count in reboots(lab).items()},
        "locked": {name for name, sim in lab.hosts.items() if LOCK in sim.files},
        "first": mine[0],
        "last": mine[-1],
        "hosts": sorted(one for one in mine if one[0].endswith(".host")),
    }


def test_killed_at_random_instants(lab: Lab) -> None:
    chance = random.Random(20261121)
    begin = ["fleet", "upgrade", "-i", str(lab.inventory_path), "--yes", "--max-failures", "1"]
    with closing(open_ledger(None)) as ledger:
        store = RolloutStore.open(ledger.db)
        publish(lab, 1)
        before, started = reboots(lab), time.monotonic()
        undisturbed = controller(*begin)
        _, err = undisturbed.communicate(timeout=120)
        assert undisturbed.returncode == 1, err
        took = time.monotonic() - started
        expected = outcome(ledger, lab, 1, before)
        assert expected["new"] == set(NAMES) - {BAD_HOST}
        assert expected["reboots"] == dict.fromkeys(NAMES, 1)
        assert not expected["locked"]
        total = 0
        for number, kills in enumerate(KILLS, 2):
            publish(lab, number)
            before = reboots(lab)
            words, known, killed = begin, store.find().id, 0
            while True:
                process = controller(*words)
                try:
                    process.wait(chance.uniform(0.15, 0.7) * took if killed < kills else 120)
                except subprocess.TimeoutExpired:
                    assert killed < kills, "it does not end"
                    process.kill()
                    killed += 1
                _, err = process.communicate()
                if store.find().id != known:
                    words = ["rollout", "resume", "--yes"]
                if process.returncode >= 0:
                    break
            assert process.returncode == 1, err
            total += killed
            found = outcome(ledger, lab, number, before)
            assert found == expected, json.dumps([known, killed])
        assert total >= 6, "the instants were not within the rollouts"
