"""What a controller on the command line has around it: workers, listeners, and ^C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType

from bootcfleet.cli.fleet_options import Running
from bootcfleet.cli.output import Output
from bootcfleet.cli.rollout_progress import RolloutProgress
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import JournalEntry, RolloutRecord
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import InterruptedRunError
from bootcfleet.ops.audit import project_commit
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.hosttask import Surroundings
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.rollout_listen import Metrics, beside
from bootcfleet.ops.rollout_run import Office
from bootcfleet.ops.workers import ExecutorWorkers, ThreadWorkers, Workers


@dataclass(frozen=True)
class Desk:
    """Where a controller works."""

    office: Office
    workers: Workers


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP are taken for ^C, so that the journal says that nobody goes on."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        # `nohup` is what people said who do not want to be stopped.
        if signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def desk(
    output: Output,
    loaded: LoadedProject | None,
    ledger: Ledger,
    record: RolloutRecord,
    fleet: Fleet,
    running: Running,
    entries: Sequence[JournalEntry] = (),
) -> Iterator[Desk]:
    """A desk for a rollout; `entries` are what is in its journal already.

    Raises `InterruptedRunError` on ^C inside of it, with what to run next; the loss of the
    terminal, or of who reads the output, and `systemctl stop` are the same.
    """
    with ExitStack() as stack:
        stack.enter_context(_signals())
        progress = RolloutProgress(output)
        for at, event in JournalEvents(record).all(entries):
            progress.tally.take(event, at.timestamp())
        stack.enter_context(progress)
        metrics = Metrics(running.metrics_file, running.metrics_listen)
        emit = stack.enter_context(
            beside(ledger, record, progress.event, entries=entries, metrics=metrics)
        )
        workers: Workers
        if running.executor is not None:
            from bootcfleet.ops.executors import executor_at

            executor = stack.enter_context(executor_at(running.executor))
            workers = ExecutorWorkers(executor, running.parallel)
        else:
            client = stack.enter_context(RegistryClient())
            around = Surroundings(emit=emit, resolve=client.resolve)
            workers = ThreadWorkers(fleet, running.parallel, around)
        office = Office(
            ledger,
            project_commit(loaded),
            emit=emit,
            directory=str(loaded.root) if loaded is not None else "",
        )
        try:
            yield Desk(office, workers)
        except KeyboardInterrupt as error:
            why = f"{error}: " if str(error) else ""
            raise InterruptedRunError(
                f"{why}stopped; the rollout {record.id} is open",
                hint=f"go on with `bootcfleet rollout resume {record.id}`, or give it up with "
                f"`bootcfleet rollout abort {record.id}`",
            ) from None
