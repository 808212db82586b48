"""`fleet status` of N hosts, the whole command, beside what else could ask them.

    python bench/fleet_status.py [HOSTS] [ROUNDS] [RIVAL...]

Real sshd, strict host keys, 1,000 known hosts; start-up, inventory, connections,
parsing and table are all in it.  ssh is run as one process a host and only asks; the
asyncssh client is `bench/peers/asyncssh_status.py`, which parses the JSON.  ansible and
asyncssh are used from $BENCH_PEERS (a virtual environment), where they are installed.
Needs root.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fleethosts import ASK, PEERS, ROOT, Hosts, ansible, hosts, in_own_network, quiet, race, table


def with_ssh(made: Hosts, *options: str) -> None:
    """One process a host, fifty at once."""

    def one(address: str) -> None:
        words = [*made.ssh(*options), address, ASK]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert "BootcHost" in done.stdout

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(one, made.addresses))


def rivals(made: Hosts) -> dict[str, Callable[[], None]]:
    """Everything that is there, by name."""
    ours = [sys.executable, "-m", "bootcfleet", "fleet", "status", "--no-registry"]
    found: dict[str, Callable[[], None]] = {
        "bootcfleet fleet status": partial(quiet, [*ours, "-i", str(made.inventory)]),
        "ssh, curve25519": partial(with_ssh, made, "-o", "KexAlgorithms=curve25519-sha256"),
        "ssh, default": partial(with_ssh, made),
    }
    python = PEERS / "bin/python"
    if python.exists():
        words = [str(python), str(ROOT / "bench/peers/asyncssh_status.py"), ASK, made.user]
        words += [str(made.key), str(made.known_hosts), str(made.server.port)]
        found["asyncssh, default"] = partial(quiet, [*words, "default", *made.addresses])
        found["asyncssh, tuned, uvloop"] = partial(quiet, [*words, "tuned", *made.addresses])
    for name, kex in (("curve25519", "curve25519-sha256"), ("default", None)):
        command = ansible(made, ASK, kex=kex)
        if command is not None:
            found[f"ansible -m raw, {name}"] = partial(quiet, command)
    return found


def main() -> None:
    """Measure them in turn and print the medians."""
    in_own_network()
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    wanted = [word for word in sys.argv[1:] if not word.isdigit()]
    count, rounds = [*numbers, *(500, 3)[len(numbers) :]][:2]
    with hosts(count) as made:
        chosen = {
            name: run
            for name, run in rivals(made).items()
            if not wanted or any(word in name for word in ("bootcfleet", *wanted))
        }
        results = race(chosen, rounds)
    print(f"{count} hosts, first contact, median of {rounds}")
    table(results, count)


if __name__ == "__main__":
    main()
