"""Who listens to a rollout besides its controller: webhooks and metrics.

They have their own tally of the events and their own threads.  Nothing of them can hold the
rollout up or end it: what fails is an event ``notify.failed`` and a note.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.notify import Notices
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry, RolloutRecord
from bootcfleet.domain.rollout_metrics import exposition
from bootcfleet.domain.rollout_policy import NotifyTarget
from bootcfleet.domain.rollout_replay import begin
from bootcfleet.domain.rollout_tally import Tally
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.metricsfile import MetricsEndpoint, MetricsFile
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.ops.audit import current_actor
from bootcfleet.ops.notify import Notifier

#: Seconds between two writes of the metrics file: at least, and at most while nothing happens.
_SOON, _ALIVE = 1.0, 15.0
#: Seconds for webhooks that are still to be told at the end, and after ^C or an error.
_FLUSH, _FLUSH_SHORT = 10.0, 3.0


@dataclass(frozen=True)
class Metrics:
    """Where metrics go: a file ``*.prom``, an address ``HOST:PORT`` to listen on, or nowhere."""

    file: Path | None = None
    listen: str | None = None


@contextmanager
def listening(
    emit: Emit,
    history: Iterable[tuple[datetime, Event]],
    *,
    targets: Sequence[NotifyTarget] = (),
    metrics: Metrics | None = None,
    note: Callable[[str], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> Iterator[Emit]:
    """An `Emit` that all listeners hear as well; they are done when this ends.

    `history` is what happened before, as `JournalEvents.all` tells it: the plan at least.
    `note` writes a sentence down; it is called from other threads.

    Raises `UsageError` or `FleetError` for metrics that can go nowhere, before anything began.
    """
    tally = Tally()
    for at, event in history:
        tally.take(event, at.timestamp())
    listeners = _Listeners(emit, tally, clock, note)
    with ExitStack() as stack:
        if metrics is not None:
            listeners.measure(metrics, stack)
        if targets:
            listeners.notify(targets, environ, stack)
        yield listeners.event


@contextmanager
def beside(
    ledger: Ledger,
    record: RolloutRecord,
    emit: Emit,
    *,
    entries: Sequence[JournalEntry] = (),
    metrics: Metrics | None = None,
) -> Iterator[Emit]:
    """`listening` as the record's policy says, with notes into the journal of the rollout.

    `entries` are what is in the journal already.  Raises as `listening` does.
    """
    store = RolloutStore.open(ledger.db)

    def note(message: str) -> None:
        entry = NewEntry(EntryKind.NOTE, "", {"kind": "notify.failed", "message": message})
        store.append(record.id, [entry], at=datetime.now(UTC), actor=current_actor())

    history = JournalEvents(record).all(entries)
    targets = begin(record).policy.notify
    with listening(emit, history, targets=targets, metrics=metrics, note=note) as both:
        yield both


class _Listeners:
    """The tally of all listeners, and what each of them does with an event."""

    def __init__(
        self, emit: Emit, tally: Tally, clock: Callable[[], float], note: Callable[[str], None]
    ) -> None:
        self._emit = emit
        self._tally = tally
        self._clock = clock
        self._note = note
        self._lock = threading.Lock()
        self._notices = Notices()
        self._notifier: Notifier | None = None
        self._writer: _Writer | None = None
        self._unwritten: list[str] = []

    def event(self, event: Event) -> None:
        """Take an event in and pass it on; called from several threads."""
        now = self._clock()
        with self._lock:
            self._tally.take(event, now)
            notice = self._notices.of(event, self._tally, datetime.fromtimestamp(now, UTC))
        if event.kind == "rollout.started" and self._unwritten:
            self._write_notes()
        if notice is not None and self._notifier is not None:
            self._notifier.tell(notice)
        if self._writer is not None:
            self._writer.changed.set()
        self._emit(event)

    def text(self) -> str:
        """The metrics as they are now."""
        with self._lock:
            return exposition(self._tally, self._clock())

    def failed(self, message: str) -> None:
        """A listener could not do its work."""
        with self._lock:
            self._unwritten.append(message)
        self._write_notes()
        # That nobody hears it is for the controller to find out: here it would end a thread that
        # has more to do. ^C comes to the main thread.
        with contextlib.suppress(Exception, KeyboardInterrupt):
            self._emit(Event("notify.failed", "", message, {"rollout": self._tally.rollout}))

    def _write_notes(self) -> None:
        """Write down what could not be yet: before the start there is no journal."""
        with self._lock:
            notes, self._unwritten = self._unwritten, []
        for number, message in enumerate(notes):
            try:
                self._note(message)
            except Exception:  # noqa: BLE001 - nothing of this may end the rollout
                # A ledger that is busy or gone is the controller's to report.
                with self._lock:
                    self._unwritten = notes[number:] + self._unwritten
                return

    def measure(self, metrics: Metrics, stack: ExitStack) -> None:
        """Begin to write and to serve metrics."""
        file = MetricsFile(metrics.file) if metrics.file is not None else None
        if metrics.listen is not None:
            stack.callback(MetricsEndpoint(metrics.listen, self.text).close)
        if file is not None:
            self._writer = _Writer(file, self.text, self.failed)
            self._writer.start()
            stack.callback(self._writer.close)

    def notify(
        self, targets: Sequence[NotifyTarget], environ: Mapping[str, str], stack: ExitStack
    ) -> None:
        """Begin to tell webhooks."""
        notifier = self._notifier = Notifier(targets, environ, self.failed)

        def close(kind: type[BaseException] | None, *_: object) -> None:
            notifier.close(_FLUSH if kind is None else _FLUSH_SHORT)

        stack.push(close)


class _Writer(threading.Thread):
    """Writes the metrics file soon after each change, and now and then without one."""

    def __init__(
        self, file: MetricsFile, text: Callable[[], str], failed: Callable[[str], None]
    ) -> None:
        super().__init__(name="metrics file", daemon=True)
        self._file = file
        self._text = text
        self._failed = failed
        self._said = False
        self._over = threading.Event()
        self.changed = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            self._write()
            if not self._over.wait(_SOON):
                self.changed.wait(_ALIVE)
                self.changed.clear()

    def close(self) -> None:
        """Write once more, and stop."""
        self._over.set()
        self.changed.set()
        self.join()
        self._write()

    def _write(self) -> None:
        try:
            self._file.write(self._text())
        except OSError as error:
            # Said once: a disk that is full stays full for a while.
            if not self._said:
                self._failed(f"{self._file.path} cannot be written: {error.strerror or error}")
            self._said = True
        else:
            self._said = False
