"""The fleet commands on a lab: exact messages, exit codes, JSON, and every fault."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.faults import DESCRIPTIONS, Fault
from bootcfleet.drivers.labimage import push_image
from bootcfleet.ops.lab import Lab, LabHost
from tests.drivers.test_simfaults import TESTED as SIM_FAULTS
from tests.drivers.test_simlook import PREFLIGHT_FAULTS

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Rig:
    """A lab of three hosts that follow one tag, and the commands on it."""

    lab: Lab
    capsys: pytest.CaptureFixture[str]

    @property
    def image(self) -> str:
        return f"{self.lab.registry_address}/acme/web:prod"

    def publish(self, version: str, health: str = "good") -> str:
        labels = {"bootcfleet.lab.health": health}
        files = {"version": version.encode()}
        return str(
            push_image(
                self.lab.registry_address,
                "acme/web",
                "prod",
                version=version,
                files=files,
                created=CREATED,
                labels=labels,
            )
        )

    def __call__(self, *words: str, ends: int = 0) -> tuple[str, str]:
        """Run `fleet WORDS` and return what it said on both streams."""
        self.capsys.readouterr()
        line = ["fleet", words[0], "-i", str(self.lab.inventory_path), *words[1:]]
        code = run(line)
        said = self.capsys.readouterr()
        assert code == ends, f"{line}: {code}\n{said.out}\n{said.err}"
        return said.out, said.err

    def versions(self) -> list[str]:
        return [str(host["booted"]) for host in self.lab.status()]

    def reboots(self) -> list[int]:
        return [host["reboots"] for host in self.lab.status()]


@pytest.fixture
def rig(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Rig:
    rig = Rig(lab, capsys)
    rig.publish("1.0")
    hosts = [
        LabHost(f"h{n}", rig.image, {"role": "web", "site": site}, ("web",))
        for n, site in enumerate(("ams", "ams", "fra"), 1)
    ]
    lab.start_hosts(hosts, image=rig.image, boot_seconds=0.2)
    return rig


def test_status_as_a_table(rig: Rig) -> None:
    out, _ = rig("status")
    header, *rows = out.splitlines()
    columns = "HOST BOOTED VERSION DIGEST STAGED ROLLBACK AGE DRIFT LAST BOOT"
    assert " ".join(header.split()) == columns
    assert [row.split()[0] for row in rows] == ["h1", "h2", "h3"]
    assert all("in-sync" in row and rig.image in row for row in rows)


def test_status_as_json(rig: Rig) -> None:
    digest = rig.publish("1.1")
    rows = json.loads(rig("status", "--json")[0])
    assert [row["drift"] for row in rows] == ["behind"] * 3
    assert rows[0]["booted"]["version"] == "1.0"
    assert rows[0]["booted"]["digest"] != digest
    assert rows[0]["wanted"] == rig.image
    assert rows[0]["staged"] is None
    assert rows[0]["error"] is None
    assert rows[0]["bootc"].count(".") == 2


def test_status_says_once_what_a_host_follows(rig: Rig) -> None:
    rig.publish("1.1")
    out, _ = rig("status", "h1")
    assert out.splitlines()[1].count(rig.image) == 1
    assert "  behind  " in out
    inventory = rig.lab.inventory_path
    inventory.write_text(inventory.read_text().replace("acme/web:prod", "acme/web:next"))
    rig.publish("1.2")
    text = rig.lab.registry_address
    push_image(text, "acme/web", "next", version="2", files={"a": b"2"}, created=CREATED)
    assert f"behind (should run {text}/acme/web:next)" in rig("status", "h1")[0]


def test_status_without_a_registry_still_answers(rig: Rig) -> None:
    rig.lab.registry.refuse("acme/web", 403)
    out, _ = rig("status")
    assert "unknown" in out
    assert "drift unknown: " in out
    assert "HTTP 403" in out
    rows = json.loads(rig("status", "--no-registry", "--json")[0])
    assert {row["drift"] for row in rows} == {"unknown"}


def test_an_upgrade_and_back(rig: Rig) -> None:
    rig.publish("1.1")
    out, _ = rig("upgrade", "--yes")
    assert rig.versions() == ["1.1"] * 3
    assert "canary  h1    upgrade to 1.1" in out
    assert "3 updated" in out.splitlines()[-1]
    out, _ = rig("upgrade", "--yes")
    assert "nothing to do" in out
    assert rig.reboots() == [1, 1, 1]
    rig("rollback", "--yes", "h2")
    assert rig.versions() == ["1.1", "1.0", "1.1"]


def test_a_dry_run_changes_nothing(rig: Rig) -> None:
    rig.publish("1.1")
    plan = json.loads(rig("upgrade", "--dry-run", "--json")[0])
    assert [wave["hosts"] for wave in plan["waves"]] == [["h1"], ["h2"], ["h3"]]
    assert plan["kind"] == "rollout.planned"
    assert rig.reboots() == [0, 0, 0]
    assert rig.lab.status()[0]["staged"] is None


def test_nobody_to_confirm(rig: Rig) -> None:
    rig.publish("1.1")
    _, err = rig("upgrade", ends=2)
    assert err.splitlines()[-2:] == [
        "error: this changes machines and nobody is there to confirm it",
        "hint: look at the plan with --dry-run, then run it again with --yes",
    ]
    assert rig.reboots() == [0, 0, 0]


def test_a_bad_image_is_caught_by_the_canary(rig: Rig) -> None:
    rig.publish("1.1", health="bad")
    out, err = rig("upgrade", "--yes", ends=4)
    assert rig.versions() == ["1.0"] * 3
    assert rig.reboots() == [2, 0, 0]
    assert "not begun: h2, h3" in out
    assert err.splitlines()[0] == "error: the upgrade halted: the canary h1 failed"


def test_without_revert_a_sick_host_stays_to_be_looked_at(rig: Rig) -> None:
    rig.publish("1.1", health="bad")
    rig("upgrade", "--yes", "--no-revert", ends=4)
    assert rig.versions() == ["1.1", "1.0", "1.0"]


def test_the_json_stream_of_a_rollout(rig: Rig) -> None:
    rig.publish("1.1")
    lines = [json.loads(line) for line in rig("upgrade", "--yes", "--json")[0].splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "rollout.planned"
    assert kinds[-1] == "rollout.finished"
    assert {"wave.started", "host.staged", "host.rebooting", "host.updated"} <= set(kinds)
    assert {host["phase"] for host in lines[-1]["hosts"].values()} == {"updated"}


def test_a_switch_to_another_image_and_to_a_digest(rig: Rig) -> None:
    registry = rig.lab.registry_address
    digest = push_image(registry, "acme/db", "1", version="7.0", files={"a": b"b"}, created=CREATED)
    rig.capsys.readouterr()
    rig("switch", f"{registry}/acme/db:1", "h1", "--yes")
    assert rig.versions()[0] == "7.0"
    rig("switch", f"{registry}/acme/db@{digest}", "h2", "--yes")
    out, _ = rig("upgrade", "h2", "--dry-run", ends=1)
    assert "refused: h2: is pinned by digest" in out


def test_a_reboot(rig: Rig) -> None:
    rig("reboot", "--yes", "-l", "site=fra")
    assert rig.reboots() == [0, 0, 1]


def test_exec_takes_no_host_for_a_command(rig: Rig) -> None:
    _, err = rig("exec", "h1", "--", "uptime", "-p", ends=2)
    assert err == (
        "error: 'h1' is a host, and the words of this command are all run on the hosts\n"
        "hint: bootcfleet fleet exec --host h1 -- uptime -p\n"
    )
    # Where hosts are named, a command may be called as one of them.
    rig("exec", "--host", "h1", "--", "h1", ends=1)


def test_exec_reports_every_host(rig: Rig) -> None:
    out, _ = rig("exec", "--", "echo", "it's $HOME; `id`")
    assert sorted(out.splitlines()) == [f"h{n}: it's $HOME; `id`" for n in (1, 2, 3)]
    rig.lab.break_host("h2", "unreachable")
    out, _ = rig("exec", "--json", "-H", "h[23]", "--sudo", "--", "id", "-u", ends=1)
    rows = {row["host"]: row for row in map(json.loads, out.splitlines())}
    assert rows["h3"]["stdout"] == "0\n"
    assert rows["h2"]["fault"] == "unreachable"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-l", "role=db"], "the selection (role=db) matches none of 3 hosts"),
        (["-l", "role=="], "the selection (role=) matches none of 3 hosts"),
        (["-l", "a;b"], "'a;b' in the selector 'a;b' is not a condition"),
        (["-g", "webb"], "there is no group 'webb'"),
        (["h9"], "no host matches 'h9'"),
        (["--", "--yes;reboot"], "no host matches '--yes;reboot'"),
    ],
)
def test_a_selection_that_is_wrong(rig: Rig, words: list[str], message: str) -> None:
    _, err = rig("status", *words, ends=2)
    assert err.splitlines()[0] == f"error: {message}"
    assert err.splitlines()[1].startswith("hint: ")


#: Fault → the fault that a status reports, and words of its message.
STATUS_FAULTS = {
    Fault.UNREACHABLE: ("unreachable", "cannot be reached"),
    Fault.HOST_KEY_CHANGED: ("host-key-changed", ""),
    Fault.SUDO_REFUSED: ("sudo-refused", "sudo"),
    Fault.GARBAGE_OUTPUT: ("garbage-output", "not a status of bootc"),
    Fault.NO_BOOTC: ("no-bootc", "command not found"),
    Fault.NOT_ROOT: ("not-root", "root"),
}


@pytest.mark.parametrize("fault", list(STATUS_FAULTS))
def test_status_names_a_host_that_cannot_be_asked(rig: Rig, fault: Fault) -> None:
    rig.lab.break_host("h2", fault)
    rows = {row["host"]: row for row in json.loads(rig("status", "--json", ends=1)[0])}
    word, words = STATUS_FAULTS[fault]
    assert rows["h2"]["error"]["fault"] == word
    assert words in rows["h2"]["error"]["message"]
    assert rows["h1"]["booted"]["version"] == "1.0"
    out, _ = rig("status", ends=1)
    assert "h2    ! " in out


def test_a_host_that_bootc_did_not_boot_is_a_plain_statement(rig: Rig) -> None:
    rig.lab.break_host("h2", "not-bootc")
    out, _ = rig("status")
    assert "h2    ! is not booted by bootc" in out
    out, _ = rig("upgrade", "--dry-run", "h2", ends=1)
    assert "refused: h2: is not booted by bootc" in out


#: Fault → how the host ends in an upgrade, with which fault, after how many reboots.
UPGRADE_FAULTS = {
    Fault.DROPS_CONNECTION: ("failed", "connection-lost", 0),
    Fault.DISK_FULL: ("refused", "no-space", 0),
    Fault.REGISTRY_REFUSES: ("refused", "registry-refused", 0),
    Fault.DOES_NOT_RETURN: ("failed", "did-not-return", 1),
    Fault.RETURNS_OLD: ("failed", "came-back-old", 1),
    Fault.HEALTH_FAILS: ("rolled-back", "health-failed", 2),
    Fault.UNREACHABLE: ("refused", "unreachable", 0),
    Fault.HOST_KEY_CHANGED: ("refused", "host-key-changed", 0),
    Fault.SUDO_REFUSED: ("refused", "sudo-refused", 0),
    Fault.GARBAGE_OUTPUT: ("refused", "garbage-output", 0),
    Fault.NO_BOOTC: ("refused", "no-bootc", 0),
    Fault.NOT_BOOTC: ("refused", "not-bootc-booted", 0),
    Fault.NOT_ROOT: ("refused", "not-root", 0),
    Fault.LAYERED_PACKAGES: ("refused", "incompatible", 0),
}


@pytest.mark.parametrize("fault", list(UPGRADE_FAULTS))
def test_an_upgrade_with_a_broken_host(rig: Rig, fault: Fault) -> None:
    """The broken host ends as it must, the others are updated, nobody reboots once too often."""
    rig.publish("1.1")
    phase, word, reboots = UPGRADE_FAULTS[fault]
    if fault is Fault.HEALTH_FAILS:
        # Sick only on the new image: it was well when the plan was made.
        rig.lab.hosts["h2"].on_reboot = _sick_after_reboot(rig)
    else:
        rig.lab.break_host("h2", fault)
    words = ["upgrade", "--yes", "--json", "--canary", "0", "--max-failures", "1"]
    words += ["--retries", "0"]
    out, _ = rig(*words, "--boot-timeout", "3", ends=1)
    hosts: dict[str, Any] = json.loads(out.splitlines()[-1])["hosts"]
    assert (hosts["h2"]["phase"], hosts["h2"]["fault"]) == (phase, word)
    assert rig.reboots() == [1, reboots, 1]
    assert (hosts["h1"]["phase"], hosts["h3"]["phase"]) == ("updated", "updated")


def _sick_after_reboot(rig: Rig) -> Any:
    down = rig.lab.hosts["h2"].on_reboot

    def reboot() -> None:
        rig.lab.break_host("h2", Fault.HEALTH_FAILS)
        down()

    return reboot


def test_a_host_that_takes_its_time(rig: Rig) -> None:
    rig.publish("1.1")
    rig.lab.break_host("h2", "returns-after=2")
    rig("upgrade", "h2", "--yes")
    assert rig.versions()[1] == "1.1"


def test_every_fault_is_tested() -> None:
    # tests/drivers/test_simnotes.py has the drain.
    others = {Fault.LOCK_HELD, Fault.RETURNS_AFTER, Fault.DRAIN_FAILS}
    others |= set(PREFLIGHT_FAULTS) | SIM_FAULTS
    assert set(STATUS_FAULTS) | set(UPGRADE_FAULTS) | others == set(Fault) == set(DESCRIPTIONS)


def test_a_host_key_that_nobody_knows(rig: Rig) -> None:
    rig.lab.known_hosts_path.write_text("")
    out, _ = rig("status", "--json", ends=1)
    error = json.loads(out)[0]["error"]
    assert error["fault"] == "host-key-unknown"
    assert "ssh-keyscan" in error["hint"]


def test_an_empty_inventory_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 1\nhosts: {}\n")
    assert run(["fleet", "status", "-i", str(path)]) == 2
    assert "has no hosts yet" in capsys.readouterr().err


def test_hosts_of_an_open_rollout_are_left_to_it(rig: Rig) -> None:
    rig.publish("1.1")
    # Its first wave ends; the last one waits for an approval that never comes.
    project = {
        "version": 1,
        "name": "acme",
        "registry": f"{rig.lab.registry_address}/acme",
        "rollouts": {"slow": {"waves": [{"limit": 1}, {"approve": "manual"}]}},
    }
    Path("bootcfleet.yaml").write_text(json.dumps(project))
    argv = ["fleet", "upgrade", "-i", str(rig.lab.inventory_path), "--yes", "--policy", "slow"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", *argv], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "waits for approval" in line:
                break
        _, said = rig("upgrade", "h2", "h3", "--yes", ends=2)
        assert said.startswith("error: h2, h3 are in the open rollout ")
        assert "--accept open-rollout" in said
        # The one that it has moved is locked until it ends, for other ledgers' admins too.
        rig.publish("1.2")
        assert "refused: h1: is locked: rollout" in rig("upgrade", "h1", "--yes", ends=1)[0]
        assert rig.versions() == ["1.1", "1.0", "1.0"]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_reader_that_goes_away_stops_a_rollout_aloud(rig: Rig) -> None:
    """`fleet upgrade --yes | head`: hosts are left half way, and somebody has to know."""
    rig.publish("1.1")
    argv = ["fleet", "upgrade", "-i", str(rig.lab.inventory_path), "--yes", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bootcfleet", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    planned = json.loads(process.stdout.readline())
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    error = json.loads(said.splitlines()[-1])["error"]
    assert error["message"].startswith("nobody reads its output any more: stopped; the rollout ")
    assert f"bootcfleet rollout resume {planned['rollout']}" in error["hint"]
    assert "Traceback" not in said
    rig.capsys.readouterr()
    run(["rollout", "show", "--json", "--journal"])
    shown = json.loads(rig.capsys.readouterr().out)
    assert shown["journal"][-1]["body"] == {"reason": "nobody reads its output any more"}
    # Downloads are told from the hosts' own threads: none of them is to blame.
    assert not {host["fault"] for host in shown["hosts"].values()} - {None}
    assert run(["rollout", "resume", "--yes"]) == 0
    assert rig.versions() == ["1.1"] * 3
