"""Commands and files on a host over SSH, through one connection that is kept.

All quoting for remote shells happens in `_line` (law 8).  A command is sent
once: a connection that was lost before the command went out is remade, one that
is lost afterwards is an error, because the command may have run.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence

import paramiko

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.command import CommandResult, OnLine
from bootcfleet.drivers.sshcommand import (
    MAX_OUTPUT,
    CommandOverTimeError,
    CutError,
    Outcome,
    TooMuchOutputError,
    run_on,
)
from bootcfleet.drivers.sshconnect import SshShared
from bootcfleet.drivers.sshfollow import FollowedCommand
from bootcfleet.drivers.sshsudo import (
    WITHOUT_PASSWORD,
    HeldLines,
    PasswordPrompt,
    Refusal,
    as_without_sudo,
    refusal,
)
from bootcfleet.drivers.sshtarget import Target
from bootcfleet.drivers.sshtransport import FleetTransport
from bootcfleet.errors import ConfigError, FleetError, HostError, HostFault, UsageError

__all__ = ["SshExecutor", "SshShared"]

#: Where neither the caller nor the inventory sets a limit: a hung command must not hold a
#: fleet for ever (seconds).
_DEFAULT_TIMEOUT = 300.0
_OPEN_TIMEOUT = 30.0
_SESSION_TIMEOUT = 15.0

#: Writes stdin to "$1" with mode "$2": a name that nobody can foresee beside it (the folder may
#: be writable by others), on the disk before it gets its name, and the name on the disk as well.
_PUT = """\
set -e
if [ -d "$1" ]; then echo "it is a directory" >&2; exit 1; fi
folder=$(dirname -- "$1")
new=$(mktemp -- "$folder/.bootcfleet.XXXXXXXX")
trap 'rm -f -- "$new"' EXIT
trap 'exit 1' HUP INT TERM
cat > "$new"
chmod -- "$2" "$new"
sync -- "$new" 2>/dev/null || sync
mv -f -- "$new" "$1"
trap - EXIT
sync -- "$folder" 2>/dev/null || sync
"""


class SshExecutor:
    """An `Executor` on a host of the inventory.

    The connection is made by the first command, kept, and made again after it
    died or `close`.  Raises `HostError`, whose fault says what is the matter.
    """

    def __init__(self, name: str, connection: Connection, shared: SshShared) -> None:
        self._name = name
        self._connection = connection
        self._shared = shared
        self._transport: FleetTransport | None = None
        self._target: Target | None = None
        self._lock = threading.RLock()
        # What is known of sudo on this connection.
        self._asks_password: set[tuple[str, ...]] = set()
        self._password_proven = False

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Executor.run`.  Without `timeout` the inventory's `command_timeout` counts."""
        started = time.monotonic()
        outcome = self._run(tuple(argv), timeout, stdin or b"", as_root, on_line)
        return CommandResult(
            tuple(argv),
            outcome.exit_code,
            outcome.stdout.decode("utf-8", "backslashreplace"),
            outcome.stderr.decode("utf-8", "backslashreplace"),
            time.monotonic() - started,
        )

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        """See `Executor.put`.  Nobody else can read the file before it has its mode."""
        outcome = self._run(
            ("sh", "-c", _PUT, "sh", path, f"{mode:04o}"), None, data, as_root, None
        )
        if outcome.exit_code != 0:
            raise self._failed(f"{path} cannot be written", outcome)

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        """See `Executor.get`."""
        outcome = self._run(("cat", "--", path), None, b"", as_root, None)
        if outcome.exit_code != 0:
            raise self._failed(f"{path} cannot be read", outcome)
        return bytes(outcome.stdout)

    def follow(self, argv: Sequence[str], bell: threading.Event) -> FollowedCommand:
        """Start a command as this user and leave it running; `bell` is set when it speaks.

        It has no input and no time limit, and ends with the connection.  Raises
        `HostError` when it cannot be started.
        """
        line = _line(argv)
        transport, channel = self._channel()
        try:
            with transport.driven():
                return FollowedCommand(transport, channel, line, bell)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._lost(f"{argv[0]}: {error}") from error

    def close(self) -> None:
        """Close the connection; the next command makes a new one."""
        with self._lock:
            transport, self._transport = self._transport, None
            self._asks_password.clear()
            self._password_proven = False
        if transport is not None:
            transport.close()

    def _run(
        self,
        argv: tuple[str, ...],
        timeout: float | None,
        stdin: bytes,
        as_root: bool,
        on_line: OnLine | None,
    ) -> Outcome:
        limit = timeout or self._connection.command_timeout or _DEFAULT_TIMEOUT
        target = self._connected()
        if not as_root or target.user == "root" or not self._connection.become:
            return self._send(argv, argv, stdin, limit, on_line)
        if argv not in self._asks_password:
            lines = HeldLines(on_line)
            tell = lines.tell if on_line else None
            outcome = self._send((*WITHOUT_PASSWORD, *argv), argv, stdin, limit, tell)
            said = refusal(outcome, argv[0])
            if said is Refusal.NONE:
                lines.release()
                as_without_sudo(outcome, argv[0])
                return outcome
            if said is not Refusal.NEEDS_PASSWORD or not self._connection.become_password:
                raise self._sudo_refused(target, said, outcome)
            # sudo has run nothing: it is right to send the command again.
            self._asks_password.add(argv)
        return self._with_password(target, argv, stdin, limit, on_line)

    def _with_password(
        self,
        target: Target,
        argv: tuple[str, ...],
        stdin: bytes,
        limit: float,
        on_line: OnLine | None,
    ) -> Outcome:
        password = self._prove_password(target, limit)
        prompt = PasswordPrompt()
        outcome = self._send(
            prompt.words("--", *argv),
            argv,
            password.encode() + b"\n" + stdin,
            limit,
            prompt.behind(on_line),
        )
        prompt.strip(outcome.stderr)
        said = refusal(outcome, argv[0])
        if said is not Refusal.NONE:
            raise self._sudo_refused(target, said, outcome)
        as_without_sudo(outcome, argv[0])
        return outcome

    def _prove_password(self, target: Target, limit: float) -> str:
        """The password, tried once on this connection before anything follows it on stdin.

        sudo asks again after a wrong one, and would take the command's input for
        the answer.
        """
        question = f"sudo password of {target.user}: "
        while True:
            try:
                password = self._shared.secrets.get(question)
            except FleetError as error:
                raise HostError(
                    self._name, HostFault.SUDO_REFUSED, error.message, hint=error.hint
                ) from error
            if self._password_proven:
                return password
            prompt = PasswordPrompt()
            words = prompt.words("-v")
            outcome = self._send(words, words, password.encode() + b"\n", limit, None)
            if outcome.exit_code == 0:
                self._shared.secrets.worked(question)
                self._password_proven = True
                return password
            prompt.strip(outcome.stderr)
            wrong = b"try again" in outcome.stderr or b"incorrect password" in outcome.stderr
            if not wrong or not self._shared.secrets.refused(question, password):
                raise self._sudo_refused(target, Refusal.REFUSED, outcome)

    def _connected(self) -> Target:
        """Make the connection unless it is there; who and where it is."""
        with self._lock:
            if self._transport is None or self._target is None or not self._transport.is_active():
                self.close()
                try:
                    self._transport, self._target = self._shared.open(self._name, self._connection)
                except ConfigError as error:
                    # One host's settings: the others must not fail with it.
                    raise HostError(
                        self._name, HostFault.UNREACHABLE, error.message, hint=error.hint
                    ) from error
            return self._target

    def _channel(self) -> tuple[FleetTransport, paramiko.Channel]:
        """A new channel on the kept connection, which is remade when it has died."""
        with self._lock:
            kept = self._transport
            for last in (False, True):
                self._connected()
                try:
                    if (transport := self._transport) is not None:
                        return transport, _open(transport)
                except paramiko.ChannelException as error:
                    # The connection lives, and may carry other commands.
                    raise HostError(
                        self._name,
                        HostFault.CONNECTION_LOST,
                        f"the server opens no more sessions ({error.text})",
                        hint="see MaxSessions in its sshd_config (`sshd -T` there)",
                    ) from error
                except (paramiko.SSHException, EOFError, OSError) as error:
                    # Nothing has been sent: a connection that died unnoticed is made again.
                    fresh = self._transport is not kept
                    self.close()
                    if fresh or last:
                        why = str(error) or "end of file"
                        raise self._lost(f"no session could be opened: {why}") from error
        raise self._lost("no session could be opened")

    def _send(
        self,
        words: tuple[str, ...],
        argv: tuple[str, ...],
        stdin: bytes,
        limit: float,
        on_line: OnLine | None,
    ) -> Outcome:
        line = _line(words)
        transport, channel = self._channel()
        try:
            with transport.driven():
                return run_on(transport, channel, line, stdin=stdin, limit=limit, on_line=on_line)
        except CommandOverTimeError as error:
            raise HostError(
                self._name,
                HostFault.TIMEOUT,
                f"{argv[0]} did not end within {limit:g} s",
                hint="it may still run on the host: look with `ps -ef` there",
            ) from error
        except TooMuchOutputError as error:
            raise HostError(
                self._name,
                HostFault.GARBAGE_OUTPUT,
                f"{argv[0]} said more than {MAX_OUTPUT // 2**20} MiB",
            ) from error
        except CutError as error:
            self.close()
            raise self._lost(f"{argv[0]}: {error}") from error

    def _lost(self, what: str) -> HostError:
        return HostError(self._name, HostFault.CONNECTION_LOST, f"the connection was lost ({what})")

    def _failed(self, what: str, outcome: Outcome) -> HostError:
        said = outcome.stderr.decode("utf-8", "backslashreplace").strip()
        return HostError(
            self._name,
            HostFault.COMMAND_FAILED,
            f"{what}: {said or f'exit code {outcome.exit_code}'}",
        )

    def _sudo_refused(self, target: Target, said: Refusal, outcome: Outcome) -> HostError:
        text = outcome.stderr.decode("utf-8", "backslashreplace").strip().splitlines()
        hints = {
            Refusal.MISSING: "install sudo on the host, or connect as root",
            Refusal.NEEDS_PASSWORD: "set become_password: true in the inventory to be asked for "
            "it, or allow the user to use sudo without one",
        }
        return HostError(
            self._name,
            HostFault.SUDO_REFUSED,
            f"sudo refuses {target.user}: {(text or [f'exit code {outcome.exit_code}'])[-1]}",
            hint=hints.get(
                said, f"look at what it may do there: {target.ssh_command('-t')} sudo -l"
            ),
            details=text[:-1][-10:],
        )


def _open(transport: FleetTransport) -> paramiko.Channel:
    """A new channel.

    A server has a limit (MaxSessions), and counts a session until it has seen its end: a
    refusal may pass in a moment.
    """
    deadline = time.monotonic() + _SESSION_TIMEOUT
    while True:
        try:
            with transport.driven():
                return transport.open_session(timeout=_OPEN_TIMEOUT)
        except paramiko.ChannelException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _line(words: Sequence[str]) -> bytes:
    """The one line that the user's login shell on the host reads: every word quoted.

    Raises `UsageError` for a word that no command can be given.
    """
    line = shlex.join(words)
    if "\0" in line:
        raise UsageError(f"a word of the command {words[0]!r} has a NUL character in it")
    return line.encode("utf-8", "surrogateescape")
