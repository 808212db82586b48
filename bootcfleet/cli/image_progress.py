"""Progress of a build: a line an image on a terminal, plain or JSON lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootcfleet.cli.liveview import LiveView
from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event
from bootcfleet.domain.plaintext import one_line

if TYPE_CHECKING:
    from rich.console import Group

_STARTED = "image.build.started"
_OUTPUT = "image.build.output"
#: Event kinds that end an image.
_ENDED = frozenset(f"image.build.{end}" for end in ("finished", "failed", "skipped", "cancelled"))
_STYLES = {"built": "green", "failed": "bold red", "skipped": "yellow", "cancelled": "yellow"}
#: Lines of the live view; a project may have more images than a screen has lines.
_VISIBLE = 20


@dataclass
class _Row:
    """One image that is being built: when it began, and podman's last line."""

    since: float
    line: str = ""


class BuildProgress(LiveView):
    """Shows a build's events.  On a terminal: what ended scrolls by, what runs stays below."""

    def __init__(self, output: Output, images: Sequence[str]) -> None:
        super().__init__(output)
        self._images = len(images)
        self._rows: dict[str, _Row] = {}
        self._ended = 0
        self._lock = threading.Lock()

    def event(self, event: Event) -> None:
        """Take an event in; an `Emit`, called from several threads."""
        with self._lock:
            if event.kind == _STARTED:
                self._rows[event.subject] = _Row(time.monotonic())
            elif event.kind == _OUTPUT and event.subject in self._rows:
                self._rows[event.subject].line = event.message
            elif event.kind in _ENDED:
                self._rows.pop(event.subject, None)
                self._ended += 1
        if not self.live:
            self._output.event(event)
        elif event.kind != _OUTPUT or event.data.get("stream") == "bootcfleet":
            style = _STYLES.get(str(event.data.get("outcome", "")), "")
            self.above(f"{event.subject}: {event.message}", style)

    def _view(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        with self._lock:
            rows = [(name, row.since, row.line) for name, row in self._rows.items()]
            ended = self._ended
        title = Text(f"{ended} of {self._images} images ended", style="bold")
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for name, since, line in rows[:_VISIBLE]:
            table.add_row(
                Text(f"  {name}"), Text(f"{now - since:.0f} s"), Text(one_line(line), style="dim")
            )
        if len(rows) > _VISIBLE:
            table.add_row(Text(f"  and {len(rows) - _VISIBLE} more"))
        return Group(title, table)
