"""bootc on a host, through any executor.

Every command runs as root and under a time limit of ours, because bootc waits
without one for the lock that another bootc or ostree process holds, and says
nothing on a pipe while it waits (field note *bootc on a host*).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bootcfleet.domain.bootc import BootcStatus, StatusError, parse_status
from bootcfleet.domain.policy import CheckResult, HealthCheck
from bootcfleet.drivers.bootc_faults import classify, last_error
from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, Executor
from bootcfleet.errors import HostError, HostFault

BOOT_ID = "/proc/sys/kernel/random/boot_id"
STATUS = ("bootc", "status", "--format=json", "--format-version=1")

#: One round trip for all that a look at a host needs.  No pipes or redirections, so that any
#: shell can run it; each part begins with a line that no command prints.
_MARK = "--8<-- bootcfleet"
_FACTS = "; ".join(
    [
        f"echo '{_MARK} boot_id'",
        f"cat {BOOT_ID}",
        f"echo '{_MARK} stat'",
        "cat /proc/stat",
        f"echo '{_MARK} version'",
        "bootc --version",
        f"echo '{_MARK} status'",
        " ".join(STATUS),
    ]
)

#: Answers of ``systemctl is-system-running`` while the system still starts.
_STARTING = frozenset({"starting", "initializing", "offline", "unknown", ""})


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
        result = self._run(["sh", "-c", _FACTS], self._timeout, waits_for_lock=True)
        parts = _parts(result.stdout)
        status = parts.get("status", "")
        if not result.ok or not status.strip():
            raise self._failure("bootc status", result)
        return HostFacts(
            version=_version(parts.get("version", "")),
            boot_id=self._boot_id(parts.get("boot_id", "")),
            boot_time=_boot_time(parts.get("stat", "")),
            status=self._status(status),
        )

    def status(self) -> BootcStatus:
        """What bootc says of the deployments.  Raises `HostError`."""
        result = self._run(STATUS, self._timeout, waits_for_lock=True)
        if not result.ok:
            raise self._failure("bootc status", result)
        return self._status(result.stdout)

    def boot_id(self) -> str:
        """The kernel's id of the running boot.  Raises `HostError`."""
        result = self._run(["cat", BOOT_ID], self._timeout)
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
        looks like.  A changed host key is not, and is raised at once; refused
        authentication is given a few tries, since user sessions may not be
        allowed yet (pam_nologin).  The first look is `interval` seconds after
        the reboot, the later ones up to two seconds apart.

        Raises `HostError` (did-not-return) after `timeout` seconds.
        """
        deadline = monotonic() + timeout
        refused = 0
        last = "it still answers in the old boot"
        while True:
            self._executor.close()
            try:
                if self.boot_id() != previous:
                    return self.facts()
                last = "it still answers in the old boot"
            except HostError as error:
                if error.fault in {HostFault.HOST_KEY_CHANGED, HostFault.HOST_KEY_UNKNOWN}:
                    raise
                refused += error.fault is HostFault.AUTH_FAILED
                if refused > 10:
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
            message = f"exit code {result.exit_code}: {said[0]}"
        return CheckResult(check.name, ok=False, message=message, tries=check.retries + 1)

    def _stage(self, argv: Sequence[str], timeout: float) -> None:
        result = self._run(argv, timeout, waits_for_lock=True)
        if not result.ok:
            raise self._failure(" ".join(argv[:2]), result)

    def _run(
        self, argv: Sequence[str], timeout: float, *, waits_for_lock: bool = False
    ) -> CommandResult:
        try:
            return self._executor.run(argv, timeout=timeout, as_root=True)
        except CommandTimeoutError as error:
            raise self._timed_out(argv, timeout, waits_for_lock) from error
        except HostError as error:
            if error.fault is HostFault.TIMEOUT and waits_for_lock:
                raise self._timed_out(argv, timeout, waits_for_lock) from error
            raise

    def _timed_out(self, argv: Sequence[str], timeout: float, lock: bool) -> HostError:
        if not lock:
            return HostError(
                self.host, HostFault.TIMEOUT, f"{argv[0]} did not answer within {timeout:g} s"
            )
        return HostError(
            self.host,
            HostFault.LOCK_HELD,
            f"bootc did not answer within {timeout:g} s: another process holds its lock",
            hint="look on the host: ps -C bootc,rpm-ostree,ostree -o pid,etime,args",
        )

    def _failure(self, what: str, result: CommandResult) -> HostError:
        output = result.stderr + "\n" + result.stdout
        fault, hint = classify(result.exit_code, output)
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        said = last_error(result.stderr or result.stdout)
        return HostError(self.host, fault, f"{what} failed: {said}", hint=hint, details=lines[-10:])

    def _status(self, text: str) -> BootcStatus:
        try:
            return parse_status(text)
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


def _parts(text: str) -> dict[str, str]:
    """The sections of the facts script's output; what stands before the first is dropped."""
    pieces = re.split(rf"^{re.escape(_MARK)} (\w+)$\n?", text, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def _version(text: str) -> str:
    match = re.search(r"\b(\d+(?:\.\d+)+\S*)", text)
    return match.group(1) if match else "unknown"


def _boot_time(text: str) -> datetime | None:
    """``btime`` of /proc/stat, seconds since the epoch (proc(5))."""
    match = re.search(r"^btime (\d{1,12})$", text, re.MULTILINE)
    return datetime.fromtimestamp(int(match.group(1)), UTC) if match else None
