"""Progress of work on many hosts: a live view on a terminal, plain or JSON lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bootcfleet.cli.liveview import LiveView
from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event
from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import ENDS

if TYPE_CHECKING:
    from rich.console import Group

#: Event kinds that end a host.
_ENDED = frozenset(f"host.{phase}" for phase in ENDS)
#: Lines of the live view; a fleet may be larger than a screen.
_VISIBLE = 12


class HostProgress(LiveView):
    """Shows events as they come.  On a terminal: what ended scrolls by, what runs stays below."""

    def __init__(self, output: Output, hosts: int) -> None:
        super().__init__(output)
        self._hosts = hosts
        self._running: dict[str, tuple[str, float]] = {}
        self._ended = 0

    def event(self, event: Event) -> None:
        """Take an event in; an `Emit`."""
        if event.subject and event.kind in _ENDED:
            self._running.pop(event.subject, None)
            self._ended += 1
        elif event.subject:
            self._running[event.subject] = (event.message, time.monotonic())
        if not self.live:
            # Hosts that a halt left alone are named together at the end.
            if self._output.as_json or event.kind != "host.skipped":
                self._output.event(event)
        elif event.kind != "host.skipped" and (event.kind in _ENDED or not event.subject):
            self.above(f"{event.subject}: {event.message}" if event.subject else event.message)

    def _view(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        running = list(self._running.items())
        lines = [
            Text(
                f"  {one_line(f'{host}: {message}')} ({now - since:.0f} s)",
                overflow="ellipsis",
                no_wrap=True,
            )
            for host, (message, since) in running[:_VISIBLE]
        ]
        if len(running) > _VISIBLE:
            lines.append(Text(f"  and {len(running) - _VISIBLE} more"))
        return Group(Text(f"{self._ended} of {self._hosts} hosts ended", style="bold"), *lines)
