"""A container of an image, to run commands in: with systemd inside where that works here.

Whether systemd can run in a container depends on the engine, the cgroups and
the rights of the user, so it is tried, and the reason is told where it did not.
Facts are from podman-run(1) and systemd's container interface, checked with podman 4.3.1.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bootcfleet.domain.check import bounded
from bootcfleet.drivers.command import CommandResult, Executor, LocalExecutor, OnLine
from bootcfleet.errors import FleetError

#: Marks our containers; the value is the image's name.
LABEL = "io.bootcfleet.check"
#: Seconds after which podman ends a container whose owner was killed.
LIFETIME = 3600
#: Seconds that systemd is given to start.
BOOT_TIMEOUT = 90.0
#: Words of ``systemctl is-system-running`` that show a systemd at work (systemctl(1)).
_ALIVE = frozenset({"initializing", "starting", "running", "degraded", "maintenance", "stopping"})
_STARTING = frozenset({"initializing", "starting"})

#: systemd in a container reads its own words as a kernel command line. The first-boot wizard
#: asks at a terminal, and there is none.
_INIT = ("/sbin/init", "systemd.mask=systemd-firstboot.service")
_SLEEP = ("sleep", str(LIFETIME))
_PUT = 'cat >"$1.new" && chmod "$2" "$1.new" && mv -f "$1.new" "$1"'


class ContainerExecutor:
    """An `Executor` in a running container, by ``podman exec``."""

    def __init__(self, executor: Executor, container: str) -> None:
        self._executor = executor
        self.container = container

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Executor.run`; exit code 125 is podman's own: the container is gone."""
        words = ["podman", "exec"]
        words += ["--interactive"] if stdin is not None else []
        words += ["--user", "0:0"] if as_root else []
        return self._executor.run(
            [*words, self.container, *argv], timeout=timeout, stdin=stdin, on_line=on_line
        )

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        """See `Executor.put`."""
        words = ["sh", "-c", _PUT, "sh", path, f"{mode:04o}"]
        result = self.run(words, stdin=data, as_root=as_root, timeout=60)
        if not result.ok:
            raise FleetError(f"{path} in the container cannot be written: {_last(result)}")

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        """See `Executor.get`."""
        result = self.run(["base64", "--", path], as_root=as_root, timeout=60)
        try:
            if result.ok:
                return base64.b64decode(result.stdout)
        except binascii.Error:
            pass
        raise FleetError(f"{path} in the container cannot be read: {_last(result)}")

    def close(self) -> None:
        """Nothing is held open; `running` removes the container."""


@dataclass(frozen=True)
class Container:
    """A running container.

    `reason` says why systemd does not run in it; where it does, which units failed.
    """

    name: str
    executor: ContainerExecutor
    booted: bool
    reason: str = ""


@contextmanager
def running(
    executor: Executor,
    image: str,
    *,
    label: str,
    boot: bool = True,
    keep: bool = False,
    boot_timeout: float = BOOT_TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Container]:
    """A container of `image` (in podman's storage), removed at the end, whatever happens.

    With `boot`, systemd is tried first. The container has no network but its own
    loopback: what is found in it does not depend on where it runs, and no port
    of this machine is in its way. `keep` leaves it. Raises `FleetError` when no
    container can be started at all.
    """
    name = f"bootcfleet-check-{secrets.token_hex(6)}"
    # Its own executor: the caller's may be closed by ^C while this still has to clean up.
    cleaner = LocalExecutor()
    reason = "--no-boot was given"
    try:
        if boot:
            booted, reason = _boot(
                executor, name, image, label, keep, boot_timeout, sleep, monotonic
            )
            if booted:
                yield Container(name, ContainerExecutor(executor, name), True, reason)
                return
            _remove(cleaner, name)
        result = executor.run(_run(name, image, label, keep, _SLEEP), timeout=120)
        if not result.ok:
            raise FleetError(
                f"no container of {image} can be started: {_last(result)}",
                hint="checks need a shell and coreutils in the image; try it: "
                f"podman run --rm {image} sleep 1",
            )
        yield Container(name, ContainerExecutor(executor, name), False, reason)
    finally:
        if not keep:
            _remove(cleaner, name)


def _run(
    name: str, image: str, label: str, keep: bool, words: Sequence[str], *options: str
) -> list[str]:
    argv = ["podman", "run", "--detach", "--name", name, "--label", f"{LABEL}={label}"]
    argv += [] if keep else ["--rm", "--timeout", str(LIFETIME)]
    argv += ["--network=none", "--pull=never", *options]
    return [*argv, "--user", "0:0", "--entrypoint", json.dumps(list(words)), image]


def _boot(
    executor: Executor,
    name: str,
    image: str,
    label: str,
    keep: bool,
    timeout: float,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> tuple[bool, str]:
    """Start systemd and wait until it has started; (False, why) where it does not run.

    Where it runs, with what it complains of.
    """
    deadline, pause = monotonic() + timeout, 0.2
    result = executor.run(
        _run(name, image, label, keep, _INIT, "--systemd=always"), timeout=max(timeout, 60)
    )
    if not result.ok:
        return False, f"no /sbin/init starts in it: {_last(result)}"
    inside = ContainerExecutor(executor, name)
    while True:
        answer = inside.run(["systemctl", "is-system-running"], timeout=60, as_root=True)
        word = (answer.stdout.strip().splitlines() or [""])[-1]
        late = monotonic() >= deadline
        if word in _ALIVE and (word not in _STARTING or late):
            return True, _complaint(inside, word)
        if answer.exit_code == 125:
            return False, f"systemd ended in it: {_last(answer)}"
        if answer.exit_code in (126, 127):
            return False, "it has no systemctl"
        if late:
            return False, f"systemd did not start within {timeout:g} s: {_last(answer)}"
        sleep(pause)
        pause = min(2.0, pause * 1.5)


def _complaint(inside: ContainerExecutor, state: str) -> str:
    """What is wrong with a systemd that has started; empty for one that runs."""
    if state != "degraded":
        return "" if state == "running" else f"systemd says {state}"
    listed = inside.run(
        ["systemctl", "list-units", "--failed", "--plain", "--no-legend"], timeout=60, as_root=True
    )
    units = [line.split()[0] for line in listed.stdout.splitlines() if line.split()]
    return f"systemd says degraded, failed units: {', '.join(units) or 'none any more'}"


def _remove(cleaner: Executor, name: str) -> None:
    """Remove a container by its name, also one that has not got to its id."""
    with contextlib.suppress(FleetError):
        cleaner.run(
            ["podman", "rm", "--force", "--ignore", "--time", "0", "--volumes", name], timeout=60
        )


def _last(result: CommandResult) -> str:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
    return bounded(lines[-1].removeprefix("Error: ")) if lines else f"exit code {result.exit_code}"
