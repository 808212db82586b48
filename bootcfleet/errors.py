"""Every error that a user may see, and the exit code that goes with it.

An error says what happened (`message`), what to run next (`hint`), and carries
whatever helps to understand it (`details`: lines, most useful first).  The
command line prints these three and exits with `exit_code`; nothing else in the
package prints or exits.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """The stable exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CHECKS_FAILED = 3
    HALTED = 4
    TOOL_MISSING = 5
    INTERRUPTED = 130


class FleetError(Exception):
    """Base of all errors that are shown to a user without a traceback."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)


class UsageError(FleetError):
    """The command line or an argument is wrong."""

    exit_code = ExitCode.USAGE


class ConfigError(FleetError):
    """A configuration file is wrong; says which file, line (1-based) and field."""

    exit_code = ExitCode.USAGE

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        field: str | None = None,
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        self.file, self.line, self.field = file, line, field
        where = file or ""
        if file and line is not None:
            where = f"{file}:{line}"
        text = message if field is None else f"{field}: {message}"
        super().__init__(f"{where}: {text}" if where else text, hint=hint, details=details)


class ChecksFailedError(FleetError):
    """Checks ran and at least one of them is not green."""

    exit_code = ExitCode.CHECKS_FAILED


class RolloutHaltedError(FleetError):
    """A rollout stopped before its end, by its policy."""

    exit_code = ExitCode.HALTED


class ToolMissingError(FleetError):
    """A needed tool is missing or too old."""

    exit_code = ExitCode.TOOL_MISSING


class InterruptedRunError(FleetError):
    """The user pressed ^C; state is kept."""

    exit_code = ExitCode.INTERRUPTED


class HostFault(StrEnum):
    """Why a host could not do what was asked: one word per cause, stable in JSON."""

    UNREACHABLE = "unreachable"
    HOST_KEY_UNKNOWN = "host-key-unknown"
    HOST_KEY_CHANGED = "host-key-changed"
    AUTH_FAILED = "auth-failed"
    CONNECTION_LOST = "connection-lost"
    TIMEOUT = "timeout"
    SUDO_REFUSED = "sudo-refused"
    NO_BOOTC = "no-bootc"
    NOT_BOOTC_BOOTED = "not-bootc-booted"
    NOT_ROOT = "not-root"
    GARBAGE_OUTPUT = "garbage-output"
    LOCK_HELD = "lock-held"
    #: Another rollout has locked it (`drivers/hostlock.py`); `LOCK_HELD` is bootc's own lock.
    LOCKED = "locked"
    HOOK_FAILED = "hook-failed"
    NO_SPACE = "no-space"
    #: The registry did not answer, or not now; what follows is refused for good.
    REGISTRY = "registry"
    REGISTRY_REFUSED = "registry-refused"
    REGISTRY_TLS = "registry-tls"
    #: Its policy.json does not let the image in.
    UNTRUSTED = "untrusted"
    IMAGE_NOT_FOUND = "image-not-found"
    INCOMPATIBLE = "incompatible"
    NO_ROLLBACK = "no-rollback"
    CLOCK_SKEW = "clock-skew"
    WRONG_DIGEST = "wrong-digest"
    DID_NOT_RETURN = "did-not-return"
    CAME_BACK_OLD = "came-back-old"
    #: It came back on its old deployment, and why is known.
    FINALIZE_FAILED = "finalize-failed"
    GREENBOOT = "greenboot-rolled-back"
    BOOT_FELL_BACK = "boot-fell-back"
    CAME_BACK_NEITHER = "came-back-neither"
    #: What was staged is no longer, or is something else.
    REPLACED = "replaced"
    TAG_MOVED = "tag-moved"
    HEALTH_FAILED = "health-failed"
    COMMAND_FAILED = "command-failed"


#: Faults after which the same attempt may simply succeed later.
TRANSIENT = frozenset(
    {
        HostFault.UNREACHABLE,
        HostFault.CONNECTION_LOST,
        HostFault.TIMEOUT,
        HostFault.LOCK_HELD,
        HostFault.REGISTRY,
    }
)


class HostError(FleetError):
    """One host's failure; never hides another host's result."""

    def __init__(
        self,
        host: str,
        fault: HostFault,
        message: str,
        *,
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.host = host
        self.fault = fault

    @property
    def transient(self) -> bool:
        """Whether a retry may help (see `TRANSIENT`)."""
        return self.fault in TRANSIENT
