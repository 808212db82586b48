"""Hosts for the benches of a fleet: one real sshd, as many addresses as are wanted.

Run as root: the bench moves into a network namespace of its own, where the whole of
127.0.0.0/8 is this sshd, so that every "host" has an address, a line in known_hosts and
a connection of its own for every client.  `bootc` there is a program that prints what a
real one says.  Commands run as a user made for it, whose shell reads nobody's profile.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.integration.opensshd import Sshd, descendants, keygen  # noqa: E402
from tests.integration.sshworld import throwaway_account  # noqa: E402

#: Where asyncssh and ansible-core are installed, apart from the project's own environment.
PEERS = Path(os.environ.get("BENCH_PEERS", "/tmp/bench-peers"))

#: What `fleet status` asks a host, as one line of shell; the peers run the same.
ASK = (
    "cat /proc/sys/kernel/random/boot_id; systemctl show; cat /proc/stat; bootc --version; "
    "bootc status --format=json --format-version=1"
)

_IMAGE = {
    "image": {"image": "registry.example.com/acme/web:prod", "transport": "registry"},
    "version": "9.20261101.0",
    "timestamp": "2026-11-01T04:05:06.123456789Z",
    "architecture": "amd64",
}


def _entry(digit: str) -> dict[str, object]:
    return {
        "image": {**_IMAGE, "imageDigest": f"sha256:{digit * 64}"},
        "cachedUpdate": None,
        "incompatible": False,
        "pinned": False,
        "store": "ostreeContainer",
        "ostree": {"checksum": digit * 64, "deploySerial": 0, "stateroot": "default"},
        "softRebootCapable": False,
        "downloadOnly": False,
    }


STATUS = json.dumps(
    {
        "apiVersion": "org.containers.bootc/v1",
        "kind": "BootcHost",
        "metadata": {"name": "host"},
        "spec": {"image": _IMAGE["image"], "bootOrder": "default"},
        "status": {
            "staged": _entry("c"),
            "booted": _entry("a"),
            "rollback": _entry("b"),
            "rollbackQueued": False,
            "type": "bootcHost",
        },
    },
    indent=2,
)

_BOOTC = f"""#!/bin/sh
case $1 in --version) echo 'bootc 1.16.9';; *) cat <<'END'
{STATUS}
END
esac
"""

#: `systemctl show` of the manager, as far as `drivers/bootmarker.py` asks for it.
_SYSTEMCTL = """#!/bin/sh
printf 'Version=257.4\nSoftRebootsCount=0\n'
"""


@dataclass(frozen=True)
class Hosts:
    """The hosts: their addresses, and what a client needs to get in."""

    folder: Path
    server: Sshd
    user: str
    key: Path
    known_hosts: Path
    addresses: tuple[str, ...]

    @property
    def inventory(self) -> Path:
        """bootcfleet's inventory of them."""
        return self.folder / "inventory.yaml"

    @property
    def ansible_inventory(self) -> Path:
        """ansible's."""
        return self.folder / "hosts"

    def ssh(self, *options: str) -> list[str]:
        """ssh with the same strictness, but for the address and the command."""
        return [
            *("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}", "-i", str(self.key)),
            *("-o", "StrictHostKeyChecking=yes", "-p", str(self.server.port), "-l", self.user),
            *options,
        ]


def in_own_network() -> None:
    """Start this program again in a network namespace of its own, as root."""
    if os.environ.get("BENCH_NETWORK") == str(os.getppid()):
        return
    if os.geteuid() != 0:
        sys.exit("this bench needs root: sshd for a made user, and a network namespace")
    up = 'ip link set lo up && export BENCH_NETWORK=$$ && "$@"; exit $?'
    words = ["unshare", "--net", "sh", "-c", up, "sh", sys.executable, *sys.argv]
    os.execvp(words[0], words)


@contextlib.contextmanager
def hosts(count: int, known: int = 1000) -> Iterator[Hosts]:
    """Start them; `known` is the number of lines in known_hosts."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    _adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, throwaway_account() as account:
        folder = Path(name)
        folder.chmod(0o755)
        os.environ["HOME"] = name
        programs = account.folder / "bin"
        programs.mkdir(mode=0o755)
        for name_there, text in (("bootc", _BOOTC), ("systemctl", _SYSTEMCTL)):
            (programs / name_there).write_text(text)
            (programs / name_there).chmod(0o755)
        key = keygen(folder / "key")
        settings = [
            f"SetEnv PATH={programs}:/usr/bin:/bin",
            f"MaxStartups {count * 2}",
            "MaxSessions 100",
            "LogLevel ERROR",
        ]
        server = Sshd(folder / "sshd", "0.0.0.0", settings)
        with server:
            server.authorize(key.with_suffix(".pub"))
            addresses = tuple(f"127.1.{n // 250}.{n % 250 + 1}" for n in range(max(count, known)))
            lines = (server.known_hosts(f"[{one}]:{server.port}") for one in addresses)
            made = Hosts(
                folder, server, account.name, key, folder / "known_hosts", addresses[:count]
            )
            made.known_hosts.write_text("".join(lines))
            _write_inventories(made)
            yield made


def _write_inventories(made: Hosts) -> None:
    connection = {
        "port": made.server.port,
        "user": made.user,
        "become": False,
        "identity_file": str(made.key),
        "known_hosts": str(made.known_hosts),
        "ssh_config": "/dev/null",
    }
    body = {
        "version": 1,
        "defaults": {"connection": connection},
        "hosts": {
            f"host{n}": {"labels": {"site": "ams"}, "connection": {"address": address}}
            for n, address in enumerate(made.addresses)
        },
    }
    # JSON is YAML.
    made.inventory.write_text(json.dumps(body, indent=1))
    made.ansible_inventory.write_text(
        "".join(
            f"host{n} ansible_host={address} ansible_port={made.server.port} "
            f"ansible_user={made.user} ansible_ssh_private_key_file={made.key}\n"
            for n, address in enumerate(made.addresses)
        )
    )


def ansible(made: Hosts, command: str, *, kex: str | None, forks: int = 50) -> list[str] | None:
    """`ansible -m raw` with its settings; None where it is not installed."""
    program = PEERS / "bin/ansible"
    found = str(program) if program.exists() else shutil.which("ansible")
    if found is None:
        return None
    args = (
        f"-C -o ControlMaster=auto -o ControlPersist=300s -o UserKnownHostsFile={made.known_hosts}"
    )
    if kex:
        args += f" -o KexAlgorithms={kex}"
    settings = {
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_SSH_ARGS": args,
        "ANSIBLE_HOME": str(made.folder / f"ansible-{kex}"),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "LC_ALL": "C.UTF-8",
    }
    words = [f"{key}={value}" for key, value in settings.items()]
    return [
        *("env", *words, found, "all", "-i", str(made.ansible_inventory)),
        *("-f", str(forks), "-m", "raw", "-a", command),
    ]


def used(who: int) -> float:
    """Seconds of CPU of this process, or of the children that it waited for."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def others() -> float:
    """Seconds of CPU of what this process has started and runs, but for the servers."""
    return sum(map(cpu_of, clients()))


def clients() -> list[int]:
    """Processes below this one that are no servers (ansible leaves ssh masters behind)."""
    below = descendants(os.getpid())
    servers = set()
    for pid in below:
        with contextlib.suppress(OSError):
            if b"sshd_config" in Path(f"/proc/{pid}/cmdline").read_bytes():
                servers |= {pid, *descendants(pid)}
    return [pid for pid in below if pid not in servers]


def end_clients() -> None:
    """End what clients left behind, so that its time is counted and it is gone."""
    for pid in clients():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while clients() and time.monotonic() < deadline:
        for pid in clients():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a running process and of the children that it waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> float:
    """Resident memory of a process in MB, at its most."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if "VmHWM" in line) / 1024


def quiet(argv: Sequence[str]) -> None:
    """Run a program to its end; what it says is shown only when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"{argv[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


def race(
    rivals: dict[str, Callable[[], None]], rounds: int, *, keep: bool = False
) -> dict[str, tuple[float, float]]:
    """Run all of them in turn, so often; rival → median of seconds and of CPU seconds.

    `keep` lets what they leave running go on.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            # Looking for the others is work of this process: not between the looks at itself.
            waited, running = used(resource.RUSAGE_CHILDREN), others()
            started, before = time.perf_counter(), used(resource.RUSAGE_SELF)
            run()
            ours, wall = used(resource.RUSAGE_SELF) - before, time.perf_counter() - started
            if not keep:
                end_clients()
            theirs = used(resource.RUSAGE_CHILDREN) - waited + others() - running
            taken[name].append((wall, ours + theirs))
    return {
        name: (
            statistics.median(wall for wall, _ in results),
            statistics.median(cpu for _, cpu in results),
        )
        for name, results in taken.items()
    }


def table(results: dict[str, tuple[float, float]], count: int, unit: str = "CPU a host") -> None:
    """Print them beside the first one."""
    print(f"{'client':<28} {'wall':>9} {unit:>16} {'ratio':>7}")
    first = next(iter(results.values()))[1]
    for name, (wall, cpu) in results.items():
        print(f"{name:<28} {wall:>7.1f} s {cpu / count * 1000:>13.2f} ms {cpu / first:>6.1f}×")


def _adopt_orphans() -> None:
    """Become the parent of what daemonises below us (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
