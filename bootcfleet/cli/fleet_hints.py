"""What to do about hosts that could not be asked, below the table that has the reasons."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.cli.output import Output
from bootcfleet.errors import FleetError

#: More than these would push a table of hosts out of the terminal.
_FEW = 3


def host_hints(output: Output, found: Iterable[tuple[str, object]]) -> None:
    """Say what to run next for the hosts whose answer is an error; the first few, each hint once.

    Anything else than an error is passed over.  `fleet preflight` has all of them.
    """
    hints: dict[str, list[str]] = {}
    for host, answer in found:
        if isinstance(answer, FleetError) and answer.hint:
            hints.setdefault(answer.hint, []).append(host)
    for hint, hosts in list(hints.items())[:_FEW]:
        more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
        output.line(f"hint: {hosts[0]}{more}: {hint}")
    if len(hints) > _FEW:
        left = sum(len(hosts) for hosts in list(hints.values())[_FEW:])
        noun = "host" if left == 1 else "hosts"
        output.line(f"hint: of {left} more {noun}: bootcfleet fleet preflight")
