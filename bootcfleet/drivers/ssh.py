"""Commands and files on a host over SSH, through one connection that is kept.

All quoting for remote shells happens in `_remote` (law 8).  A command is sent
once: a connection that was lost before the command went out is remade, one that
is lost afterwards is an error, because the command may have run.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import paramiko

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.drivers.sshconfig import Target
from bootcfleet.drivers.sshconnect import SshShared
from bootcfleet.errors import HostError, HostFault

__all__ = ["SshExecutor", "SshShared"]

#: A command that says more is not one of ours; better an error than a full memory.
MAX_OUTPUT = 64 * 1024 * 1024

_CHUNK = 65536
_DEFAULT_TIMEOUT = 300.0


class SshExecutor:
    """An `Executor` on a host of the inventory.  One thread at a time; many hosts at once."""

    def __init__(self, name: str, connection: Connection, shared: SshShared) -> None:
        self._name = name
        self._connection = connection
        self._shared = shared
        self._transport: paramiko.Transport | None = None
        self._target: Target | None = None
        self._sudo: tuple[str, ...] | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Executor.run`.  Raises `HostError` only; the fault says what is the matter."""
        limit = timeout or self._connection.command_timeout or _DEFAULT_TIMEOUT
        channel = self._channel(limit)
        prefix: tuple[str, ...] = ()
        secret = b""
        if as_root:
            prefix = self._become(limit)
            if "-S" in prefix:
                secret = self._password().encode() + b"\n"
        return self._execute(channel, argv, prefix, secret + (stdin or b""), limit, on_line)

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        """See `Executor.put`: a temporary name beside it, synced, then renamed."""
        script = (
            'umask 077 && cat > "$1.part" && chmod "$2" "$1.part" && sync "$1.part" '
            '&& mv -f "$1.part" "$1"'
        )
        result = self.run(
            ["sh", "-c", script, "sh", path, f"{mode:o}"], stdin=data, as_root=as_root
        )
        if not result.ok:
            raise HostError(
                self._name,
                HostFault.COMMAND_FAILED,
                f"{path} could not be written: {result.stderr.strip() or result.exit_code}",
            )

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        """See `Executor.get`.  Text comes back as it is; other bytes too."""
        limit = self._connection.command_timeout or _DEFAULT_TIMEOUT
        prefix = self._become(limit) if as_root else ()
        secret = self._password().encode() + b"\n" if "-S" in prefix else b""
        channel = self._channel(limit)
        output = self._drain(channel, ["cat", "--", path], prefix, secret, limit, None)
        if output.exit_code != 0:
            said = output.stderr.decode("utf-8", "backslashreplace").strip()
            raise HostError(self._name, HostFault.COMMAND_FAILED, f"{path} cannot be read: {said}")
        return bytes(output.stdout)

    def close(self) -> None:
        """Close the connection; the next command makes a new one."""
        transport, self._transport, self._sudo = self._transport, None, None
        if transport is not None:
            transport.close()

    def _channel(self, limit: float) -> paramiko.Channel:
        """A new channel on the kept connection, which is remade when it has died."""
        for fresh in (False, True):
            if self._transport is None or not self._transport.is_active():
                self.close()
                self._transport, self._target = self._shared.open(self._name, self._connection)
                fresh = True
            try:
                return self._transport.open_session(timeout=min(limit, 30.0))
            except (paramiko.SSHException, EOFError, OSError) as error:
                self.close()
                if fresh:
                    raise self._lost(f"no session could be opened: {error}") from error
        raise self._lost("no session could be opened")

    def _become(self, limit: float) -> tuple[str, ...]:
        """The words before a command that must run as root; found out once a connection.

        A password is sent only after sudo has said that it needs one, and with
        ``-k``, so that it can never end up in the command's own input.
        """
        if self._sudo is not None:
            return self._sudo
        channel = self._channel(limit)
        user = self._target.user if self._target else ""
        if user == "root" or not self._connection.become:
            self._sudo = ()
            channel.close()
            return self._sudo
        probe = self._execute(channel, ["sudo", "-n", "true"], (), b"", limit, None)
        if probe.ok:
            self._sudo = ("sudo", "-n", "--")
            return self._sudo
        said = probe.stderr.strip().splitlines()[-1:] or [f"exit code {probe.exit_code}"]
        if not self._connection.become_password:
            raise HostError(
                self._name,
                HostFault.SUDO_REFUSED,
                f"sudo refuses {user}: {said[0]}",
                hint="give the user sudo without a password for this, or set become_password: "
                "true in the inventory to be asked for one",
            )
        password = self._password().encode() + b"\n"
        words = ["sudo", "-S", "-p", "", "-k", "true"]
        check = self._execute(self._channel(limit), words, (), password, limit, None)
        if not check.ok:
            self._shared.secrets.forget(self._question)
            said = check.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise HostError(
                self._name, HostFault.SUDO_REFUSED, f"sudo refuses {user}'s password: {said[0]}"
            )
        self._sudo = ("sudo", "-S", "-p", "", "-k", "--")
        return self._sudo

    @property
    def _question(self) -> str:
        return f"sudo password of {self._target.user if self._target else 'the user'}: "

    def _password(self) -> str:
        return self._shared.secrets.get(self._question)

    def _execute(
        self,
        channel: paramiko.Channel,
        argv: Sequence[str],
        prefix: tuple[str, ...],
        stdin: bytes,
        limit: float,
        on_line: OnLine | None,
    ) -> CommandResult:
        started = time.monotonic()
        output = self._drain(channel, argv, prefix, stdin, limit, on_line)
        return CommandResult(
            tuple(argv),
            output.exit_code,
            output.stdout.decode("utf-8", "backslashreplace"),
            output.stderr.decode("utf-8", "backslashreplace"),
            time.monotonic() - started,
        )

    def _drain(
        self,
        channel: paramiko.Channel,
        argv: Sequence[str],
        prefix: tuple[str, ...],
        stdin: bytes,
        limit: float,
        on_line: OnLine | None,
    ) -> _Output:
        deadline = time.monotonic() + limit
        output = _Output()
        wake = _Wake()
        # Both streams wake the same event, so one thread can drain them as they come.
        pipes: list[Any] = [channel.in_buffer, channel.in_stderr_buffer]
        for pipe in pipes:
            pipe.set_event(wake)
        try:
            channel.settimeout(limit)
            channel.exec_command(_remote(prefix, argv))
            self._feed(channel, stdin)
            while not (channel.eof_received or channel.closed) or _ready(channel):
                wake.wait(max(0.0, min(1.0, deadline - time.monotonic())))
                wake.rearm()
                output.take(channel, on_line)
                if len(output.stdout) + len(output.stderr) > MAX_OUTPUT:
                    raise HostError(
                        self._name,
                        HostFault.GARBAGE_OUTPUT,
                        f"{argv[0]} said more than {MAX_OUTPUT // 2**20} MiB",
                    )
                if time.monotonic() >= deadline and not channel.eof_received:
                    raise self._over_time(argv, limit)
            output.finish(on_line)
            if not channel.status_event.wait(max(0.5, deadline - time.monotonic())):
                raise self._over_time(argv, limit)
            output.exit_code = channel.exit_status
        except TimeoutError as error:
            raise self._over_time(argv, limit) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(f"{argv[0]}: {error or 'end of file'}") from error
        finally:
            channel.close()
        if output.exit_code < 0:
            # The server closes the channel without a status when the connection was cut, and
            # also when a signal ended the command.
            raise self._lost(f"{argv[0]} ended without an exit status")
        return output

    def _feed(self, channel: paramiko.Channel, stdin: bytes) -> None:
        try:
            if stdin:
                channel.sendall(stdin)
            channel.shutdown_write()
        except OSError:
            # The command does not read its input: its exit code tells.
            if channel.get_transport() is None or not channel.get_transport().is_active():
                raise

    def _over_time(self, argv: Sequence[str], limit: float) -> HostError:
        return HostError(
            self._name,
            HostFault.TIMEOUT,
            f"{argv[0]} did not end within {limit:g} s",
            hint="the command may still run on the host",
        )

    def _lost(self, what: str) -> HostError:
        self.close()
        return HostError(self._name, HostFault.CONNECTION_LOST, f"the connection was lost ({what})")


def _remote(prefix: Sequence[str], argv: Sequence[str]) -> str:
    """The one line that the user's login shell on the host reads: every word quoted."""
    return shlex.join([*prefix, *argv])


def _ready(channel: paramiko.Channel) -> bool:
    return channel.recv_ready() or channel.recv_stderr_ready()


class _Wake(threading.Event):
    """An event that a pipe sets when it has data, and that only we clear.

    paramiko's pipes clear their event when they run empty, also when the other
    pipe that shares it has just set it.
    """

    def clear(self) -> None:
        """Left to `rearm`."""

    def rearm(self) -> None:
        """Clear it, before the pipes are drained."""
        super().clear()


@dataclass
class _Output:
    """What came of a command so far."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    exit_code: int = -1
    _shown: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})

    def take(self, channel: paramiko.Channel, on_line: OnLine | None) -> None:
        """Everything that has arrived."""
        streams: tuple[tuple[str, bytearray, Callable[[], bool], Callable[[int], bytes]], ...] = (
            ("stdout", self.stdout, channel.recv_ready, channel.recv),
            ("stderr", self.stderr, channel.recv_stderr_ready, channel.recv_stderr),
        )
        for name, collected, ready, receive in streams:
            while ready():
                collected += receive(_CHUNK)
            if on_line is not None:
                self._say(name, collected, on_line)

    def finish(self, on_line: OnLine | None) -> None:
        """The last line may have no newline."""
        if on_line is None:
            return
        for name, collected in (("stdout", self.stdout), ("stderr", self.stderr)):
            rest = collected[self._shown[name] :]
            if rest:
                on_line(name, rest.decode("utf-8", "backslashreplace"))

    def _say(self, name: str, collected: bytearray, on_line: OnLine) -> None:
        end = collected.rfind(b"\n") + 1
        start = self._shown[name]
        if end > start:
            self._shown[name] = end
            for line in collected[start:end].splitlines():
                on_line(name, line.decode("utf-8", "backslashreplace"))
