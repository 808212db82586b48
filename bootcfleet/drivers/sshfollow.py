"""The output of a command that is left running over SSH, read when it rings."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import paramiko

from bootcfleet.drivers.sshcommand import ask_for
from bootcfleet.drivers.sshtransport import FleetTransport

#: A line that is longer is none of a loop of ours (bytes).
_LONGEST = 65536


class FollowedCommand:
    """A command that goes on.  Nobody needs to wait for it: `bell` is set when it speaks."""

    def __init__(
        self,
        transport: FleetTransport,
        channel: paramiko.Channel,
        line: bytes,
        bell: threading.Event,
    ) -> None:
        self._transport = transport
        self._channel = channel
        self._bell = bell
        self._rest = b""
        # What it complains about is not read, and must not fill the window.
        channel.set_combine_stderr(True)
        pipe: Any = channel.in_buffer
        pipe.set_event(bell)
        ask_for(channel, line)
        channel.shutdown_write()

    def lines(self) -> list[str]:
        """The whole lines that came since the last call."""
        self._bell.clear()
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            while self._channel.recv_ready():
                self._rest += self._channel.recv(_LONGEST)
        *whole, self._rest = self._rest.split(b"\n")
        self._rest = self._rest[:_LONGEST]
        return [line.decode("utf-8", "backslashreplace") for line in whole]

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        over = self._channel.eof_received or self._channel.closed
        return (over and not self._channel.recv_ready()) or not self._transport.is_active()

    def wait(self, timeout: float) -> None:
        """Wait until something has come or it has ended, at most `timeout` seconds."""
        with self._transport.driven():
            self._transport.wait(self._bell, timeout)

    def close(self) -> None:
        """Close the channel: the command ends when it speaks next."""
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            self._channel.close()
