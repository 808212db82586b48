"""How a rollout goes, as it goes: a live view on a terminal, lines with times or JSON elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bootcfleet.cli.liveview import LiveView
from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event
from bootcfleet.domain.measure import span
from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import ENDS
from bootcfleet.domain.rollout_journal import WavePhase
from bootcfleet.domain.rollout_tally import BAD, Tally

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_ENDED = frozenset(f"host.{phase}" for phase in ENDS)
_BAD = frozenset(f"host.{phase}" for phase in BAD)
#: Too many to be lines, and nothing is lost with them.
_QUIET = frozenset({"host.download", "host.skipped"})
#: The rest says in its message what it is.
_NAMED = ("rollout.", "wave.")
#: With more hosts than this, only those that ended badly scroll by above the view.
_FEW = 50


class OutputLostError(KeyboardInterrupt):
    """Nobody takes what a controller says: the reader of a pipe is gone, or the disk is full.

    It ends what ^C ends, and in the same way, in whatever thread it comes up: no host is to blame,
    and the journal says that nobody goes on.
    """


class RolloutProgress(LiveView):
    """Shows the events of a rollout.  Safe to use from several threads.

    `tally` holds what is known already (the waves of the plan; all that happened before, for
    one who comes later).  `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        output: Output,
        tally: Tally | None = None,
        *,
        clock: Callable[[], float] = time.time,
        console: Console | None = None,
    ) -> None:
        super().__init__(output, console)
        self.tally = tally if tally is not None else Tally()
        self._clock = clock
        self._lock = threading.Lock()

    def event(self, event: Event) -> None:
        """Take an event in that happens now; the `Emit` of a controller.

        Raises `OutputLostError` when it cannot be shown.
        """
        try:
            self.happened(event, self._clock())
        except OSError as error:
            # `| head`: silence would hide that hosts were left half way.
            why = "nobody reads its output any more"
            if not isinstance(error, BrokenPipeError):
                why = f"its output cannot be written: {error.strerror or error}"
            raise OutputLostError(why) from error

    def happened(self, event: Event, at: float) -> None:
        """Take an event in that happened at `at`."""
        with self._lock:
            self.tally.take(event, at)
        if self._output.as_json:
            stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
            self._output.json_line({"at": stamp, **event.to_json()})
        elif event.kind in _QUIET or self._known(event):
            return
        elif not self.live:
            stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._output.line(f"{stamp} {self._sentence(event)}")
        elif (
            not event.subject
            or event.kind in _BAD
            or (event.kind in _ENDED and len(self.tally.hosts) <= _FEW)
        ):
            style = "red" if event.kind in _BAD or event.kind == "rollout.halted" else ""
            self.above(self._sentence(event), style)

    def _known(self, event: Event) -> bool:
        """Whether people know it: nothing more is waited for, or it was said already."""
        if event.kind == "rollout.note":
            return event.data.get("kind") == "notify.failed"
        if event.kind != "rollout.waiting":
            return False
        bakes = (one for one in self.tally.waves.values() if one.phase is WavePhase.BAKING)
        return not event.message or any(one.title == event.data.get("what") for one in bakes)

    def _sentence(self, event: Event) -> str:
        """What happened, on one line: whom it is about, and what it is."""
        wave = self.tally.waves.get(event.data.get("wave", -1))
        subject = event.subject
        if not subject and event.kind.startswith("wave."):
            subject = wave.title if wave else ""
        kind = event.kind.partition(".")[2] if event.kind.startswith(_NAMED) else ""
        said = event.message
        if event.kind == "wave.baking" and isinstance(event.data.get("seconds"), int | float):
            said = said or f"baking for {span(event.data['seconds'])}"
        if kind and not said.startswith(kind):
            said = f"{kind}: {said}" if said else kind
        return one_line(f"{subject}: {said}" if subject else said)

    def _view(self) -> RenderableType:
        from bootcfleet.cli.rollout_frame import frame

        width, height = self.size
        with self._lock:
            return frame(self.tally, self._clock(), width, height)
