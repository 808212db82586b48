"""First contact with N hosts: our executor beside one `ssh` process for each host.

    python bench/ssh_fan_out.py [HOSTS] [PARALLEL] [ROUNDS]

Both talk to one real sshd on loopback and run one command that answers with
3 KB.  The server and the login shell (with its profile) work on the same cores, so
wall time says less than the client's CPU time; both are shown as ratios of the same
run.  ssh is measured with the key exchange that it prefers and with the cheapest.
It needs sshd and ssh.
"""

from __future__ import annotations

import getpass
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from tests.integration.opensshd import Sshd, keygen

COMMAND = ["head", "-c", "3000", "/dev/zero"]


def cpu() -> float:
    """Seconds of CPU that this process and the clients that it waited for have used."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def ours(connection: Connection, hosts: int, parallel: int) -> Callable[[], None]:
    """The executor, with everything read anew as in a new process."""

    def run() -> None:
        shared = SshShared(ask=lambda _question: "")

        def one(number: int) -> SshExecutor:
            executor = SshExecutor(f"host{number}", connection, shared)
            assert len(executor.run(COMMAND).stdout) == 3000
            return executor

        with ThreadPoolExecutor(parallel) as pool:
            executors = list(pool.map(one, range(hosts)))
        for executor in executors:
            executor.close()

    return run


def processes(words: list[str], hosts: int, parallel: int) -> Callable[[], None]:
    """One process a host."""

    def one(_number: int) -> None:
        done = subprocess.run([*words, *COMMAND], capture_output=True, check=True)
        assert len(done.stdout) == 3000

    def run() -> None:
        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(one, range(hosts)))

    return run


def main() -> None:
    """Measure all of them alternately and print the medians."""
    hosts, parallel, rounds = (
        int(sys.argv[n]) if len(sys.argv) > n else default
        for n, default in ((1, 100), (2, 50), (3, 3))
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOME"] = name
        key = keygen(folder / "key")
        with Sshd(folder / "sshd") as server:
            server.authorize(key.with_suffix(".pub"))
            known = folder / "known_hosts"
            # A fleet's file: the time to read it is part of the first contact.
            others = "".join(server.known_hosts(f"host{n}") for n in range(1000))
            known.write_text(others + server.known_hosts())
            connection = Connection(
                address=server.address,
                port=server.port,
                user=getpass.getuser(),
                identity_file=str(key),
                known_hosts=str(known),
            )
            ssh = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
            ssh += ["-o", f"UserKnownHostsFile={known}", "-i", str(key), "-p", str(server.port)]
            ssh += [server.address]
            cheap = [*ssh[:1], "-o", "KexAlgorithms=curve25519-sha256", *ssh[1:]]
            rivals = {
                "bootcfleet": ours(connection, hosts, parallel),
                "ssh, curve25519": processes(cheap, hosts, parallel),
                "ssh, default": processes(ssh, hosts, parallel),
            }
            wall: dict[str, list[float]] = {rival: [] for rival in rivals}
            work: dict[str, list[float]] = {rival: [] for rival in rivals}
            for _ in range(rounds):
                for rival, run in rivals.items():
                    started, before = time.perf_counter(), cpu()
                    run()
                    wall[rival].append(time.perf_counter() - started)
                    work[rival].append(cpu() - before)
    print(f"{hosts} hosts, {parallel} at once, median of {rounds}")
    print(f"{'client':<18} {'wall':>9} {'ratio':>7} {'CPU a host':>12} {'ratio':>7}")
    first = next(iter(rivals))
    walls = {rival: statistics.median(seconds) for rival, seconds in wall.items()}
    works = {rival: statistics.median(seconds) for rival, seconds in work.items()}
    for rival in rivals:
        print(
            f"{rival:<18} {walls[rival]:>7.2f} s {walls[rival] / walls[first]:>6.1f}×"
            f" {works[rival] / hosts * 1000:>9.1f} ms {works[rival] / works[first]:>6.1f}×"
        )


if __name__ == "__main__":
    main()
