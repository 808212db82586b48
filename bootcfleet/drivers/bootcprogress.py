"""Runs bootc so that its progress comes back line by line.

``--progress-fd`` takes a pipe with a number above 2 (field note *bootc on a host*).  The standard
output of an SSH session need not be one (OpenSSH may use a socket), and bootc sets the pipe to
non-blocking, which whoever shares it would feel: hence a pipe of its own.  What bootc prints goes
to standard error.  The subtasks of each report, a line for each layer, stay on the host.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bootcfleet.domain.bootcprogress import DownloadProgress, Pace, parse_progress
from bootcfleet.drivers.command import OnLine

#: Called with each report, in the thread that reads the host's output.
OnProgress = Callable[[DownloadProgress], None]

#: Stands first in the program, so that whoever sees it run knows what it is.
TITLE = "# bootcfleet: runs bootc, with its progress on standard output"

#: Ends with bootc's own exit code; its arguments are bootc's command line.
PROGRAM = (
    TITLE
    + r"""
exec 4>&1
code=$( { {
  "$@" --progress-fd 3 3>&1 1>&2 4>&- 5>&-
  echo $? >&5
} | while IFS= read -r line; do
  case $line in
  *'"subtasks"'*) line="${line%%\"subtasks\"*}\"subtasks\":[]${line##*]}" ;;
  esac
  printf '%s\n' "$line" >&4
done; } 5>&1 )
exit "$code"
"""
)


def with_progress(argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` (of bootc) with its progress on standard output."""
    return ["sh", "-c", PROGRAM, "sh", *argv]


def listener(on_progress: OnProgress, *, monotonic: Callable[[], float] = time.monotonic) -> OnLine:
    """What to give an executor for its lines: tells the reports among them, not too often."""
    pace = Pace()

    def tell(stream: str, line: str) -> None:
        report = parse_progress(line) if stream == "stdout" else None
        if report is not None and pace.lets(report, monotonic()):
            on_progress(report)

    return tell
