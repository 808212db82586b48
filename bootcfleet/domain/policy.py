"""What a host must answer after its reboot to count as well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HealthCheck:
    """A command that must end with exit code 0.

    It is tried `retries` times more after the first failure, `interval` seconds
    apart, because services need time to start; `timeout` is in seconds, per try.
    """

    name: str
    argv: tuple[str, ...]
    timeout: float = 30.0
    retries: int = 10
    interval: float = 3.0


@dataclass(frozen=True)
class CheckResult:
    """How a health check ended: `message` says why it failed."""

    name: str
    ok: bool
    message: str = ""
    tries: int = 1
