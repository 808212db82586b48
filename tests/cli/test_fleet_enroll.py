"""`fleet enroll --pull` on a lab: the timer's drop-in over real SSH, once and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.pulltimer import PATH
from bootcfleet.drivers import simstatus, simtimer
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import SimHost
from bootcfleet.drivers.ssh import SshExecutor
from bootcfleet.ops.lab import Lab, LabHost

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Rig:
    """Three hosts that follow `test`, and the command on them."""

    lab: Lab
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str, ends: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        line = ["fleet", "enroll", "-i", str(self.lab.inventory_path), *words]
        code = run(line)
        said = self.capsys.readouterr()
        assert code == ends, f"{line}: {code}\n{said.out}\n{said.err}"
        return said.out, said.err

    def host(self, name: str) -> SimHost:
        return self.lab.hosts[name]

    def plan(self, *words: str, ends: int = 0) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self(*words, "--dry-run", "--json", ends=ends)[0])
        return body


@pytest.fixture
def rig(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Rig:
    address = lab.registry_address
    for tag in ("test", "prod"):
        push_image(address, "acme/web", tag, version="1", files={"a": b"1"}, created=CREATED)
    hosts = [LabHost(f"h{n}", f"{address}/acme/web:test", {"role": "web"}) for n in (1, 2, 3)]
    lab.start_hosts(hosts, image="", boot_seconds=0.1)
    lab.hosts["h2"].timer.masked = True
    return Rig(lab, capsys)


def test_once_twice_and_back(rig: Rig) -> None:
    out, _ = rig("--pull", "--window", "sat 02:00-06:00", "--zone", "Europe/Amsterdam", "--yes")
    assert "  OnCalendar=Sat *-*-* 02:00:00 Europe/Amsterdam" in out
    assert "bootc-fetch-apply-updates.timer is masked" in out
    assert out.splitlines()[-1] == "3 done"
    for name in ("h1", "h2", "h3"):
        host = rig.host(name)
        assert (host.timer.enabled, host.timer.active, host.timer.masked) == (True, True, False)
        assert b"RandomizedDelaySec=3h 30min\n" in host.files[PATH]
    assert b"# before: masked inactive\n" in rig.host("h2").files[PATH]
    out, _ = rig("--pull", "--window", "sat 02:00-06:00", "--zone", "Europe/Amsterdam", "--yes")
    assert out.count("nothing to do") == 3
    # Other times: what was before the first enrolment is kept.
    rig("--pull", "--every", "1h", "--delay", "10m", "--yes")
    assert b"OnUnitInactiveSec=1h\nRandomizedDelaySec=10min\n" in rig.host("h2").files[PATH]
    assert b"# before: masked inactive\n" in rig.host("h2").files[PATH]
    rig("--pull", "--undo", "--yes")
    assert [PATH in rig.host(name).files for name in ("h1", "h2", "h3")] == [False] * 3
    assert [rig.host(name).timer.masked for name in ("h1", "h2", "h3")] == [False, True, False]
    assert not any(host.timer.active for host in rig.lab.hosts.values())
    out, _ = rig("--pull", "--undo", "--yes")
    assert out.count("nothing to do") == 3


def test_a_dry_run_changes_nothing(rig: Rig) -> None:
    plan = rig.plan("--pull", "h2")
    assert plan["kind"] == "enroll.planned"
    (host,) = plan["hosts"]
    assert [act["run"][:2] or act["write"] for act in host["acts"]] == [
        ["mkdir", "-p"], PATH, ["systemctl", "unmask"], ["systemctl", "daemon-reload"],
        ["systemctl", "enable"], ["systemctl", "start"], PATH, ["systemctl", "daemon-reload"],
    ]  # fmt: skip
    assert rig.host("h2").files == {}
    assert rig.host("h2").timer.masked
    _, err = rig("--pull", ends=2)
    assert "nobody is there to confirm it" in err


def test_another_channel_is_said_or_staged(rig: Rig) -> None:
    out, _ = rig("--pull", "--channel", "prod", "--yes", "h1")
    there = f"{rig.lab.registry_address}/acme/web"
    assert f"note: h1: follows {there}:test, and not {there}:prod: add --switch" in out
    assert rig.host("h1").staged is None
    # The switch keeps what the host was installed with.
    rig.host("h1").booted = replace(rig.host("h1").booted, enforced=True)
    out, _ = rig("--pull", "--channel", "prod", "--switch", "--yes", "h1")
    staged = rig.host("h1").staged
    assert staged is not None
    assert (staged.reference, staged.enforced) == (f"{there}:prod", True)
    assert rig.host("h1").reboots == 0
    assert rig.plan("--pull", "--channel", "prod", "--switch", "h1")["hosts"][0]["switch"] is None


def test_who_cannot_follow_a_channel(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = simstatus._entry

    def composefs(*words: Any, **more: Any) -> Any:
        made = entry(*words, **more)
        if made is not None and rig.host("h1").booted is words[0]:
            made["composefs"] = {"verity": "a" * 128}
        return made

    monkeypatch.setattr(simstatus, "_entry", composefs)
    rig.lab.break_host("h2", "not-bootc")
    rig.lab.break_host("h3", "unreachable")
    plan = rig.plan("--pull", ends=1)
    said = {host["host"]: (host["fault"], host["refused"]) for host in plan["hosts"]}
    assert said["h1"][0] == "incompatible"
    assert "composefs backend, and bootc-fetch-apply-updates.timer never fires" in said["h1"][1]
    assert said["h2"] == ("not-bootc-booted", "is not booted by bootc")
    assert said["h3"][0] in {"unreachable", "connection-lost"}


def test_a_host_that_a_rollout_keeps_still(rig: Rig) -> None:
    rig.host("h1").timer.masked_now = True
    for words in (["--pull"], ["--pull", "--undo"]):
        (host,) = rig.plan(*words, "h1", ends=1)["hosts"]
        assert host["fault"] == "locked"


def test_an_undo_that_ended_half_way_is_done_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose timer was off must not be left with bootc's own times."""
    rig("--pull", "--yes", "h2")
    real = simtimer.systemctl

    def lost(host: SimHost, verb: str, options: Any, *, root: bool) -> Any:
        if verb == "mask":
            return Said("", "Connection reset\n", 1)
        return real(host, verb, options, root=root)

    monkeypatch.setattr(simtimer, "systemctl", lost)
    rig("--pull", "--undo", "--yes", "h2", ends=1)
    assert PATH in rig.host("h2").files
    monkeypatch.setattr(simtimer, "systemctl", real)
    rig("--pull", "--undo", "--yes", "h2")
    assert PATH not in rig.host("h2").files
    assert rig.host("h2").timer.masked


def test_what_else_the_timer_will_do_is_said(rig: Rig) -> None:
    rig.host("h1").timer.enabled = rig.host("h1").timer.active = True
    other = str(Path(PATH).with_name("override.conf"))
    rig.host("h1").files[other] = b"[Timer]\nOnCalendar=hourly\n"
    out, _ = rig("--pull", "--yes", "h1")
    assert "note: a host whose timer looked longer than 8h ago looks at once" in out
    assert f"note: h1: {other} is read after the drop-in, and may have other times" in out
    out, _ = rig("--pull", "--undo", "--yes", "h1")
    assert "note: h1: bootc's own timer looks as soon as it is started on a host that" in out


def test_the_drop_in_is_looked_at_as_root(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root's umask is 077, nobody else sees what is in the folder that root has made."""
    asked: list[bool] = []
    real = SshExecutor.run

    def run(self: SshExecutor, argv: Any, **more: Any) -> Any:
        if any(PATH in word for word in argv):
            asked.append(bool(more.get("as_root")))
        return real(self, argv, **more)

    monkeypatch.setattr(SshExecutor, "run", run)
    rig("--pull", "--yes", "h1")
    assert asked == [True, True]


def test_a_pinned_host_needs_a_channel(rig: Rig) -> None:
    host = rig.host("h1")
    name = f"{rig.lab.registry_address}/acme/web@{host.booted.image.digest}"
    host.stage(name, "registry", host.booted.image)
    (plan,) = rig.plan("--pull", "h1", ends=1)["hosts"]
    assert plan["refused"].startswith("is pinned by digest")
    (plan,) = rig.plan("--pull", "--channel", "prod", "--switch", "h1")["hosts"]
    assert plan["switch"] == f"{rig.lab.registry_address}/acme/web:prod"


def test_the_ledger_has_it_and_one_failure_hides_no_other(rig: Rig) -> None:
    rig.lab.break_host("h2", "sudo-refused")
    rig("--pull", "--yes", ends=1)
    rig.lab.heal("h2")
    rig.capsys.readouterr()
    assert run(["audit", "--action", "fleet.enroll", "--json"]) == 0
    entries = json.loads(rig.capsys.readouterr().out)
    entries = entries["entries"] if isinstance(entries, dict) else entries
    assert [entry["outcome"] for entry in entries] == ["started", "done"]
    assert entries[-1]["details"]["hosts"] == {"h1": "done", "h3": "done"}
    assert "OnUnitInactiveSec=8h" in entries[0]["details"]["drop_in"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "enroll hosts for what?"),
        (["--pull", "--undo", "--every", "1h"], "--undo only takes the timer's settings back"),
        (["--pull", "--switch"], "--switch to which channel?"),
        (["--pull", "--zone", "UTC"], "--zone is the time zone of --window"),
        (["--pull", "--window", "sat"], "'sat' is not a window"),
        (
            ["--pull", "--window", "sat 01:00-02:00", "--every", "1h"],
            "a timer fires in windows, or",
        ),
        (
            ["--pull", "--window", "sat 01:00-02:00", "--zone", "Mars"],
            "there is no time zone 'Mars'",
        ),
        (
            ["--pull", "--window", "sat 01:00-02:00", "--delay", "1h"],
            "a delay of 1h leaves no time",
        ),
        (["--pull", "--every", "soon"], "'soon' is not a length of time"),
        (["--pull", "--policy", "calm"], "there is no rollout policy 'calm'"),
    ],
)
def test_mistakes(rig: Rig, words: list[str], message: str) -> None:
    _, err = rig(*words, ends=2)
    assert message in err
