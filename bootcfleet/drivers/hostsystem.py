"""What systemd says of a whole host, and health checks on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bootcfleet.domain.policy import CheckResult, HealthCheck
from bootcfleet.drivers.bootc_faults import printable
from bootcfleet.drivers.hostcommands import HostCommands
from bootcfleet.errors import HostError

#: Answers of ``systemctl is-system-running`` while the system still starts.
_STARTING = frozenset({"starting", "initializing", "offline", "unknown", ""})
#: All of its answers (systemctl(1)).  What a shell's profile says before may have no end of its
#: line.
_STATE = re.compile(
    r"(initializing|starting|running|degraded|maintenance|stopping|offline|unknown)\s*\Z"
)


@dataclass(frozen=True)
class SystemState:
    """What systemd says of the whole system, and the units that failed."""

    state: str
    failed_units: tuple[str, ...] = ()


class HostSystem(HostCommands):
    """One host's systemd, by root's questions."""

    def system_running(self) -> SystemState:
        """What ``systemctl is-system-running`` says.  Raises `HostError`."""
        result = self._run(["systemctl", "is-system-running"], self._timeout)
        found = _STATE.search(result.stdout)
        if found is None:
            return SystemState((result.stdout.strip().splitlines()[-1:] or ["unknown"])[0])
        if found.group(1) != "degraded":
            return SystemState(found.group(1))
        listed = self._run(
            ["systemctl", "list-units", "--failed", "--plain", "--no-legend"], self._timeout
        )
        # Unit, load, active, sub, description; other lines are those of a shell's profile.
        lines = [line.split() for line in listed.stdout.splitlines()]
        units = tuple(words[0] for words in lines if words[2:3] == ["failed"])
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
