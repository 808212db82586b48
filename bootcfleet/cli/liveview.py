"""The frame of a live view: what is under way stays at the foot of the terminal, the rest scrolls.

Without a terminal there is no view, and events go to `Output` as lines.
"""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bootcfleet.cli.output import Output
from bootcfleet.domain.plaintext import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

#: Seconds between two pictures.
_PAUSE = 0.25


class LiveView:
    """A context manager that draws `_view()` four times a second while it is open.

    `console` is for tests; otherwise it is rich's own of standard output.
    """

    def __init__(self, output: Output, console: Console | None = None) -> None:
        self._output = output
        self._console = console
        self._live: Live | None = None
        # rich computes how far to go up before it draws, and lets others draw in between: a
        # picture that changed its height would leave lines behind.  So one draws at a time.
        self._drawing = threading.Lock()
        self._over = threading.Event()
        self._refresher: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._output.terminal or self._console is not None:
            from rich.live import Live

            self._live = Live(
                console=self._console,
                get_renderable=self._view,
                auto_refresh=False,
                transient=True,
            )
            self._live.start()
            self._refresher = threading.Thread(
                target=self._draw_on, args=(self._live,), name="live view", daemon=True
            )
            self._refresher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._refresher is not None:
            self._refresher.join()
        if self._live is not None:
            # A terminal that is gone needs no view taken away.
            with self._drawing, contextlib.suppress(OSError):
                self._live.stop()

    def _draw_on(self, live: Live) -> None:
        while not self._over.wait(_PAUSE):
            with self._drawing, contextlib.suppress(OSError):
                live.refresh()

    @property
    def live(self) -> bool:
        """Whether it draws."""
        return self._live is not None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines of the terminal."""
        from rich import get_console

        # Live asks for the first picture while it is made.
        width, height = (self._console or get_console()).size
        return width, height

    def above(self, text: str, style: str = "") -> None:
        """Print a line that scrolls by above the view; nothing in it is obeyed."""
        if self._live is not None:
            from rich.text import Text

            with self._drawing:
                self._live.console.print(Text(one_line(text), style=style))

    def _view(self) -> RenderableType:
        """What is under way."""
        raise NotImplementedError
