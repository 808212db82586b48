"""How often a system is asked: what needs time is given it, what does not is judged at once."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from bootcfleet.domain.check import Check, Mode, Outcome
from bootcfleet.domain.checkfile import CheckSource, checks_of
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.systemcheck import check_system

UP = "LoadState=loaded\nActiveState=active\nSubState=running\n"
DOWN = "LoadState=loaded\nActiveState=activating\nSubState=start\n"


@dataclass
class System:
    """Answers by the second; `broken` is how long nobody can speak to it."""

    starts_after: float = 0.0
    broken: float = 0.0
    now: float = 0.0
    asked: list[list[str]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

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
        if self.now < self.broken:
            raise HostError("a", HostFault.CONNECTION_LOST, "connection lost")
        if stdin is None:
            self.ran.append(" ".join(argv))
            return CommandResult(tuple(argv), int(self.now < self.starts_after), "", "", 0)
        lines = stdin.decode().splitlines()
        self.asked.append(lines)
        out = ""
        for number, line in enumerate(lines, start=1):
            verb = line.split("\t")[0]
            text = UP if self.now >= self.starts_after else DOWN
            answer = {"unitstate": ("state", text), "kernels": ("kernel", "6.12")}.get(verb)
            if answer:
                out += f"{number}\t{answer[0]}\t{base64.b64encode(answer[1].encode()).decode()}\n"
        return CommandResult((), 0, f"{out}{len(lines)} END\n", "", 0)

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        raise NotImplementedError

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def checks(text: str) -> tuple[Check, ...]:
    document = yamlfile.parse(f"version: 1\nchecks: [{text}]\n", "c.yaml")
    return checks_of([[CheckSource("web", document, {})]])


@pytest.fixture
def run() -> Callable[[System, str, Mode], list[Outcome]]:
    def do(system: System, text: str, mode: Mode) -> list[Outcome]:
        results = check_system(
            checks(text), system, mode, reason="r", sleep=system.sleep,
            monotonic=lambda: system.now,
        )  # fmt: skip
        return [result.outcome for result in results]

    return do


Run = Callable[[System, str, Mode], list[Outcome]]
PASSED, FAILED, SKIPPED, NOT_HERE = Outcome


def test_everything_is_asked_in_one_command_and_once(run: Run) -> None:
    system = System()
    text = "{kernels: 1}, {unit: [a.service, b.service], active: true}, {kernels: 2}"
    assert run(system, text, Mode.BOOTED) == [PASSED, PASSED, PASSED, FAILED]
    assert system.asked == [["kernels", "unitstate\ta.service", "unitstate\tb.service"]]


def test_a_service_may_take_its_time_and_nothing_else_is_asked_again(run: Run) -> None:
    system = System(starts_after=5)
    text = "{kernels: 2}, {unit: a.service, active: true, within: 10}"
    assert run(system, text, Mode.BOOTED) == [FAILED, PASSED]
    assert system.now == 5
    assert system.asked[1:] == [["unitstate\ta.service"]] * 5


def test_its_time_ends(run: Run) -> None:
    system = System(starts_after=5)
    assert run(system, "{unit: a.service, active: true, within: 3}", Mode.HOST) == [FAILED]
    assert system.now == 3


def test_a_command_is_run_again_only_where_it_needs_a_boot(run: Run) -> None:
    system = System(starts_after=2)
    text = "{command: 'one'}, {command: 'two', needs: boot}"
    assert run(system, text, Mode.BOOTED) == [FAILED, PASSED]
    assert system.ran == ["one", "two", "two", "two"]


def test_plain_asks_nothing_that_needs_a_boot(run: Run) -> None:
    system = System()
    text = "{unit: a.service, active: true}, {kernels: 1, needs: host}, {command: x, needs: boot}"
    assert run(system, text, Mode.PLAIN) == [SKIPPED, NOT_HERE, SKIPPED]
    assert (system.asked, system.ran, system.now) == ([], [], 0)


def test_a_connection_that_breaks_is_no_answer_of_a_host(run: Run) -> None:
    system = System(broken=4)
    assert run(system, "{kernels: 1}, {command: x}", Mode.HOST) == [PASSED, PASSED]
    assert system.now == 4
    system = System(broken=99)
    assert run(system, "{kernels: 1}, {kernels: 1, within: 2, name: x}", Mode.HOST) == [
        FAILED, FAILED,
    ]  # fmt: skip
    assert system.now == 30
    # A container that is gone does not come back.
    system = System(broken=4)
    assert run(system, "{kernels: 1}", Mode.BOOTED) == [FAILED]
    assert system.now == 0
