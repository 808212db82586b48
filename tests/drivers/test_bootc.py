"""bootc on a host: what is sent, what is made of each answer, and the waiting for a boot."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from bootcfleet.domain.abilities import Abilities
from bootcfleet.domain.bootcprogress import DownloadProgress
from bootcfleet.domain.policy import HealthCheck
from bootcfleet.drivers.bootc import BootcHost, HostFacts
from bootcfleet.drivers.bootc_faults import classify, last_error, printable
from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, OnLine
from bootcfleet.errors import TRANSIENT, FleetError, HostError, HostFault

OLD = "11111111-2222-3333-4444-555555555555"
NEW = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
DIGEST = "sha256:" + "a" * 64


def status_text(api: str = "v1") -> str:
    image = {
        "image": {"image": "r.example/acme/soe:1", "transport": "registry"},
        "version": "1.0",
        "timestamp": None,
        "imageDigest": DIGEST,
    }
    booted = {"image": image, "incompatible": False, "pinned": False}
    return json.dumps(
        {
            "apiVersion": f"org.containers.bootc/{api}",
            "kind": "BootcHost",
            "status": {"booted": booted, "staged": None, "rollback": None},
        }
    )


def boot_text(boot_id: str = NEW, systemd: str = "Version=257\nSoftRebootsCount=0\n") -> str:
    return f"--8<-- bootcfleet boot_id\n{boot_id}\n--8<-- bootcfleet systemd\n{systemd}"


def facts_text(
    boot_id: str = NEW,
    status: str | None = None,
    btime: str = "1760000000",
    systemd: str = "Version=257\nSoftRebootsCount=0\n",
) -> str:
    return (
        f"{boot_text(boot_id, systemd)}--8<-- bootcfleet stat\n"
        # 404 and 500 are counters here, and no answers of a registry.
        f"cpu  404 500 401 403\nbtime {btime}\n--8<-- bootcfleet version\nbootc 1.16.9\n"
        f"--8<-- bootcfleet status\n{status_text() if status is None else status}"
    )


def said(stdout: str = "", stderr: str = "", code: int = 0) -> CommandResult:
    return CommandResult((), code, stdout, stderr, 0.0)


def lost(fault: HostFault, message: str = "as scripted") -> HostError:
    return HostError("web1", fault, message)


@dataclass
class Call:
    argv: tuple[str, ...]
    timeout: float | None
    as_root: bool
    on_line: OnLine | None = None


Answer = CommandResult | FleetError


@dataclass
class Script:
    """An executor that gives its answers one by one and remembers what it was asked."""

    answers: list[Answer]
    calls: list[Call] = field(default_factory=list)
    closed: int = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        self.calls.append(Call(tuple(argv), timeout, as_root, on_line))
        assert self.answers, f"nobody expected {argv}"
        answer = self.answers.pop(0)
        if isinstance(answer, FleetError):
            raise answer
        return answer

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        raise NotImplementedError

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1

    @property
    def lines(self) -> list[str]:
        return [" ".join(call.argv) for call in self.calls]


def host(*answers: Answer, timeout: float = 60.0) -> tuple[BootcHost, Script]:
    script = Script(list(answers))
    return BootcHost(script, "web1", timeout=timeout), script


def fault_of(act: Callable[[], object]) -> HostError:
    with pytest.raises(HostError) as caught:
        act()
    assert caught.value.host == "web1"
    return caught.value


class TestFacts:
    def test_one_round_trip_as_root_under_our_limit(self) -> None:
        bootc, script = host(said("Authorized users only!\n" + facts_text()), timeout=7)
        facts = bootc.facts()
        assert (facts.version, facts.boot_id) == ("1.16.9", NEW)
        assert facts.boot_time == datetime.fromtimestamp(1760000000, UTC)
        assert facts.status.booted is not None
        assert facts.status.booted.digest == DIGEST
        (call,) = script.calls
        assert call.argv[:2] == ("sh", "-c")
        assert "bootc status --format=json --format-version=1" in call.argv[2]
        for part in call.argv[2].replace("'--8<-- ", "'").split("; "):
            assert not set(part) & set("|&<>`$"), "the simulated shell has none of these"
        assert (call.timeout, call.as_root) == (7, True)

    @pytest.mark.parametrize("btime", ["", "soon", "9" * 20])
    def test_a_kernel_that_does_not_say_when_it_booted(self, btime: str) -> None:
        assert host(said(facts_text(btime=btime)))[0].facts().boot_time is None

    def test_a_version_that_is_not_said(self) -> None:
        text = facts_text().replace("bootc 1.16.9", "")
        assert host(said(text))[0].facts().version == "unknown"

    @pytest.mark.parametrize(
        ("result", "fault", "words"),
        [
            (said(facts_text(status=""), "sh: 1: bootc: not found\n", 127), "no-bootc", "bootc"),
            (
                said(facts_text(status=""), "error: Status: something new\n", 1),
                "command-failed",
                "something new",
            ),
            (said(facts_text(status="<<<no json>>>")), "garbage-output", "not a status of bootc"),
            (said(facts_text(status="")), "garbage-output", "no JSON object"),
            (said(""), "garbage-output", "no JSON object"),
            (said(facts_text(boot_id="me")), "garbage-output", "boot id"),
        ],
    )
    def test_answers_that_are_none(self, result: CommandResult, fault: str, words: str) -> None:
        error = fault_of(host(result)[0].facts)
        assert error.fault == fault
        assert words in error.message

    @pytest.mark.parametrize(
        "refusal",
        [
            "error: Status: Unsupported format version: 1",
            "error: unexpected argument '--format' found\n\nUsage: bootc status",
        ],
    )
    def test_a_bootc_that_speaks_v1alpha1_is_asked_as_it_understands(self, refusal: str) -> None:
        bootc, script = host(said(facts_text(status=""), refusal, 1), said(status_text("v1alpha1")))
        assert bootc.facts().status.api_version == "v1alpha1"
        assert script.lines[1] == "bootc status --json"
        bootc, script = host(said("", refusal, 1), said("", refusal, 1))
        assert fault_of(bootc.status).fault is HostFault.COMMAND_FAILED

    def test_a_status_that_does_not_come_names_who_holds_the_lock(self) -> None:
        bootc, script = host(
            lost(HostFault.TIMEOUT),
            said(
                "   812    02:13 rpm-ostree upgrade\n"
                "  9001    01:00 bootc status --format=json --format-version=1\n"
            ),
        )
        error = fault_of(bootc.facts)
        assert error.fault is HostFault.LOCK_HELD
        assert error.message.endswith("running there: 812 02:13 rpm-ostree upgrade")
        assert "ps -C bootc,rpm-ostree,ostree" in (error.hint or "")
        assert script.calls[1].timeout == 10

    @pytest.mark.parametrize("ps", [said("", "ps: not found", 127), lost(HostFault.TIMEOUT)])
    def test_a_lock_whose_holder_cannot_be_seen(self, ps: Answer) -> None:
        error = fault_of(host(CommandTimeoutError("late"), ps)[0].status)
        assert error.fault is HostFault.LOCK_HELD
        assert "running there" not in error.message

    def test_other_faults_of_the_connection_pass(self) -> None:
        error = fault_of(host(lost(HostFault.SUDO_REFUSED))[0].facts)
        assert error.fault is HostFault.SUDO_REFUSED


class TestBootMarker:
    @pytest.mark.parametrize(
        ("systemd", "marker"),
        [
            ("Version=257 (257.9-1.el10)\nSoftRebootsCount=0\n", NEW),
            ("Version=257\nSoftRebootsCount=3\n", f"{NEW}+3"),
            ("SoftRebootsCount=12\nVersion=258~rc1\n", f"{NEW}+12"),
            # No soft reboots before 254.
            ("Version=252 (252-51.el9)\n", NEW),
            ("Version=v253.1\n", NEW),
        ],
    )
    def test_the_boot_and_its_soft_reboots(self, systemd: str, marker: str) -> None:
        bootc, script = host(said(facts_text(systemd=systemd)), said(boot_text(systemd=systemd)))
        assert bootc.facts().boot_id == marker
        assert bootc.boot_id() == marker
        assert len(script.calls) == 2
        assert "SoftRebootsCount" in script.lines[1]

    @pytest.mark.parametrize("version", ["254.1", "255 (255.4-1)"])
    def test_a_systemd_that_does_not_count_says_when_userspace_came_up(self, version: str) -> None:
        shown = f"Version={version}\n"
        bootc, script = host(
            said(facts_text(systemd=shown)), said("ActiveEnterTimestampMonotonic=81000000\n")
        )
        assert bootc.facts().boot_id == f"{NEW}+81000000"
        assert script.lines[1].endswith("ActiveEnterTimestampMonotonic basic.target")
        starting = host(said(boot_text(systemd=shown)), said("ActiveEnterTimestampMonotonic=0\n"))
        assert fault_of(starting[0].boot_id).fault is HostFault.TIMEOUT

    @pytest.mark.parametrize("systemd", ["", "Version=\n", "Version=none\nSoftRebootsCount=-1\n"])
    def test_without_systemds_answer_no_boot_is_taken_for_another(self, systemd: str) -> None:
        error = fault_of(host(said(facts_text(systemd=systemd)))[0].facts)
        assert error.fault is HostFault.TIMEOUT
        assert error.transient
        assert "systemd does not answer yet" in error.message

    def test_a_boot_id_that_cannot_be_read(self) -> None:
        error = fault_of(host(said("", "sh: not found", 127))[0].boot_id)
        assert "cat /proc" in error.message


class TestStaging:
    def test_what_is_sent(self) -> None:
        bootc, script = host(*[said()] * 5)
        bootc.stage_upgrade(timeout=5)
        bootc.stage_switch("r.example/acme/soe:2", timeout=6)
        bootc.stage_switch("r.example/acme/soe:2", enforce=True)
        bootc.stage_switch("/mnt/usb", transport="oci")
        bootc.queue_rollback()
        assert script.lines == [
            "bootc upgrade",
            "bootc switch r.example/acme/soe:2",
            "bootc switch --enforce-container-sigpolicy r.example/acme/soe:2",
            "bootc switch --transport oci /mnt/usb",
            "bootc rollback",
        ]
        assert [call.timeout for call in script.calls][:2] == [5, 6]
        assert all(call.as_root for call in script.calls)

    def test_what_a_bootc_can_is_used(self) -> None:
        every, none = Abilities.of("1.16.9"), Abilities.of("unknown")
        bootc, script = host(*[said()] * 10)
        bootc.stage_upgrade(abilities=every, download_only=True)
        bootc.stage_upgrade(abilities=none, download_only=True, soft_reboot=True)
        bootc.stage_upgrade(abilities=every, soft_reboot=True)
        bootc.stage_switch("r.example/soe:2", abilities=every, soft_reboot=True)
        bootc.stage_switch("r.example/soe:2", abilities=none, soft_reboot=True)
        bootc.finish_download()
        bootc.finish_download(soft_reboot=True)
        bootc.queue_rollback(soft_reboot=True)
        bootc.stage_upgrade(abilities=none, on_progress=lambda _: None)
        bootc.stage_upgrade(abilities=every)
        assert script.lines == [
            "bootc upgrade --download-only",
            "bootc upgrade",
            "bootc upgrade --soft-reboot=auto",
            "bootc switch --soft-reboot=auto r.example/soe:2",
            "bootc switch r.example/soe:2",
            "bootc upgrade --from-downloaded",
            "bootc upgrade --from-downloaded --soft-reboot=auto",
            "bootc rollback --soft-reboot=auto",
            "bootc upgrade",
            "bootc upgrade",
        ]
        assert not any("--apply" in line for line in script.lines)

    def test_a_download_tells_how_far_it_is(self) -> None:
        told: list[DownloadProgress] = []
        able = Abilities.of("1.1.4")
        failed = said("", "Fetching\nerror: Upgrading: No space left on device\n", 1)
        bootc, script = host(failed, lost(HostFault.TIMEOUT), said("  9 1:00 bootc upgrade\n"))
        error = fault_of(lambda: bootc.stage_upgrade(abilities=able, on_progress=told.append))
        assert error.message == "bootc upgrade failed: Upgrading: No space left on device"
        call = script.calls[0]
        assert (call.argv[:2], call.argv[3:]) == (("sh", "-c"), ("sh", "bootc", "upgrade"))
        assert call.on_line is not None
        call.on_line("stdout", '{"type":"ProgressSteps","task":"staging","steps":1,"stepsTotal":2}')
        assert told == [DownloadProgress("staging", 0, 0, 1, 2)]
        # The script is not taken for its own hindrance.
        error = fault_of(lambda: bootc.stage_upgrade(abilities=able, on_progress=told.append))
        assert error.fault is HostFault.TIMEOUT
        assert error.message.startswith("bootc upgrade did not end")

    def test_a_slow_download_is_not_called_a_lock(self) -> None:
        ours = said("  7 30:00 bootc upgrade\n")
        error = fault_of(host(lost(HostFault.TIMEOUT), ours)[0].stage_upgrade)
        assert error.fault is HostFault.TIMEOUT
        assert "did not end within 1800 s" in error.message
        other = said("  7 30:00 bootc upgrade\n  5 40:00 ostree admin upgrade\n")
        error = fault_of(host(lost(HostFault.TIMEOUT), other)[0].stage_upgrade)
        assert error.fault is HostFault.LOCK_HELD
        assert "5 40:00 ostree admin upgrade" in error.message

    def test_a_failure_has_its_cause_and_its_lines(self) -> None:
        text = "layers needed: 12 (404.5 MB)\n\x1b[31merror:\x1b[0m Upgrading: No space left\n"
        bootc, _ = host(said("", text + "error: Importing: No space left on device\n", 1))
        error = fault_of(bootc.stage_upgrade)
        assert error.fault is HostFault.NO_SPACE
        assert error.message == "bootc upgrade failed: Importing: No space left on device"
        assert error.details[1] == "error: Upgrading: No space left"


class TestReboot:
    @pytest.mark.parametrize(
        "answer",
        [said(), said("", "", 143), lost(HostFault.CONNECTION_LOST), lost(HostFault.TIMEOUT)],
    )
    def test_a_dropped_connection_is_what_a_reboot_looks_like(self, answer: Answer) -> None:
        bootc, script = host(answer)
        bootc.reboot()
        assert script.lines == ["env SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1 systemctl reboot"]
        assert script.calls[0].as_root

    def test_a_soft_reboot_is_asked_for_by_its_name(self) -> None:
        bootc, script = host(said(), said("", "Unknown command verb 'soft-reboot'.", 1))
        bootc.reboot(soft=True)
        assert script.lines == ["systemctl soft-reboot"]
        error = fault_of(lambda: bootc.reboot(soft=True))
        assert error.message.startswith("systemctl soft-reboot failed: Unknown command verb")

    @pytest.mark.parametrize(
        ("answer", "fault"),
        [
            (
                said("", "Call to Reboot failed: Interactive authentication required.", 1),
                "not-root",
            ),
            (said("", 'Operation inhibited by "backup" (PID 7).', 1), "command-failed"),
            (lost(HostFault.SUDO_REFUSED), "sudo-refused"),
            (lost(HostFault.UNREACHABLE), "unreachable"),
        ],
    )
    def test_a_host_that_refuses(self, answer: Answer, fault: str) -> None:
        assert fault_of(host(answer)[0].reboot).fault == fault


@dataclass
class Clock:
    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def boot(
    bootc: BootcHost, timeout: float = 60, *, previous: str = OLD, soft: bool = False
) -> HostFacts:
    clock = Clock()
    return bootc.wait_for_boot(
        previous, timeout, sleep=clock.sleep, monotonic=clock.monotonic, soft=soft
    )


class Forever(list[Answer]):
    """The same answers again and again."""

    def pop(self, index: Any = 0) -> Answer:
        self.append(self[0])
        return super().pop(0)


class TestWaitForBoot:
    def test_everything_that_a_reboot_looks_like(self) -> None:
        before = said(OLD + "\n")
        bootc, script = host(
            before,
            lost(HostFault.CONNECTION_LOST),
            lost(HostFault.UNREACHABLE),
            lost(HostFault.TIMEOUT),
            lost(HostFault.AUTH_FAILED, "System is booting up"),
            said("", "System is booting up", 1),
            said(NEW + "\n"),
            lost(HostFault.CONNECTION_LOST),
            said(NEW + "\n"),
            said(facts_text()),
        )
        assert boot(bootc).boot_id == NEW
        assert script.answers == []
        assert script.closed == 8, "each look is a connection of its own"
        assert not script.calls[0].as_root, "sudo is not needed to read the boot id"

    def test_a_soft_reboot_keeps_the_kernels_boot_id(self) -> None:
        after = "Version=257\nSoftRebootsCount=2\n"
        before = said(boot_text(OLD, "Version=257\nSoftRebootsCount=1\n"))
        bootc, script = host(
            before,
            lost(HostFault.CONNECTION_LOST),
            said(boot_text(OLD, "")),  # systemd does not answer yet
            said(boot_text(OLD, after)),
            said(facts_text(OLD, systemd=after)),
        )
        assert boot(bootc, previous=f"{OLD}+1", soft=True).boot_id == f"{OLD}+2"
        assert script.answers == []
        assert all(call.as_root for call in script.calls)
        # A full reboot in its place is another boot as well.
        bootc, _ = host(said(boot_text(NEW)), said(facts_text(NEW)))
        assert boot(bootc, previous=f"{OLD}+1", soft=True).boot_id == NEW

    def test_a_full_reboot_after_soft_ones(self) -> None:
        bootc, script = host(said(OLD), said(NEW), said(facts_text(NEW)))
        assert boot(bootc, previous=f"{OLD}+1").boot_id == NEW
        assert script.lines[:2] == ["cat /proc/sys/kernel/random/boot_id"] * 2

    def test_a_soft_reboot_that_nobody_asked_for(self) -> None:
        """A prepared one may take a reboot's place: the host was gone, its kernel was not."""
        after = "Version=257\nSoftRebootsCount=1\n"
        bootc, script = host(
            said(OLD),
            lost(HostFault.UNREACHABLE),
            said(OLD),
            said(boot_text(OLD)),
            said(OLD),
            said(boot_text(OLD, after)),
            said(facts_text(OLD, systemd=after)),
        )
        assert boot(bootc).boot_id == f"{OLD}+1"
        assert script.answers == []

    @pytest.mark.parametrize("fault", [HostFault.HOST_KEY_CHANGED, HostFault.HOST_KEY_UNKNOWN])
    def test_another_host_key_is_said_at_once(self, fault: HostFault) -> None:
        bootc, script = host(lost(HostFault.UNREACHABLE), lost(fault))
        assert fault_of(lambda: boot(bootc)).fault is fault
        assert len(script.calls) == 2

    def test_refused_authentication_is_believed_after_a_few_tries(self) -> None:
        bootc, script = host(*[lost(HostFault.AUTH_FAILED)] * 20)
        assert fault_of(lambda: boot(bootc)).fault is HostFault.AUTH_FAILED
        assert len(script.calls) == 11

    @pytest.mark.parametrize(
        "answer", [lost(HostFault.UNREACHABLE, "connection refused"), said(OLD)]
    )
    def test_a_host_that_does_not_return(self, answer: Answer) -> None:
        bootc, script = host()
        script.answers = Forever([answer])
        error = fault_of(lambda: boot(bootc, 30))
        assert error.fault is HostFault.DID_NOT_RETURN
        assert "within 30 s" in error.message
        last = "connection refused" if isinstance(answer, HostError) else "in the old boot"
        assert last in error.message
        assert error.hint == "look at its console"
        assert 10 < len(script.calls) < 40

    def test_a_host_that_returned_without_its_bootc_is_not_one_that_did_not_return(self) -> None:
        bootc, script = host()
        gone = said(facts_text(status=""), "sh: 1: bootc: not found", 127)
        script.answers = Forever([said(NEW), gone])
        assert fault_of(lambda: boot(bootc, 10_000)).fault is HostFault.NO_BOOTC
        assert len(script.calls) == 22

    def test_a_host_that_returned_and_is_busy_until_the_end(self) -> None:
        bootc, script = host()
        script.answers = Forever([said(NEW), lost(HostFault.TIMEOUT), said("", "", 1)])
        assert fault_of(lambda: boot(bootc, 30)).fault is HostFault.LOCK_HELD


class TestSystem:
    def test_states(self) -> None:
        assert host(said("running\n"))[0].system_running().state == "running"
        assert host(said("", "", 1))[0].system_running().state == "unknown"
        bootc, _ = host(
            said("degraded\n", "", 1),
            said("web.service loaded failed failed Web\ndb.service loaded failed failed DB\n"),
        )
        state = bootc.system_running()
        assert (state.state, state.failed_units) == ("degraded", ("web.service", "db.service"))

    def test_it_waits_while_the_system_starts(self) -> None:
        clock = Clock()
        bootc, script = host(said("starting", "", 1), said("initializing", "", 1), said("running"))
        state = bootc.wait_until_started(60, sleep=clock.sleep, monotonic=clock.monotonic)
        assert (state.state, clock.now) == ("running", 4.0)
        bootc, script = host()
        script.answers = Forever([said("starting", "", 1)])
        state = bootc.wait_until_started(60, sleep=clock.sleep, monotonic=clock.monotonic)
        assert state.state == "starting"


class TestCheck:
    CHECK = HealthCheck("http", ("curl", "-f", "x"), timeout=5, retries=2, interval=3)

    def test_it_is_tried_again(self) -> None:
        slept: list[float] = []
        bootc, script = host(said("", "", 7), lost(HostFault.CONNECTION_LOST), said())
        result = bootc.run_check(self.CHECK, sleep=slept.append)
        assert (result.ok, result.tries, slept) == (True, 3, [3, 3])
        assert script.lines == ["curl -f x"] * 3
        assert script.calls[0].timeout == 5

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (said("inactive\n", "", 3), "exit code 3: inactive"),
            (said("", "\x1b[2Jcurl: (7) refused\x07\n", 7), "exit code 7: curl: (7) refused"),
            (said("", "", 1), "exit code 1: no output"),
            (lost(HostFault.TIMEOUT, "curl did not answer"), "curl did not answer"),
            (CommandTimeoutError("late"), "curl did not answer within 5 s"),
        ],
    )  # fmt: skip
    def test_why_it_failed(self, answer: Answer, message: str) -> None:
        bootc, script = host(*[answer] * 3)
        result = bootc.run_check(self.CHECK, sleep=lambda _: None)
        assert (result.ok, result.message, result.tries) == (False, message, 3)
        assert script.answers == []


#: What hosts say when bootc, skopeo, ostree, sudo or systemd fail, and what that is.
TEXTS = [
    ("sh: line 1: bootc: command not found", "no-bootc", "not installed"),
    ("sudo: bootc: command not found", "no-bootc", "not installed"),
    ("env: ‘bootc’: No such file or directory", "no-bootc", "not installed"),
    ("zsh:1: command not found: bootc", "no-bootc", "not installed"),
    (
        "error: Status: Preparing for write: Querying root privilege: This command must be "
        "executed as the root user",
        "not-root",
        "sudo",
    ),
    ("error: This command requires root privileges", "not-root", "sudo"),
    ("error: This command requires an ostree-booted host system", "not-bootc-booted", "booted"),
    ("error: Upgrading: System not booted via bootc", "not-bootc-booted", "booted"),
    (
        "error: Detected container; this command requires a booted host system.",
        "not-bootc-booted",
        "booted",
    ),
    ("error: Importing: No space left on device (os error 28)", "no-space", "df -h"),
    ("error: min-free-space-percent '3%' would be exceeded", "no-space", "df -h"),
    (
        "error: Deployment contains local rpm-ostree modifications; cannot upgrade via bootc.",
        "incompatible",
        "rpm-ostree reset",
    ),
    ("error: Upgrading: No image source specified", "incompatible", "fleet switch"),
    ("error: Rolling back: No rollback available", "no-rollback", "rollback"),
    (
        "error: Fetching manifest: reading manifest 9 in r.example/a: manifest unknown",
        "image-not-found",
        "does not have",
    ),
    (
        "error: Fetching manifest: invalid status code from registry 404 (Not Found)",
        "image-not-found",
        "does not have",
    ),
    (
        'error: choosing image instance: no image found in image index for architecture "arm64"',
        "image-not-found",
        "architecture",
    ),
    ("error: unauthorized: access to the requested resource", "registry-refused", "auth.json"),
    ("error: requested access to the resource is denied", "registry-refused", "auth.json"),
    (
        "error: Requesting bearer token: invalid status code from registry 403 (Forbidden)",
        "registry-refused",
        "auth.json",
    ),
    ("error: toomanyrequests: You have reached your limit", "registry", "how often"),
    (
        "error: tls: failed to verify certificate: x509: certificate has expired",
        "registry-tls",
        "TLS",
    ),
    ("error: http: server gave HTTP response to HTTPS client", "registry-tls", "TLS"),
    ("error: received unexpected HTTP status: 502 Bad Gateway", "registry", "skopeo inspect"),
    ("error: dial tcp: lookup r.example: no such host", "registry", "skopeo inspect"),
    (
        "error: Source image rejected: Running image docker://x is rejected by policy.",
        "untrusted",
        "policy.json",
    ),
    (
        "error: Switching: Pulling: containers-policy.json specifies a default of "
        "`insecureAcceptAnything`; refusing usage",
        "untrusted",
        "policy.json",
    ),
    ("error: net/http: TLS handshake timeout: Fetching manifest", "registry", "skopeo inspect"),
    ("error: Upgrading: No staged deployment found", "wrong-digest", "stage it again"),
    (
        "error: Soft reboot was required but staged deployment is not soft-reboot capable",
        "incompatible",
        "fully",
    ),
    ("Unknown command verb 'soft-reboot', did you mean 'reboot'?", "incompatible", "fully"),
    # Numbers and words that only look like it.
    ("error: reading 404 of 500 bytes", "command-failed", None),
    ("error: opening db: Permission denied: x", "command-failed", None),
    ("error: unit web.service not found", "command-failed", None),
    ("error: r.example:403/x does not parse", "command-failed", None),
    ("error: reading /usr/lib/bootc/x.toml: No such file or directory", "command-failed", None),
    ("", "command-failed", None),
]


@pytest.mark.parametrize(("text", "fault", "hint"), TEXTS)
def test_what_a_text_means(text: str, fault: str, hint: str | None) -> None:
    found, advice = classify(1, text)
    assert found == fault
    assert (advice is None) if hint is None else hint in (advice or "")


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    faults = {HostFault(fault) for _, fault, _ in TEXTS if HostFault(fault) in TRANSIENT}
    assert faults == {HostFault.REGISTRY}


def test_an_exit_code_without_words() -> None:
    assert classify(127, "")[0] is HostFault.NO_BOOTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no output"),
        ("a\nb\n", "b"),
        ("note: x\nerror: Upgrading: why\nmore\n", "Upgrading: why"),
        ("ERROR: loud\n", "loud"),
        ("\x1b[1;31merror:\x1b[0m red\r\n", "red"),
    ],
)
def test_the_line_that_says_why(text: str, expected: str) -> None:
    assert last_error(text) == expected


def test_nothing_that_a_terminal_obeys_is_left() -> None:
    assert printable("a\x1b[2Jb\x07\x9b1mc\u202ed") == "ab1mcd"
