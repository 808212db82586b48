"""Gathering evidence: the program by real shells on made-up hosts, and what cannot be had."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bootcfleet.domain.hostevidence import MAX_SIZE, HostEvidence, Source
from bootcfleet.drivers.command import CommandResult, LocalExecutor, OnLine
from bootcfleet.drivers.hostevidence import PROGRAM, gather_evidence
from bootcfleet.errors import HostError, HostFault
from tests.tools import need

#: Answers by what it is asked for; the arguments are kept, to see which boot it was asked about.
JOURNALCTL = r"""
echo "$*" >> "$LOG"
case "$*" in
*--list-boots*) seq 1 9 | sed 's/^/-/' ;;
*finalize*) echo "ostree[18]: error: Bootloader write config: failed" ;;
*greenboot*) echo "--8<-- bootcfleet status"; echo "Script '01.sh' FAILURE (exit code '1')" ;;
*"-p warning"*) yes "kernel: a warning that comes again and again" | head -n 3000 ;;
*-u\ web.service*) echo "web[7]: bind: address in use" ;;
esac
"""
SYSTEMCTL = r"""
case "$*" in
*"--property=SoftRebootsCount --value"*) echo "$SOFT" ;;
*SoftRebootsCount*) echo "Version=257"; echo "SoftRebootsCount=$SOFT" ;;
is-system-running) echo degraded; exit 1 ;;
*--failed*) echo "web.service loaded failed failed Web" ;;
esac
"""
BOOTC = 'echo "{}"'


def machine(folder: Path, soft: str = "0") -> LocalExecutor:
    """Commands that stand first on the path."""
    for name, body in (("journalctl", JOURNALCTL), ("systemctl", SYSTEMCTL), ("bootc", BOOTC)):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}")
        path.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(folder / "log"), "SOFT": soft}
    return Here(env=env)


class Here(LocalExecutor):
    """This machine, whoever the user is, with a shell of the test's choice."""

    shell: tuple[str, ...] = ("sh",)

    def run(self, argv, *, as_root=False, **more) -> CommandResult:  # type: ignore[no-untyped-def,override]
        assert as_root
        return super().run([*self.shell, *argv[1:]], **more)


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox"])
def test_the_program_in_any_shell(tmp_path: Path, shell: str) -> None:
    here = machine(tmp_path)
    here.shell = (need(shell), *(["sh"] if shell == "busybox" else []))  # type: ignore[attr-defined]
    found = gather_evidence(here, "web1", previous_boot=True)
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert found.system_state == "degraded"
    assert found.failed_units == ("web.service",)
    assert found.finalize_failure == "Bootloader write config: failed"
    assert found.greenboot_reason == "01.sh"
    assert found.lines(Source.FAILED_UNITS) == ("web[7]: bind: address in use",)
    assert found.boots == ("-5", "-6", "-7", "-8", "-9")
    assert 5 < len(found.lines(Source.WARNINGS)) < 100
    assert len(json.dumps(found.to_json())) <= MAX_SIZE
    assert "not a status of bootc" in found.notes[0]
    asked = (tmp_path / "log").read_text().splitlines()
    assert [line for line in asked if "finalize" in line] == [
        "-q --no-pager --utc -o short-iso -b -1 -n 15 -u ostree-finalize-staged.service "
        "-u bootc-finalize-staged.service"
    ]


def test_of_this_boot_alone(tmp_path: Path) -> None:
    found = gather_evidence(machine(tmp_path), "web1", previous_boot=False)
    assert found.lines(Source.FINALIZE) == ()
    assert found.lines(Source.WARNINGS)
    assert "-b -1" not in (tmp_path / "log").read_text()


def test_a_soft_reboot_is_no_new_boot_for_the_journal(tmp_path: Path) -> None:
    found = gather_evidence(machine(tmp_path, soft="2"), "web1", previous_boot=True)
    assert found.boot_id is not None
    assert found.boot_id.endswith("+2")
    assert found.lines(Source.FINALIZE)
    assert "-b -1" not in (tmp_path / "log").read_text()


def test_a_machine_that_has_none_of_it(tmp_path: Path) -> None:
    found = gather_evidence(Here(), "web1", previous_boot=True)
    assert found.boot_id is not None
    assert any("bootc status did not answer" in note for note in found.notes)
    assert HostEvidence.from_json(found.to_json()) == found


class Answer:
    """An executor with one answer."""

    def __init__(self, answer: CommandResult | HostError) -> None:
        self.answer = answer

    def run(
        self, argv: object, *, timeout: float | None = None, stdin: bytes | None = None,
        as_root: bool = False, on_line: OnLine | None = None,
    ) -> CommandResult:  # fmt: skip
        if isinstance(self.answer, HostError):
            raise self.answer
        return self.answer

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        raise NotImplementedError

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (HostError("web1", HostFault.UNREACHABLE, "connection\nrefused"), "connection refused"),
        (CommandResult((), 127, "", "sh: \x1b[31mnot found\n", 0.0), "it says sh: not found"),
        (CommandResult((), 0, "", "", 0.0), "it says nothing"),
    ],
)
def test_a_host_that_cannot_be_asked_is_no_second_failure(
    answer: CommandResult | HostError, note: str
) -> None:
    found = gather_evidence(Answer(answer), "web1", previous_boot=True)
    assert found.notes[0].startswith("it could not be asked: ")
    assert note in found.notes[0]


def test_the_program_changes_nothing() -> None:
    for word in ("reset-failed", "restart", "start ", "stop ", "rm ", ">>", "systemctl reboot"):
        assert word not in PROGRAM
