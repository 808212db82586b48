"""Running bootc on a host through any executor, and what its failures mean.

Every command runs as root and under a time limit of ours, because bootc waits
without one for the lock that another bootc or ostree process holds, and says
nothing on a pipe while it waits (field note *bootc on a host*).
"""

from __future__ import annotations

from collections.abc import Sequence

from bootcfleet.drivers.bootc_faults import classify, last_error, printable
from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, Executor, OnLine
from bootcfleet.errors import FleetError, HostError, HostFault

#: Who may hold the lock that bootc waits for: process id, running time, command line.
_LOCKERS = ("ps", "-C", "bootc,rpm-ostree,ostree", "-o", "pid=,etime=,args=")


class HostCommands:
    """Commands on one host.  `timeout` (seconds) bounds every question."""

    def __init__(self, executor: Executor, host: str, *, timeout: float = 60.0) -> None:
        self._executor = executor
        self.host = host
        self._timeout = timeout

    def _run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        as_root: bool = True,
        waits_for_lock: bool = False,
        called: str | None = None,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """Run `argv`; `called` is what a script runs, for messages.  Raises `HostError`."""
        called = called or " ".join(argv[:2])
        try:
            return self._executor.run(argv, timeout=timeout, as_root=as_root, on_line=on_line)
        except CommandTimeoutError as error:
            cause: FleetError = error
        except HostError as error:
            if error.fault is not HostFault.TIMEOUT or not waits_for_lock:
                raise
            cause = error
        if waits_for_lock:
            raise self._lock_held(called, timeout) from cause
        raise HostError(
            self.host,
            HostFault.TIMEOUT,
            f"{called.split()[0]} did not answer within {timeout:g} s",
        ) from cause

    def _lock_held(self, what: str, timeout: float) -> HostError:
        """Why a bootc command that waits for the lock did not end.

        A status is read in a moment unless the lock is held.  A download may
        only be slow: there another process must be seen to be blamed.
        """
        others = self._lockers(what)
        running = f"; running there: {', '.join(others)}" if others else ""
        if what != "bootc status" and not others:
            return HostError(
                self.host,
                HostFault.TIMEOUT,
                f"{what} did not end within {timeout:g} s",
                hint="it may still download there: look with `bootc status`, and run this again",
            )
        return HostError(
            self.host,
            HostFault.LOCK_HELD,
            f"{what} did not end within {timeout:g} s: another process holds bootc's lock{running}",
            hint=f"wait for it, or look on the host: {' '.join(_LOCKERS)}",
        )

    def _lockers(self, ours: str) -> list[str]:
        """The processes that may hold the lock, without the command that waits for it."""
        try:
            result = self._executor.run(_LOCKERS, timeout=10.0)
        except FleetError:
            return []
        found = [" ".join(line.split()) for line in result.stdout.splitlines()]
        return [printable(line) for line in found if result.ok and line and ours not in line]

    def _failure(self, what: str, result: CommandResult) -> HostError:
        said = result.stderr if result.stderr.strip() else result.stdout
        fault, hint = classify(result.exit_code, said)
        lines = [printable(line) for line in result.stderr.splitlines() if line.strip()]
        return HostError(
            self.host, fault, f"{what} failed: {last_error(said)}", hint=hint, details=lines[-10:]
        )
