"""How sudo is asked for root, and what its refusals look like.

A password goes to sudo's stdin only, never into argv, and only when sudo has
just said for the very same command that it needs one: where it does not ask,
the password would become the command's own input.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from enum import Enum

from bootcfleet.drivers.command import OnLine
from bootcfleet.drivers.sshcommand import Outcome

#: sudo in the language that is read here, by a program because a login shell may be any: a server
#: need not accept our locale (AcceptEnv), and LANGUAGE goes before it (gettext(3)).
_SUDO = ("env", "LC_ALL=C.UTF-8", "LANGUAGE=", "sudo")
#: Root without a question; sudo answers at once where it would have to ask.
WITHOUT_PASSWORD = (*_SUDO, "-n", "--")


class Refusal(Enum):
    """What sudo said, when it was sudo that spoke."""

    NONE = "none"
    NEEDS_PASSWORD = "needs a password"  # noqa: S105 - no secret
    REFUSED = "refused"
    MISSING = "missing"


_NEEDS_PASSWORD = re.compile(
    r"^sudo: .*(password is required|terminal is required|no tty present"
    r"|interactive authentication is required)",
    re.MULTILINE | re.IGNORECASE,
)
_REFUSED = re.compile(
    r"is not in the sudoers file|^sorry, user |is not allowed to (run|execute)|may not run sudo"
    r"|^sudo: .*(sorry, you must have a tty|incorrect password|account validation failure"
    r"|account management error|no valid sudoers|effective uid is not 0|must be owned by uid 0"
    r"|/etc/sudoers|I'm afraid I can't do that|authentication fail|not allowed)",
    re.MULTILINE | re.IGNORECASE,
)


def refusal(outcome: Outcome, program: str) -> Refusal:
    """Whether sudo refused, so that the command has not run."""
    if outcome.exit_code == 0:
        return Refusal.NONE
    said = outcome.stderr.decode("utf-8", "replace")
    if (
        outcome.exit_code == 127
        and re.search(r"\bsudo: .*not found|^env: .*\bsudo\b", said, re.MULTILINE)
        and (f"sudo: {program}:" not in said)
    ):
        return Refusal.MISSING
    if outcome.exit_code != 1 or outcome.stdout:
        return Refusal.NONE
    if _NEEDS_PASSWORD.search(said):
        return Refusal.NEEDS_PASSWORD
    return Refusal.REFUSED if _REFUSED.search(said) else Refusal.NONE


def as_without_sudo(outcome: Outcome, program: str) -> None:
    """A program that sudo does not find ends as one that a shell does not find: with 127."""
    if outcome.exit_code == 1 and outcome.stderr.startswith(f"sudo: {program}: ".encode()):
        outcome.exit_code = 127


class HeldLines:
    """Keeps back what sudo says first, until it is clear whether the command runs at all."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line = on_line
        self._held: list[str] = []
        self._open = False

    def tell(self, stream: str, line: str) -> None:
        """Take a line; pass it on unless it may be a refusal."""
        if not self._open and stream == "stderr" and line.startswith("sudo: "):
            self._held.append(line)
            return
        self.release()
        if self._on_line is not None:
            self._on_line(stream, line)

    def release(self) -> None:
        """It was the command that spoke."""
        self._open = True
        held, self._held = self._held, []
        for line in held:
            if self._on_line is not None:
                self._on_line("stderr", line)


@dataclass
class PasswordPrompt:
    """A prompt that nothing else says: what stands before it on stderr is sudo's (its lecture)."""

    text: str = field(default_factory=lambda: f"[sudo {secrets.token_hex(8)}] ")

    def words(self, *more: str) -> tuple[str, ...]:
        """sudo's part of the command; ``-k`` makes it ask whatever it remembers."""
        return (*_SUDO, "-k", "-S", "-p", self.text, *more)

    def strip(self, stderr: bytearray) -> None:
        """Take sudo's own words away."""
        end = stderr.rfind(self.text.encode())
        if end >= 0:
            del stderr[: end + len(self.text)]

    def behind(self, on_line: OnLine | None) -> OnLine | None:
        """The same listener, not told of sudo's own words."""
        if on_line is None:
            return None
        waiting = True

        def tell(stream: str, line: str) -> None:
            nonlocal waiting
            if stream == "stderr" and waiting:
                _, found, rest = line.rpartition(self.text)
                waiting = not found
                if found and rest:
                    on_line(stream, rest)
                return
            on_line(stream, line)

        return tell
