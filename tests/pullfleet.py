"""A project with channels in a registry, and hosts that follow them as their timers would do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.pull_policy import PullChannel, PullPlan, PullPolicy
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout_journal import JournalEntry
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.promote import promote_now
from bootcfleet.ops.pull_look import PullTools
from bootcfleet.ops.pull_plan import plan_pull
from tests import machines
from tests.channelproject import ChannelProject
from tests.machines import Machine, said

CHANNELS = (
    "  test: {}\n"
    "  prod-canary: {from: test}\n"
    "  prod-1: {from: prod-canary}\n"
    "  prod: {from: prod-1}\n"
)
NAMES = ("prod-canary", "prod-1", "prod")
ID = "20261121-040000-abcd"


@dataclass
class Follower(Machine):
    """A host whose timer moves it to what its tag is; `timer` is whether it is active."""

    timer: bool = True

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        if list(argv[:2]) == ["systemctl", "is-active"]:
            return said("active\n") if self.timer else said("inactive\n", "", 3)
        return super().run(argv, timeout=timeout)

    def follow(self, digest: str) -> None:
        """What the timer's service does when it fires."""
        if self.timer and not self.down and digest != self.booted:
            self.staged = digest
            self.reboot()
            self.down = 0


@dataclass
class PullFleet:
    """The project, its hosts (`count` to a channel), and what the controller works with."""

    project: ChannelProject
    machines: dict[str, Follower]
    hosts: list[Host]
    client: RegistryClient = field(default_factory=RegistryClient)
    contacts: list[str] = field(default_factory=list)
    gates: dict[str, GateResult] = field(default_factory=dict)
    frozen: bool = False
    slept: list[float] = field(default_factory=list)
    channels: Channels | None = None

    @classmethod
    def make(
        cls,
        folder: Path,
        address: str,
        count: int = 3,
        channels: str = CHANNELS,
        ledger: str | None = None,
    ) -> PullFleet:
        """All channels are at version 1, and test is at version 2."""
        project = ChannelProject.make(folder, address, channels, images="web")
        if ledger is not None:
            with (folder / "bootcfleet.yaml").open("a") as file:
                file.write(f"ledger: {ledger}\n")
        old = project.push("web", "1")
        with project.open() as opened:
            promote_now(opened, ["web"], old, "test")
            for before, name in zip(("test", *NAMES), NAMES, strict=False):
                promote_now(opened, ["web"], before, name)
        made = cls._of(project, old, count)
        made.publish("2")
        return made

    @classmethod
    def reopen(cls, folder: Path, address: str, count: int = 2) -> PullFleet:
        """The same project in another process, with hosts of its own at version 1."""
        project = ChannelProject(folder, address)
        machines.VERSIONS[project.push("web", "2")] = "2"
        return cls._of(project, project.push("web", "1"), count)

    @classmethod
    def _of(cls, project: ChannelProject, old: str, count: int) -> PullFleet:
        machines.VERSIONS[old] = "1"
        hosts, there = [], {}
        for name in NAMES:
            reference = f"{project.address}/acme/web:{name}"
            for number in range(count):
                host = f"{name}-h{number}"
                hosts.append(Host(host, image=ImageRef.parse(reference)))
                there[host] = Follower(host, booted=old, reference=reference)
        return cls(project, there, hosts)

    def publish(self, version: str, *, sick: bool = False) -> str:
        """A new version in test; its digest."""
        digest = self.project.push("web", version)
        machines.VERSIONS[digest] = version
        with self.project.open() as channels:
            promote_now(channels, ["web"], digest, "test")
        if sick:
            for machine in self.machines.values():
                machine.sick_on = frozenset({digest})
        return digest

    def tag(self, name: str) -> str | None:
        """What a channel's tag points at."""
        found = self.client.find(ImageRef.parse(f"{self.project.address}/acme/web:{name}"))
        return str(found) if found else None

    def tags(self) -> list[str]:
        """The version that each channel is at."""
        return [machines.VERSIONS[self.tag(name) or ""] for name in NAMES]

    def versions(self, name: str) -> list[str]:
        """The versions that the hosts of a channel run."""
        mine = [one for host, one in self.machines.items() if host.startswith(f"{name}-h")]
        return [machines.VERSIONS[one.booted] for one in mine]

    def fire(self) -> None:
        """Every timer fires."""
        found = {name: self.tag(name) for name in NAMES}
        for host, machine in self.machines.items():
            digest = found[host.rpartition("-h")[0]]
            if digest:
                machine.follow(digest)

    def sleep(self, seconds: float) -> None:
        """Time passes, and meanwhile the timers fire."""
        self.slept.append(seconds)
        self.project.now += timedelta(seconds=seconds)
        if not self.frozen:
            self.fire()

    def connect(self, hosts: Sequence[Host]) -> Fleet:
        """Speak to these hosts; every one of them is counted."""
        self.contacts += [host.name for host in hosts]
        return Fleet(hosts, lambda host: self.machines[host.name])

    def ask(self, gate: MetricGate) -> GateResult:
        """A metric gate's answer, by its name."""
        return self.gates.get(gate.name, GateResult(gate.name, True, "holds"))

    @contextmanager
    def tools(self) -> Iterator[PullTools]:
        """What the controller works with; its clock is the project's."""
        with self.project.open() as channels:
            store = RolloutStore.open(channels.store.db)
            yield PullTools(channels, store, self.hosts, self.connect, self.ask, sleep=self.sleep)

    def plan(self, tools: PullTools, **rules: object) -> PullPlan:
        """A plan by a policy of the three channels."""
        return plan_pull(tools.channels, self.hosts, "web", policy(**rules), rollout_id=ID)

    def journal(self) -> list[JournalEntry]:
        """The rollout's entries."""
        with self.tools() as tools:
            return tools.store.entries(ID)

    def history(self, name: str) -> list[str]:
        """The digests' versions that a channel's history has."""
        with self.project.open() as channels:
            entries = channels.store.history("web", name)
        return [machines.VERSIONS[entry.digest] for entry in entries]


def policy(**rules: object) -> PullPolicy:
    """Three channels with the same rules; ``first`` are those of the first one instead."""
    first = rules.pop("first", {})
    names = rules.pop("names", NAMES)
    assert isinstance(names, tuple)
    poll = float(str(rules.pop("poll", 2.0)))
    given: dict[str, object] = {"sample": Limit(2), "success": 100, "deadline": 60.0, **rules}
    made = []
    for number, name in enumerate(names):
        more = first if number == 0 and isinstance(first, dict) else {}
        made.append(PullChannel(name, **{**given, **more}))  # type: ignore[arg-type]
    return PullPolicy(tuple(made), poll=poll)
