"""One command over one SSH channel: send it, feed it, drain it, know how it ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST

from bootcfleet.drivers.command import OnLine
from bootcfleet.drivers.sshtransport import FleetTransport

#: A command that says more is not one of ours; better an error than a full memory (bytes).
MAX_OUTPUT = 64 * 1024 * 1024

#: What is said after a command has ended comes from what it left running; seconds of silence
#: until that is not waited for any more.
_GRACE = 2.0
_CHUNK = 65536


class CommandOverTimeError(Exception):
    """The command did not end within its limit; its channel is closed."""


class TooMuchOutputError(Exception):
    """The command said more than `MAX_OUTPUT`; its channel is closed."""


class CutError(Exception):
    """The connection, or the server's part of the command, ended before the command did.

    `sent` says whether the command may have run.
    """

    def __init__(self, why: str, *, sent: bool = True) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass
class Outcome:
    """All that a command said, as bytes, and its exit code (128 + N for signal N)."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    exit_code: int = -1


def run_on(
    transport: FleetTransport,
    channel: paramiko.Channel,
    line: bytes,
    *,
    stdin: bytes,
    limit: float,
    on_line: OnLine | None,
) -> Outcome:
    """Run `line` by the login shell at the channel's other end, within `limit` seconds.

    Its input is `stdin` and then the end of file.  Raises `CommandOverTimeError`,
    `TooMuchOutputError` and `CutError`; the channel is closed in any case.
    """
    deadline = time.monotonic() + limit
    outcome = Outcome()
    lines = _Lines(outcome, on_line)
    wake = _Wake()
    # Both streams wake the same event, so that one thread drains them as they come.
    pipes: list[Any] = [channel.in_buffer, channel.in_stderr_buffer]
    for pipe in pipes:
        pipe.set_event(wake)
    try:
        ask_for(channel, line)
        _feed(channel, stdin, max(0.1, deadline - time.monotonic()))
        _drain(transport, channel, outcome, lines, wake, deadline)
    except CommandOverTimeError:
        _end(channel)
        raise
    except TimeoutError as error:
        raise CommandOverTimeError from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise CutError(str(error) or "end of file") from error
    finally:
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            channel.close()
    lines.finish()
    if outcome.exit_code < 0:
        why = None if transport.is_active() else transport.get_exception()
        raise CutError(str(why or "") or "it ended without an exit status")
    return outcome


def ask_for(channel: paramiko.Channel, line: bytes) -> None:
    """Ask for the command without waiting for the server's consent: its end says the same.

    A refusal closes the channel before there is an exit status.
    """
    # Messages of a fixed language, in UTF-8: they are read by programs.  Servers that do not
    # take the variable (AcceptEnv) pass it over.
    channel.set_environment_variable("LC_ALL", "C.UTF-8")
    _request(channel, "exec", line, reply=True)


def _feed(channel: paramiko.Channel, stdin: bytes, limit: float) -> None:
    """Send the input; in a thread of its own where the command may speak before it listens."""
    if len(stdin) <= min(channel.out_window_size, _CHUNK):
        _push(channel, stdin, limit)
    else:
        threading.Thread(target=_push, args=(channel, stdin, limit), daemon=True).start()


def _push(channel: paramiko.Channel, stdin: bytes, limit: float) -> None:
    # A command that does not read its input, or has ended, says so by its exit code; a
    # connection that is lost is noticed by who drains.
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        channel.settimeout(limit)
        if stdin:
            channel.sendall(stdin)
        channel.shutdown_write()


def _drain(
    transport: FleetTransport,
    channel: paramiko.Channel,
    outcome: Outcome,
    lines: _Lines,
    wake: _Wake,
    deadline: float,
) -> None:
    silent_since: float | None = None
    while True:
        ended = channel.eof_received or channel.closed
        heard = _take(channel, outcome)
        if heard:
            lines.say()
        if ended and not heard:
            break
        now = time.monotonic()
        done = channel.status_event.is_set()
        if now >= deadline and not done:
            raise CommandOverTimeError
        silent_since = (silent_since or now) if done and not heard else None
        if done and (now >= deadline or (silent_since and now - silent_since >= _GRACE)):
            break
        if not heard:
            transport.wait(wake, max(0.01, min(0.5, deadline - now)))
            wake.rearm()
    # The status may come after the end of the output.
    if not transport.wait(channel.status_event, max(0.5, deadline - time.monotonic())):
        raise CommandOverTimeError
    outcome.exit_code = channel.exit_status


def _end(channel: paramiko.Channel) -> None:
    """Ask the server to end the command (RFC 4254, 6.9): a closed channel alone does not.

    A server that does not know the request passes it over; a command that sudo
    runs is beyond the user's reach.
    """
    with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
        _request(channel, "signal", b"TERM", reply=False)


def _request(channel: paramiko.Channel, kind: str, word: bytes, *, reply: bool) -> None:
    """A request about the channel with one word (RFC 4254, 5.4)."""
    message = paramiko.Message()
    message.add_byte(bytes([MSG_CHANNEL_REQUEST]))
    message.add_int(channel.remote_chanid)
    message.add_string(kind)
    message.add_boolean(reply)
    message.add_string(word)
    send = getattr(channel.get_transport(), "_send_user_message", None)
    if send is not None:
        send(message)


def _take(channel: paramiko.Channel, outcome: Outcome) -> bool:
    """Take in what has arrived; whether there was anything."""
    streams: tuple[tuple[bytearray, Callable[[], bool], Callable[[int], bytes]], ...] = (
        (outcome.stdout, channel.recv_ready, channel.recv),
        (outcome.stderr, channel.recv_stderr_ready, channel.recv_stderr),
    )
    heard = False
    for collected, ready, receive in streams:
        while ready():
            collected += receive(_CHUNK)
            heard = True
            if len(outcome.stdout) + len(outcome.stderr) > MAX_OUTPUT:
                raise TooMuchOutputError
    return heard


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


class _Lines:
    """Tells whole lines as they come."""

    def __init__(self, outcome: Outcome, on_line: OnLine | None) -> None:
        self._streams = {"stdout": outcome.stdout, "stderr": outcome.stderr}
        self._on_line = on_line
        self._told = {"stdout": 0, "stderr": 0}
        self._seen = {"stdout": 0, "stderr": 0}

    def say(self) -> None:
        """Tell the lines that are complete and have not been told."""
        if self._on_line is None:
            return
        for name, data in self._streams.items():
            # Only what is new can have a line's end: a long line is not searched again.
            end = data.rfind(b"\n", self._seen[name]) + 1
            self._seen[name] = len(data)
            if end:
                start, self._told[name] = self._told[name], end
                for line in bytes(data[start : end - 1]).split(b"\n"):
                    self._tell(name, line)

    def finish(self) -> None:
        """The last line may have no end."""
        for name, data in self._streams.items():
            if self._on_line is not None and len(data) > self._told[name]:
                self._tell(name, bytes(data[self._told[name] :]))

    def _tell(self, name: str, line: bytes) -> None:
        if self._on_line is not None:
            self._on_line(name, line.rstrip(b"\r").decode("utf-8", "backslashreplace"))
