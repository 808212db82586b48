"""bootc with its progress on standard output: the program, by real shells and by the lab."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bootcfleet.domain.bootcprogress import DownloadProgress
from bootcfleet.drivers.bootcprogress import listener, with_progress
from bootcfleet.drivers.command import LocalExecutor
from tests.tools import need

LAYERS = [{"subtask": "ostree_chunk", "id": f"]{number}[", "bytes": 1} for number in range(40)]
#: In the order in which newer versions write the fields, and older ones.
REPORTS = [
    json.dumps({"type": "Start", "version": "0.1.0"}, separators=(",", ":")),
    json.dumps(
        {"bytes": 1, "bytesTotal": 9, "id": "a", "subtasks": LAYERS, "task": "pulling",
         "type": "ProgressBytes"}, separators=(",", ":"),
    ),
    json.dumps(
        {"type": "ProgressSteps", "task": "staging", "steps": 1, "stepsTotal": 1,
         "subtasks": LAYERS},
    ),
]  # fmt: skip

#: Like bootc: reports on the descriptor that it is told, which must be a pipe that nobody else
#: has, text on the two others, and an exit code of its own.
BOOTC = r"""#!/bin/sh
test "$1" = upgrade || exit 90
test "$2 $3" = "--progress-fd 3" || exit 91
test -p /proc/self/fd/3 || exit 92
test ! -e /proc/self/fd/4 || exit 93
echo "layers needed: 40"
echo "error: Upgrading: No space left on device" >&2
cat "$(dirname "$0")/reports" >&3
exit 1
"""


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox"])
def test_the_program_in_any_shell(tmp_path: Path, shell: str) -> None:
    (tmp_path / "reports").write_text("\n".join(REPORTS) + "\nnot the end of a line")
    bootc = tmp_path / "bootc"
    bootc.write_text(BOOTC)
    bootc.chmod(bootc.stat().st_mode | stat.S_IXUSR)
    words = with_progress([str(bootc), "upgrade"])
    words[:1] = [need(shell), *(["sh"] if shell == "busybox" else [])]
    told: list[DownloadProgress] = []
    lines: list[tuple[str, str]] = []
    tell = listener(told.append)

    def both(stream: str, line: str) -> None:
        lines.append((stream, line))
        tell(stream, line)

    result = LocalExecutor().run(words, timeout=20, on_line=both)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "layers needed: 40",
        "error: Upgrading: No space left on device",
    ]
    assert told == [DownloadProgress("pulling", 1, 9), DownloadProgress("staging", 0, 0, 1, 1)]
    reports = [json.loads(line) for stream, line in lines if stream == "stdout"]
    assert [report.get("subtasks") for report in reports] == [None, [], []]


def test_a_report_on_the_other_stream_is_none() -> None:
    told: list[DownloadProgress] = []
    tell = listener(told.append, monotonic=lambda: 0.0)
    tell("stderr", REPORTS[1])
    tell("stdout", "something else")
    assert told == []
    tell("stdout", REPORTS[1])
    assert len(told) == 1
