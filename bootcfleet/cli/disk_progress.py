"""Progress of a build of disks: a bar on a terminal, plain or JSON lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootcfleet.cli.liveview import LiveView
from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event
from bootcfleet.domain.plaintext import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PROGRESS = "disk.build.progress"
_OUTPUT = "disk.build.output"
_STEP = "disk.build.step"


class DiskProgressView(LiveView):
    """Shows a build's events.  On a terminal: a bar with pipeline and stage."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._pipeline = ""

    def event(self, event: Event) -> None:
        """Take an event in; an `Emit`, called from several threads."""
        if self.live:
            self._draw(self._view(), event)
        elif self._output.as_json:
            self._output.event(event)
        elif event.kind == _PROGRESS:
            self._plain(event)
        elif event.kind != _OUTPUT:
            self._output.event(event)

    def _plain(self, event: Event) -> None:
        """A line for each pipeline; its stages would be hundreds."""
        pipeline = str(event.data.get("pipeline", "")) or event.message
        if pipeline == self._pipeline:
            return
        self._pipeline = pipeline
        done, total = event.data.get("done", 0), event.data.get("total", 0)
        count = f"[{done}/{total}] " if total else ""
        self._output.event(Event(event.kind, event.subject, f"{count}{pipeline}"))

    def _draw(self, bar: Progress, event: Event) -> None:
        if event.kind == _STEP:
            self.above(f"{event.subject}: {event.message}")
            if self._task is not None:
                bar.remove_task(self._task)
            self._task = bar.add_task(one_line(event.message), total=1.0)
        elif event.kind == _PROGRESS and self._task is not None:
            fraction = float(event.data.get("fraction", 0.0))
            bar.update(self._task, completed=fraction, description=one_line(event.message))
        elif event.kind != _OUTPUT:
            self.above(f"{event.subject}: {event.message}")

    def _view(self) -> Progress:
        """The bar; it is drawn by this view, and not by itself."""
        if self._bar is None:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                BarColumn(bar_width=30),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
                auto_refresh=False,
            )
        return self._bar
