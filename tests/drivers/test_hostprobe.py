"""The look at a host: at this machine, and at a root like a bootc host's, in every shell."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.hostpolicy import ENFORCED, REJECT
from bootcfleet.domain.hosttruth import UPDATE_TIMER, UnitState
from bootcfleet.drivers.command import (
    CommandResult,
    CommandTimeoutError,
    Executor,
    LocalExecutor,
    OnLine,
)
from bootcfleet.drivers.hostprobe import FOLLOWED, SCRIPT, facts_of, probe
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.errors import HostError, HostFault
from tests.machines import Machine
from tests.tools import need

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
REFERENCE = "r.example/acme/web:prod"
DIGEST = "sha256:" + "a" * 64
RAW = '{"schemaVersion": 2}'


@dataclass
class Host(LocalExecutor):
    """This machine with another shell, another root for the script's files, and fake tools."""

    shell: Sequence[str]
    root: Path
    tools: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self.bin = self.root / "bin"
        self.bin.mkdir()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        assert as_root
        assert argv[:2] == ["sh", "-c"]
        tools = {"systemctl": "echo Version=252"} | self.tools
        for name, text in tools.items():
            (self.bin / name).write_text("#!/bin/sh\n" + text + "\n")
            (self.bin / name).chmod(0o755)
        script = re.sub(
            r"(?<=[ =])(/etc/|/sysroot|/var/|/run/|/usr/lib/|/usr/share/|/proc/mounts)",
            rf"{self.root}\1",
            argv[2],
        )
        script = script.replace('PATH="$PATH:', f'PATH="{self.bin}:$PATH:', 1)
        words = [*self.shell, "-c", script, *argv[3:]]
        return super().run(words, timeout=timeout, stdin=stdin)

    def file(self, path: str, text: str) -> Path:
        """A file of the host."""
        there = self.root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
        return there


@pytest.fixture(params=sorted(SHELLS))
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    words = SHELLS[request.param]
    need(words[0])
    return Host(words, tmp_path)


def bootc(status: str, version: str = "1.16.9") -> str:
    """A bootc that says these."""
    return f"case $1 in --version) echo 'bootc {version}' ;; *) cat <<'EOF'\n{status}\nEOF\nesac"


def status(reference: str = REFERENCE, transport: str = "registry", **more: Any) -> str:
    image = {"image": reference, "transport": transport}
    body = json.loads(Machine("h", reference=reference).status())
    body["spec"] = {"bootOrder": "default", "image": image}
    body["status"] |= more
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def test_this_machine_is_no_bootc_host_and_still_answers(tmp_path: Path) -> None:
    """The script as it is, by /bin/sh: nothing replaced."""

    class Here(LocalExecutor):
        def run(self, argv: Sequence[str], **options: Any) -> CommandResult:
            return super().run(argv, **(options | {"as_root": False}))

    truth = probe(Here(), "here")
    assert truth.problem is not None
    assert truth.problem.fault is HostFault.NO_BOOTC
    assert facts_of(truth) is None
    uname = os.uname()
    assert (truth.kernel, truth.machine) == (uname.release, uname.machine)
    disk = shutil.disk_usage("/")
    assert truth.space is not None
    assert truth.space.total == disk.total // 1024 * 1024
    assert truth.clock is not None
    assert truth.clock.skew == 0.0
    assert truth.clock.most - truth.clock.least < 60
    assert truth.uptime is not None
    assert truth.os_id
    assert truth.registry is None
    assert truth.usr == "locked"


def test_a_bootc_host(host: Host) -> None:
    host.tools["bootc"] = bootc(status())
    host.tools["systemctl"] = (
        'case "$*" in *SoftRebootsCount*) echo Version=252; exit ;; esac\n'
        'case "$1" in\n'
        f"show) printf 'Id={UPDATE_TIMER}\\nLoadState=loaded\\nActiveState=active\\n"
        "UnitFileState=enabled\\n\\nId=greenboot-healthcheck.service\\nLoadState=loaded\\n"
        "ActiveState=active\\nUnitFileState=enabled\\n' ;;\n"
        "is-system-running) echo degraded; exit 1 ;;\n"
        "list-units) echo 'web.service loaded failed failed Web' ;;\nesac"
    )
    host.tools["df"] = (
        "echo Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        'echo /dev/vda4 1000000 400000 600000 40% "$2"'
    )
    host.file("/etc/os-release", 'ID="rhel"\nVERSION_ID="9.6"\nPRETTY_NAME="RHEL 9.6"\n')
    host.file("/sysroot/ostree/repo/config", "[core]\nmin-free-space-size=100MB\n")
    # Neither has an end of its last line, which must not swallow the next section.
    host.file("/etc/containers/policy.json", '{"default": [{"type": "signedBy"}]}')
    host.file(
        "/var/lib/bootcfleet/lock.json",
        '{"owner": "alice@desk", "rollout": "r7", "controller": "desk", "taken": 100, '
        '"expires": 200}',
    )
    host.file("/proc/mounts", "sysfs /sys sysfs rw 0 0\noverlay /usr overlay rw,relatime 0 0\n")
    host.file("/usr/lib/bootc/bound-images.d/app.image", "[Image]\nImage=r.example/app:1\n")
    (host.root / "etc/localtime").symlink_to("../usr/share/zoneinfo/Europe/Paris")
    truth = probe(host, "web1")
    assert truth.problem is None
    assert truth.status is not None
    facts = facts_of(truth)
    assert facts is not None
    assert (facts.version, facts.status) == ("1.16.9", truth.status)
    assert (truth.os_id, truth.os_version, truth.os_name) == ("rhel", "9.6", "RHEL 9.6")
    assert truth.space is not None
    assert truth.space.reserved == 100 * 2**20
    # busybox has a df of its own, which it takes before any in PATH.
    if host.shell[0] != "busybox":
        assert (truth.space.free, truth.space.total) == (600_000 * 1024, 1_000_000 * 1024)
    assert truth.policy is not None
    assert truth.policy.default == ENFORCED
    assert truth.lock is not None
    assert (truth.lock.owner, truth.lock.stale) == ("alice@desk", True)
    assert truth.usr == "unlocked"
    assert truth.bound_images == ("r.example/app:1",)
    assert truth.zone == "Europe/Paris"
    assert truth.units[UPDATE_TIMER] == UnitState("loaded", "active", "enabled")
    assert truth.timer
    assert truth.greenboot
    assert (truth.system_state, truth.failed_units) == ("degraded", ("web.service",))


def test_who_staged_what_waits_there(host: Host) -> None:
    host.tools["bootc"] = bootc(status())
    staged = host.file("/run/ostree/staged-deployment", "")
    os.utime(staged, (1_790_000_000, 1_790_000_000))
    host.tools["journalctl"] = (
        "echo '2026-11-21T10:00:00+0000 h sudo[42]: alice : TTY=pts/0 ; PWD=/ ; USER=root ; "
        "COMMAND=/usr/bin/bootc upgrade'"
    )
    truth = probe(host, "h")
    assert truth.staged_by.at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert truth.staged_by.who == "alice"


SKOPEO = """
echo "$@" >> ARGS
case "$*" in *broken*) echo 'time="x" level=fatal msg="manifest unknown"' >&2; exit 1 ;; esac
printf '%s' 'RAW'
"""


def skopeo(host: Host) -> Path:
    args = host.root / "args"
    host.tools["skopeo"] = SKOPEO.replace("ARGS", str(args)).replace("RAW", RAW)
    return args


@pytest.mark.parametrize(
    ("follows", "asked"),
    [
        (status(), f"docker://{REFERENCE}"),
        (status(f"r.example:5000/a/b:t@{DIGEST}"), f"docker://r.example:5000/a/b@{DIGEST}"),
        (status(f"r.example:5000/a/b@{DIGEST}"), f"docker://r.example:5000/a/b@{DIGEST}"),
        # bootc before 1.5 does not sort its keys; other programs indent.
        (
            '{"apiVersion":"org.containers.bootc/v1","kind":"BootcHost","spec":{"image":{"image":'
            '"r.example/a:t","transport":"registry","signature":{"ostreeRemote":"x"}},'
            '"bootOrder":"default"},"status":{"staged":null,"booted":null}}',
            "docker://r.example/a:t",
        ),
        (json.dumps(json.loads(status()), indent=2), f"docker://{REFERENCE}"),
        (status("/srv/image", "oci"), None),
        ('{"spec":{"image":null},"status":{"booted":null}}', None),
        (status("r.example/a:t$(touch /tmp/oops)"), None),
    ],
)
def test_the_host_asks_its_registry_for_what_it_follows(
    host: Host, follows: str, asked: str | None
) -> None:
    args = skopeo(host)
    host.tools["bootc"] = bootc(follows)
    try:
        truth = probe(host, "h", reference=FOLLOWED)
    except HostError as error:
        pytest.fail(error.message)
    if asked is None:
        assert truth.registry is None
        assert not args.exists()
        return
    words = args.read_text().split()
    assert words[-1] == asked
    assert "--no-creds" in words
    assert truth.registry is not None
    assert truth.registry.ok
    # The digest of the bytes, whose end is no end of a line.
    assert truth.registry.digest == "sha256:" + hashlib.sha256(RAW.encode()).hexdigest()


def test_the_policy_of_the_image_and_one_before_it(host: Host) -> None:
    host.tools["bootc"] = bootc(status())
    host.file("/usr/share/containers/policy.json", '{"default": [{"type": "reject"}]}')
    policy = probe(host, "h").policy
    assert policy is not None
    assert policy.default == REJECT
    host.file("/etc/containers/policy.json", '{"default": [{"type": "signedBy"}]}')
    policy = probe(host, "h").policy
    assert policy is not None
    assert policy.default == ENFORCED


def test_the_credentials_are_those_of_bootc(host: Host) -> None:
    args = skopeo(host)
    host.tools["bootc"] = bootc(status())
    for path in ("/usr/lib/ostree/auth.json", "/etc/ostree/auth.json", "/run/ostree/auth.json"):
        there = host.file(path, "{}")
        probe(host, "h", reference="r.example/x:1")
        assert f"--authfile={there}" in args.read_text().splitlines()[-1]


def test_a_registry_that_refuses(host: Host) -> None:
    skopeo(host)
    host.tools["bootc"] = bootc(status())
    truth = probe(host, "h", reference="r.example/broken:1")
    assert truth.registry is not None
    assert (truth.registry.ok, truth.registry.message) == (False, "manifest unknown")
    assert truth.problem is None


def test_a_bootc_that_fails_is_told_in_its_own_words(host: Host) -> None:
    host.tools["bootc"] = (
        "echo 'error: Status: This command must be executed as the root user' >&2; exit 1"
    )
    truth = probe(host, "h")
    assert truth.problem is not None
    assert truth.problem.fault is HostFault.NOT_ROOT
    assert truth.kernel


def test_real_skopeo_and_the_digest_of_the_tag(
    tmp_path: Path,
) -> None:
    machine = Host(["sh"], tmp_path)
    machine.tools["bootc"] = bootc(status())
    # The lab's registry speaks plain HTTP, which a host would be told by its registries.conf.
    machine.tools["skopeo"] = f'exec {need("skopeo")} "$@" --tls-verify=false'
    with LabRegistry() as registry:
        created = datetime(2026, 11, 1, tzinfo=UTC)
        digest = push_image(
            registry.address, "acme/web", "prod", version="1", files={"x": b"y"}, created=created
        )
        truth = probe(machine, "h", reference=f"{registry.address}/acme/web:prod")
        assert truth.registry is not None
        assert (truth.registry.tool, truth.registry.ok) == ("skopeo", True)
        assert truth.registry.digest == str(digest)
        truth = probe(machine, "h", reference=f"{registry.address}/acme/web:gone")
        assert truth.registry is not None
        assert truth.registry.ok is False
        assert "manifest unknown" in truth.registry.message
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        truth = probe(machine, "h", reference=f"127.0.0.1:{port}/acme/web:prod")
    assert truth.registry is not None
    assert "connection refused" in truth.registry.message


class Says:
    """An executor that answers so, or raises."""

    def __init__(self, said: CommandResult | Exception) -> None:
        self.said = said

    def run(self, argv: Sequence[str], **_: Any) -> CommandResult:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    put = get = close = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (CommandTimeoutError("late"), HostFault.LOCK_HELD),
        (HostError("h", HostFault.TIMEOUT, "late"), HostFault.LOCK_HELD),
        (HostError("h", HostFault.UNREACHABLE, "gone"), HostFault.UNREACHABLE),
        (CommandResult((), 0, "hello\n", "", 0.1), HostFault.GARBAGE_OUTPUT),
        (CommandResult((), 1, "", "sudo: a password is required\n", 0.1), None),
    ],
)
def test_a_host_that_cannot_be_looked_at(
    said: CommandResult | Exception, fault: HostFault | None
) -> None:
    executor: Executor = Says(said)  # type: ignore[assignment]
    with pytest.raises(HostError) as caught:
        probe(executor, "h")
    assert fault is None or caught.value.fault is fault


def test_the_clock_of_the_controller_is_read_around_the_look(host: Host) -> None:
    host.tools["bootc"] = bootc(status())
    truth = probe(host, "h", wall=lambda: time.time() - 1000)
    assert truth.clock is not None
    assert 990 < truth.clock.skew < 1010


def test_shellcheck_has_nothing_to_say() -> None:
    # Sections without a tool are answers, so errors are thrown away; words of kinds are split.
    result = LocalExecutor().run(
        [need("shellcheck"), "-s", "sh", "-S", "warning", "-"], stdin=SCRIPT.encode()
    )
    assert result.ok, result.stdout
