"""What sudo says, and that it is not taken for what the command says."""

from __future__ import annotations

import pytest

from bootcfleet.drivers.sshcommand import Outcome
from bootcfleet.drivers.sshsudo import (
    HeldLines,
    PasswordPrompt,
    Refusal,
    as_without_sudo,
    refusal,
)


def outcome(code: int, stderr: str, stdout: str = "") -> Outcome:
    return Outcome(bytearray(stdout.encode()), bytearray(stderr.encode()), code)


@pytest.mark.parametrize(
    ("code", "stderr", "stdout", "expected"),
    [
        (1, "sudo: a password is required\n", "", Refusal.NEEDS_PASSWORD),
        (1, "sudo: a terminal is required to read the password; either use the -S option\n"
            "sudo: a password is required\n", "", Refusal.NEEDS_PASSWORD),
        (1, "sudo: interactive authentication is required\n", "", Refusal.NEEDS_PASSWORD),
        (1, "sudo: no tty present and no askpass program specified\n", "", Refusal.NEEDS_PASSWORD),
        (1, "bob is not in the sudoers file.\n", "", Refusal.REFUSED),
        (1, "Sorry, user bob is not allowed to execute '/bin/x' as root on web.\n", "",
         Refusal.REFUSED),
        (1, "Sorry, user bob may not run sudo on web.\n", "", Refusal.REFUSED),
        (1, "sudo: 1 incorrect password attempt\n", "", Refusal.REFUSED),
        (1, "sudo: sorry, you must have a tty to run sudo\n", "", Refusal.REFUSED),
        (1, "sudo: PAM account management error: Permission denied\n", "", Refusal.REFUSED),
        (1, "sudo: I'm sorry bob. I'm afraid I can't do that\n", "", Refusal.REFUSED),
        (127, "sh: 1: sudo: not found\n", "", Refusal.MISSING),
        (127, "bash: line 1: sudo: command not found\n", "", Refusal.MISSING),
        (127, "env: ‘sudo’: No such file or directory\n", "", Refusal.MISSING),
        (127, "env: can't execute 'sudo': No such file or directory\n", "", Refusal.MISSING),
        (127, "env: »sudo“: Datei oder Verzeichnis nicht gefunden\n", "", Refusal.MISSING),
        (127, "env: ‘web’: No such file or directory\n", "", Refusal.NONE),
        # The command itself:
        (0, "sudo: a password is required\n", "", Refusal.NONE),
        (1, "error: pulling: unauthorized\n", "", Refusal.NONE),
        (1, "sudo: unable to resolve host web: Name or service not known\n", "", Refusal.NONE),
        (1, "sudo: bootc: command not found\n", "", Refusal.NONE),
        (1, "sudo: a password is required\n", "it has spoken\n", Refusal.NONE),
        (3, "sudo: a password is required\n", "", Refusal.NONE),
        (127, "sh: 1: bootc: not found\n", "", Refusal.NONE),
        (1, "", "", Refusal.NONE),
    ],
)  # fmt: skip
def test_refusals(code: int, stderr: str, stdout: str, expected: Refusal) -> None:
    assert refusal(outcome(code, stderr, stdout), "bootc") is expected


def test_a_program_that_sudo_does_not_find_ends_as_for_a_shell() -> None:
    missing = outcome(1, "sudo: bootc: command not found\n")
    as_without_sudo(missing, "bootc")
    assert missing.exit_code == 127
    other = outcome(1, "sudo: bootc: command not found\n")
    as_without_sudo(other, "cat")
    assert other.exit_code == 1


def test_the_prompt_cannot_be_foreseen_and_is_taken_away() -> None:
    prompt = PasswordPrompt()
    assert prompt.text != PasswordPrompt().text
    words = prompt.words("--", "x")
    assert words[words.index("sudo") :] == ("sudo", "-k", "-S", "-p", prompt.text, "--", "x")
    assert "%" not in prompt.text
    stderr = bytearray(f"a lecture\n{prompt.text}error\n".encode())
    prompt.strip(stderr)
    assert stderr == b"error\n"
    prompt.strip(stderr)
    assert stderr == b"error\n"


def test_listeners_hear_the_command_only() -> None:
    told: list[str] = []
    prompt = PasswordPrompt()
    behind = prompt.behind(lambda stream, line: told.append(f"{stream}:{line}"))
    assert behind is not None
    for line in ("We trust you", f"{prompt.text}first", "second"):
        behind("stderr", line)
    behind("stdout", "out")
    assert told == ["stderr:first", "stderr:second", "stdout:out"]
    assert prompt.behind(None) is None


def test_sudos_first_words_are_held_until_the_command_speaks() -> None:
    told: list[str] = []
    lines = HeldLines(lambda _stream, line: told.append(line))
    lines.tell("stderr", "sudo: unable to resolve host web")
    assert told == []
    lines.tell("stdout", "out")
    lines.tell("stderr", "sudo: this is the command's own")
    assert told == ["sudo: unable to resolve host web", "out", "sudo: this is the command's own"]
    lines.release()
    assert len(told) == 3
