"""bootc on a host, through any executor.

Every command runs as root and under a time limit of ours, because bootc waits
without one for the lock that another bootc or ostree process holds, and says
nothing on a pipe while it waits (field note *bootc on a host*).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bootcfleet.domain.bootc import BootcStatus, StatusError, parse_status
from bootcfleet.domain.policy import CheckResult, HealthCheck
from bootcfleet.drivers.bootc_faults import classify, last_error, printable
from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, Executor
from bootcfleet.errors import FleetError, HostError, HostFault

BOOT_ID = "/proc/sys/kernel/random/boot_id"
STATUS = ("bootc", "status", "--format=json", "--format-version=1")
#: The same for bootc up to 0.1.14, which speaks v1alpha1 and refuses the options above.
_OLD_STATUS = ("bootc", "status", "--json")
_REFUSES_FORMAT = re.compile(r"Unsupported format version|unexpected argument '--format")

#: One round trip for all that a look at a host needs.  No pipes or redirections, so that any
#: shell can run it; each part begins with a line that no command prints.
MARK = "--8<-- bootcfleet"
FACTS_SCRIPT = "; ".join(
    [
        f"echo '{MARK} boot_id'",
        f"cat {BOOT_ID}",
        f"echo '{MARK} stat'",
        "cat /proc/stat",
        f"echo '{MARK} version'",
        "bootc --version",
        f"echo '{MARK} status'",
        " ".join(STATUS),
    ]
)

#: Answers of ``systemctl is-system-running`` while the system still starts.
_STARTING = frozenset({"starting", "initializing", "offline", "unknown", ""})

#: Who may hold the lock that bootc waits for: process id, running time, command line.
_LOCKERS = ("ps", "-C", "bootc,rpm-ostree,ostree", "-o", "pid=,etime=,args=")

#: What a reboot never looks like: the host must not be spoken to any further.
_ANOTHER_HOST = frozenset({HostFault.HOST_KEY_CHANGED, HostFault.HOST_KEY_UNKNOWN})
#: How often a host that comes back may refuse us before we believe that it means it.
_REFUSALS = 10


@dataclass(frozen=True)
class HostFacts:
    """What one look at a host tells.  `boot_time` is None where the kernel did not say it."""

    version: str
    boot_id: str
    boot_time: datetime | None
    status: BootcStatus


@dataclass(frozen=True)
class SystemState:
    """What systemd says of the whole system, and the units that failed."""

    state: str
    failed_units: tuple[str, ...] = ()


class BootcHost:
    """One host's bootc.  `timeout` (seconds) bounds every question; staging has its own."""

    def __init__(self, executor: Executor, host: str, *, timeout: float = 60.0) -> None:
        self._executor = executor
        self.host = host
        self._timeout = timeout

    def facts(self) -> HostFacts:
        """Boot id, boot time, version and status, in one round trip.

        Raises `HostError` whose fault says what is the matter.
        """
        return self.read_facts(
            self._run(["sh", "-c", FACTS_SCRIPT], self._timeout, waits_for_lock=True)
        )

    def read_facts(self, result: CommandResult) -> HostFacts:
        """What `FACTS_SCRIPT` said, by itself or within a longer script (`drivers/hostprobe.py`).

        Its exit code and standard error must be those of ``bootc status``.  Raises `HostError`.
        """
        parts = facts_parts(result.stdout)
        # What is said of a failure is bootc's own words, not the counters of /proc/stat.
        status = self._status(replace(result, stdout=parts.get("status", "")))
        return HostFacts(
            version=_version(parts.get("version", "")),
            boot_id=self._boot_id(parts.get("boot_id", "")),
            boot_time=_boot_time(parts.get("stat", "")),
            status=status,
        )

    def status(self) -> BootcStatus:
        """What bootc says of the deployments.  Raises `HostError`."""
        return self._status(self._run(STATUS, self._timeout, waits_for_lock=True))

    def boot_id(self) -> str:
        """The kernel's id of the running boot; needs no root rights.  Raises `HostError`."""
        result = self._run(["cat", BOOT_ID], self._timeout, as_root=False)
        if not result.ok:
            raise self._failure(f"cat {BOOT_ID}", result)
        return self._boot_id(result.stdout)

    def stage_upgrade(self, *, timeout: float = 1800.0) -> None:
        """``bootc upgrade``: download and stage what the tracked reference is now.

        Never with ``--apply``, which does not return (field note).  Raises `HostError`.
        """
        self._stage(["bootc", "upgrade"], timeout)

    def stage_switch(
        self, reference: str, *, transport: str = "registry", timeout: float = 1800.0
    ) -> None:
        """``bootc switch``: follow another image and stage it.  Raises `HostError`."""
        argv = ["bootc", "switch"]
        if transport != "registry":
            argv += ["--transport", transport]
        self._stage([*argv, reference], timeout)

    def queue_rollback(self) -> None:
        """``bootc rollback``: the next boot is the rollback deployment's.

        It toggles: call it only when no rollback is queued.  Raises `HostError`.
        """
        self._stage(["bootc", "rollback"], self._timeout)

    def reboot(self) -> None:
        """Ask systemd for a reboot.  The connection may drop before an answer comes.

        Raises `HostError` when the host refuses.
        """
        try:
            result = self._run(["systemctl", "reboot"], self._timeout)
        except HostError as error:
            if error.fault in {HostFault.CONNECTION_LOST, HostFault.TIMEOUT}:
                return
            raise
        if not result.ok and result.exit_code < 128:
            raise self._failure("systemctl reboot", result)

    def wait_for_boot(
        self,
        previous: str,
        timeout: float,
        *,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float],
        interval: float = 0.25,
    ) -> HostFacts:
        """Wait until the host answers in another boot than `previous`; its facts then.

        Refused connections, time-outs and the old boot id are what a reboot
        looks like.  Another host key is not, and is raised at once.  Refused
        authentication, or a bootc that fails in the new boot, is given a few
        tries, since the system may still start (pam_nologin keeps users out).
        The first look is `interval` seconds after the reboot, the later ones up
        to two seconds apart.

        Raises `HostError` after `timeout` seconds: did-not-return, or what bootc
        failed with where the host did come back.
        """
        deadline = monotonic() + timeout
        refusals = 0
        while True:
            self._executor.close()
            returned = False
            try:
                returned = self.boot_id() != previous
                if returned:
                    return self.facts()
                last = "it still answers in the old boot"
            except HostError as error:
                meant = returned and not error.transient
                refusals += meant or error.fault is HostFault.AUTH_FAILED
                if error.fault in _ANOTHER_HOST or refusals > _REFUSALS:
                    raise
                if returned and monotonic() >= deadline:
                    raise
                last = error.message
            if monotonic() >= deadline:
                raise HostError(
                    self.host,
                    HostFault.DID_NOT_RETURN,
                    f"did not come back within {timeout:g} s of its reboot ({last})",
                    hint="look at its console",
                )
            sleep(interval)
            interval = min(2.0, interval * 1.5)

    def system_running(self) -> SystemState:
        """What ``systemctl is-system-running`` says.  Raises `HostError`."""
        result = self._run(["systemctl", "is-system-running"], self._timeout)
        state = result.stdout.strip().splitlines()[-1:] or [""]
        if state[0] != "degraded":
            return SystemState(state[0] or "unknown")
        listed = self._run(
            ["systemctl", "list-units", "--failed", "--plain", "--no-legend"], self._timeout
        )
        units = tuple(line.split()[0] for line in listed.stdout.splitlines() if line.split())
        return SystemState("degraded", units)

    def wait_until_started(
        self, timeout: float, *, sleep: Callable[[float], None], monotonic: Callable[[], float]
    ) -> SystemState:
        """Wait, at most `timeout` seconds, until systemd no longer says that it starts."""
        deadline = monotonic() + timeout
        while True:
            state = self.system_running()
            if state.state not in _STARTING or monotonic() >= deadline:
                return state
            sleep(2.0)

    def run_check(self, check: HealthCheck, *, sleep: Callable[[float], None]) -> CheckResult:
        """Run a health check, with its retries.

        A host that cannot be spoken to has failed its check: after a reboot
        that is an answer.
        """
        message = ""
        for attempt in range(check.retries + 1):
            if attempt:
                sleep(check.interval)
            try:
                result = self._run(check.argv, check.timeout)
            except HostError as error:
                message = error.message
                continue
            if result.ok:
                return CheckResult(check.name, ok=True, tries=attempt + 1)
            said = (result.stdout + result.stderr).strip().splitlines()[-1:] or ["no output"]
            message = f"exit code {result.exit_code}: {printable(said[0])}"
        return CheckResult(check.name, ok=False, message=message, tries=check.retries + 1)

    def _stage(self, argv: Sequence[str], timeout: float) -> None:
        result = self._run(argv, timeout, waits_for_lock=True)
        if not result.ok:
            raise self._failure(" ".join(argv[:2]), result)

    def _run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        as_root: bool = True,
        waits_for_lock: bool = False,
    ) -> CommandResult:
        try:
            return self._executor.run(argv, timeout=timeout, as_root=as_root)
        except CommandTimeoutError as error:
            cause: FleetError = error
        except HostError as error:
            if error.fault is not HostFault.TIMEOUT or not waits_for_lock:
                raise
            cause = error
        if waits_for_lock:
            raise self._lock_held(argv, timeout) from cause
        raise HostError(
            self.host, HostFault.TIMEOUT, f"{argv[0]} did not answer within {timeout:g} s"
        ) from cause

    def _lock_held(self, argv: Sequence[str], timeout: float) -> HostError:
        """Why a bootc command that waits for the lock did not end.

        A status is read in a moment unless the lock is held.  A download may
        only be slow: there another process must be seen to be blamed.
        """
        what = "bootc status" if argv[0] == "sh" else " ".join(argv[:2])
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

    def _status(self, result: CommandResult) -> BootcStatus:
        if not result.ok and _REFUSES_FORMAT.search(result.stderr):
            result = self._run(_OLD_STATUS, self._timeout, waits_for_lock=True)
        if not result.ok:
            raise self._failure("bootc status", result)
        try:
            return parse_status(result.stdout)
        except StatusError as error:
            raise HostError(
                self.host,
                HostFault.GARBAGE_OUTPUT,
                error.message,
                hint=error.hint,
                details=error.details,
            ) from error

    def _boot_id(self, text: str) -> str:
        found = text.strip()
        if re.fullmatch(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", found):
            return found
        raise HostError(
            self.host, HostFault.GARBAGE_OUTPUT, f"its boot id is {found[:60]!r}, which is none"
        )


def facts_parts(text: str) -> dict[str, str]:
    """The sections of the facts script's output; what stands before the first is dropped."""
    pieces = re.split(rf"^{re.escape(MARK)} (\w+)$\n?", text, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def _version(text: str) -> str:
    match = re.search(r"\b(\d+(?:\.\d+)+\S*)", text)
    return match.group(1) if match else "unknown"


def _boot_time(text: str) -> datetime | None:
    """``btime`` of /proc/stat, seconds since the epoch (proc(5))."""
    match = re.search(r"^btime (\d{1,12})$", text, re.MULTILINE)
    return datetime.fromtimestamp(int(match.group(1)), UTC) if match else None
