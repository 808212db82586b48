"""Who does the actions of a rollout: threads here, or any executor of concurrent.futures."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import Executor as FuturesExecutor
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from bootcfleet.domain.event import ignore
from bootcfleet.domain.inventory import Connection, Host
from bootcfleet.domain.judgement import HostReply
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from bootcfleet.errors import FleetError
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.hosttask import HostTask, Surroundings
from bootcfleet.ops.hostwork import perform


class Workers(Protocol):
    """Where tasks go."""

    def submit(self, task: HostTask) -> Future[HostReply]:
        """Begin a task."""
        ...

    def room(self, running: int) -> int:
        """How many more may be begun, with so many running."""
        ...

    def stop(self) -> None:
        """Let go of all that runs; no reply of it is waited for."""
        ...


class ThreadWorkers:
    """Threads of this process, over the fleet's kept connections."""

    def __init__(self, fleet: Fleet, parallel: int, around: Surroundings | None = None) -> None:
        self._fleet = fleet
        self._parallel = parallel
        self._stopped = threading.Event()
        around = around or Surroundings()
        self._sleep = around.sleep
        self._around = replace(around, sleep=self._pause)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="host")

    def submit(self, task: HostTask) -> Future[HostReply]:
        """Begin a task on the host's kept connection."""
        executor = self._fleet.executor(task.host.name)
        return self._pool.submit(perform, task, executor, self._around)

    def room(self, running: int) -> int:
        """As many as there are threads."""
        return self._parallel - running

    def stop(self) -> None:
        """Nothing more is begun; what waits inside of a task stops waiting."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pause(self, seconds: float) -> None:
        if self._stopped.is_set():
            raise FleetError("stopped by the user")
        self._sleep(seconds)


class ExecutorWorkers:
    """Any `concurrent.futures.Executor`, be it of processes or of other machines.

    Each worker process opens connections of its own and keeps them; they need the same keys
    and known_hosts as this one, and nobody there can be asked for a passphrase.
    """

    def __init__(self, executor: FuturesExecutor, parallel: int) -> None:
        self._executor = executor
        self._parallel = parallel
        self._futures: weakref.WeakSet[Future[HostReply]] = weakref.WeakSet()

    def submit(self, task: HostTask) -> Future[HostReply]:
        """Begin a task wherever the executor likes."""
        future = self._executor.submit(perform_there, task)
        self._futures.add(future)
        return future

    def room(self, running: int) -> int:
        """As many as were asked for: the executor has its own limits."""
        return self._parallel - running

    def stop(self) -> None:
        """Nothing more is begun."""
        # Not all executors know of cancelling at their shutdown.
        for future in list(self._futures):
            future.cancel()
        self._executor.shutdown(wait=False)


@dataclass
class _Kept:
    """The connections of a worker process."""

    shared: SshShared
    executors: dict[tuple[str, Connection], Executor]
    lock: threading.Lock


_kept: _Kept | None = None
_making = threading.Lock()


def perform_there(task: HostTask) -> HostReply:
    """`perform` in a process that knows nothing but the task."""
    around = Surroundings(emit=ignore, resolve=RegistryClient().resolve)
    return perform(task, _executor(task.host), around)


def _executor(host: Host) -> Executor:
    global _kept
    with _making:
        if _kept is None:
            _kept = _Kept(SshShared(ask=_nobody), {}, threading.Lock())
    with _kept.lock:
        return _kept.executors.setdefault(
            (host.name, host.connection), SshExecutor(host.name, host.connection, _kept.shared)
        )


def _nobody(question: str) -> str:
    raise FleetError(
        f"a worker cannot be asked: {question}",
        hint="use keys of an agent there, and sudo without a password",
    )
