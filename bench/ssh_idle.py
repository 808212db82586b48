"""What kept connections cost while nothing happens, and the memory of them.

    python bench/ssh_idle.py [HOSTS] [SECONDS]

Connections of the executor, and the same with a watch on each host; beside paramiko's
own client, whose thread for each connection wakes ten times a second.  Needs root.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import paramiko
from fleethosts import Hosts, hosts, in_own_network, used

from bootcfleet.drivers.hostwatch import HostWatch
from bootcfleet.ops import connect


def resident() -> float:
    """Resident memory of this process now, MB."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if "VmRSS" in line) / 1024


def kept(made: Hosts, *, watched: bool) -> Callable[[], None]:
    """Connect to all; what closes them."""
    _, found = connect.select(made.inventory, (), (), ())
    fleet = connect.over_ssh(found, lambda _question: "")
    watch = HostWatch(paths=(str(made.inventory),))

    def one(name: str) -> None:
        fleet.executor(name).run(["true"])
        if watched:
            assert watch.follow(name, fleet.executor(name))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(one, fleet.names))

    def close() -> None:
        watch.close()
        fleet.close()

    return close


def stock(made: Hosts) -> Callable[[], None]:
    """paramiko's SSHClient, known_hosts loaded once."""
    key = paramiko.PKey.from_path(made.key)
    known = paramiko.HostKeys(str(made.known_hosts))

    def one(address: str) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client._host_keys = known
        client.connect(
            address, made.server.port, made.user, pkey=key, allow_agent=False, look_for_keys=False
        )
        return client

    with ThreadPoolExecutor(50) as pool:
        clients = list(pool.map(one, made.addresses))

    def close() -> None:
        for client in clients:
            client.close()

    return close


def main() -> None:
    """Measure one after the other."""
    in_own_network()
    count, seconds = [*map(int, sys.argv[1:]), *(500, 30)[len(sys.argv) - 1 :]][:2]
    ways = {
        "bootcfleet": lambda made: kept(made, watched=False),
        "bootcfleet, watched": lambda made: kept(made, watched=True),
        "paramiko, SSHClient": stock,
    }
    print(f"{count} connections, {seconds} s of silence")
    print(f"{'client':<22} {'of a core':>10} {'memory a connection':>20}")
    for name, way in ways.items():
        # Each in a process of its own, for its memory.
        with hosts(count) as made:
            pid = os.fork()
            if pid == 0:
                base = resident()
                close = way(made)
                memory = (resident() - base) * 1024 / count
                before, start = used(resource.RUSAGE_SELF), time.monotonic()
                time.sleep(seconds)
                spent = used(resource.RUSAGE_SELF) - before
                share = 100 * spent / (time.monotonic() - start)
                print(f"{name:<22} {share:>8.2f} % {memory:>17.0f} kB", flush=True)
                close()
                os._exit(0)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
