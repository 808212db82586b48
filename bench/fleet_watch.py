"""Watching N hosts whose connections are kept: asking them again, and letting them speak.

    python bench/fleet_watch.py [HOSTS] [ROUNDS]

A poll is a look at every host: boot id, version, `bootc status`, parsed.  "let the host
speak" is the same question where one host in ten changes between two looks, and where
none does, beside the peers: ansible with its connections kept (ControlPersist), and
asyncssh, which keeps its own.  Needs root.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fleethosts import ASK, PEERS, ROOT, Hosts, ansible, hosts, in_own_network, quiet, race, table

from bootcfleet.drivers.hostwatch import HostWatch
from bootcfleet.errors import FleetError
from bootcfleet.ops import connect
from bootcfleet.ops.fleet import Fleet, observe
from bootcfleet.ops.fleetwatch import FleetWatch

#: Seconds between two looks.
EVERY = 5.0


def fleet_of(made: Hosts) -> Fleet:
    """All hosts, not connected yet."""
    _, found = connect.select(made.inventory, (), (), ())
    return connect.over_ssh(found, lambda _question: "")


def watching(watch: FleetWatch, touched: list[Path]) -> Callable[[], None]:
    """Change some hosts, and look until they are known again."""

    def run() -> None:
        for path in touched:
            path.touch()
        wanted, end = len(touched), time.monotonic() + 4 * EVERY
        while wanted > 0 and time.monotonic() < end:
            watch.wait(EVERY)
            wanted -= len(watch._due)
            facts = watch.facts()
            assert not any(isinstance(one, FleetError) for one in facts.values())
        assert wanted <= 0, f"{wanted} hosts did not speak"
        if not touched:
            watch.wait(EVERY)
            watch.facts()

    return run


def asyncssh_polls(made: Hosts) -> tuple[subprocess.Popen[str], Callable[[], None]] | None:
    """A process that polls all hosts whenever a line comes."""
    python = PEERS / "bin/python"
    if not python.exists():
        return None
    words = [str(python), str(ROOT / "bench/peers/asyncssh_status.py"), ASK, made.user]
    words += [str(made.key), str(made.known_hosts), str(made.server.port), "polls"]
    process = subprocess.Popen(
        [*words, *made.addresses], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asks, answers = process.stdin, process.stdout
    answers.readline()

    def run() -> None:
        asks.write("again\n")
        asks.flush()
        answers.readline()

    return process, run


def main() -> None:
    """Measure them in turn and print the medians."""
    in_own_network()
    count, rounds = [*map(int, sys.argv[1:]), *(500, 3)[len(sys.argv) - 1 :]][:2]
    with hosts(count) as made:
        asked, spoken = fleet_of(made), fleet_of(made)
        observe(asked)
        # Every host has the same disk here, so that each looks at a file of its own.
        files = [made.folder / f"changes{n}" for n in range(count)]
        for path in files:
            path.touch()
        watch = FleetWatch(spoken, every=EVERY, watch=OwnPaths(files, list(spoken.names)))
        watch.facts()
        rivals: dict[str, Callable[[], None]] = {
            "bootcfleet, asked again": lambda: void(observe(asked)),
            "let speak, 10 % changed": watching(watch, files[::10]),
            "let speak, none changed": watching(watch, []),
        }
        commands = [ansible(made, ASK, kex="curve25519-sha256")]
        polls = asyncssh_polls(made)
        if polls is not None:
            rivals["asyncssh, kept"] = polls[1]
        masters = commands[0]
        results = race(rivals, rounds, keep=True)
        if masters is not None:
            quiet(masters)
            results |= race({"ansible -m raw, kept": lambda: quiet(masters)}, rounds, keep=True)
        watch.close()
        for fleet in (asked, spoken):
            fleet.close()
        if polls is not None:
            polls[0].kill()
            polls[0].wait()
    print(f"{count} hosts, kept connections, a look at all of them, median of {rounds}")
    table(results, count, "CPU a host")


class OwnPaths(HostWatch):
    """Gives each host a path of its own to look at."""

    def __init__(self, files: list[Path], names: list[str]) -> None:
        super().__init__(pause=2)
        self._files = dict(zip(names, files, strict=True))

    def follow(self, host: str, executor: object, paths: Sequence[str] = ()) -> bool:
        """See `HostWatch.follow`."""
        return super().follow(host, executor, paths or (str(self._files[host]),))


def void(_result: object) -> None:
    """Drop a result."""


if __name__ == "__main__":
    main()
