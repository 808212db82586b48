"""What a simulated host answers besides bootc: the words that a shell and systemd would.

Enough for every command that this project sends, and for looking around with
``fleet exec``.  Scripts of ``sh -c`` may join commands by ``;``, ``&&`` and
``||``; there are no pipes, redirections or expansions.
"""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bootcfleet.domain.faults import Fault
from bootcfleet.domain.health import GREENBOOT_UNITS
from bootcfleet.drivers import (
    simbootc,
    simevidence,
    simfiles,
    simlook,
    simnotes,
    simprobe,
    simtimer,
)
from bootcfleet.drivers.bootc import FACTS_SCRIPT
from bootcfleet.drivers.bootcprogress import TITLE as PROGRESS
from bootcfleet.drivers.checkprobe import TITLE as PROBE
from bootcfleet.drivers.hostevidence import TITLE as EVIDENCE
from bootcfleet.drivers.hostprobe import TITLE as LOOK
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import SimHost
from bootcfleet.drivers.simrecord import What

_JOINTS = {";", "&&", "||"}


class Input:
    """What a client sends to a command: sudo takes its line, the command the rest."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._data: bytes | None = None

    def line(self) -> bytes:
        """The next line, without its end."""
        line, _, self._data = self.rest().partition(b"\n")
        return line

    def rest(self) -> bytes:
        """Everything that no `line` took."""
        if self._data is None:
            self._data = self._read()
        return self._data


@dataclass(frozen=True)
class Session:
    """One command line on a host, as a user.

    `gone` tells whether the client hung up; `say` takes standard output that comes before the
    command's end.
    """

    host: SimHost
    user: str
    stdin: Input
    gone: Callable[[], bool]
    sudo_password: str | None = None
    say: Callable[[str], None] = lambda _: None


def run(session: Session, line: str) -> Said:
    """Answer the line that a client sent.  Never raises for what a user may send."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        return Said("", f"bash: -c: line 1: {error}\n", 2)
    return _words(session, words, root=session.user == "root")


def _words(session: Session, words: list[str], *, root: bool) -> Said:
    if not words:
        return Said()
    match words[0]:
        case "sudo":
            return _sudo(session, words[1:])
        case "env":
            return _env(session, words[1:], root=root)
        case "sh" if words[1:2] == ["-c"] and len(words) > 2 and words[2].startswith(PROBE):
            asked = session.stdin.rest().decode("utf-8", "replace")
            return simprobe.answer(session.host, asked, lambda path: _file(session.host, path))
        case "sh" if words[1:2] == ["-c"] and len(words) == 6 and simfiles.PUT in words[2]:
            return simfiles.put(session.host, words[4], session.stdin.rest(), root=root)
        case "sh" if words[1:2] == ["-c"] and len(words) > 5 and simnotes.answers(words[2:]):
            return simnotes.run(session.host, words[2:], root=root)
        case "sh" if words[1:2] == ["-c"] and len(words) > 5 and words[2].startswith(PROGRESS):
            return _with_progress(session, words[5:], root=root)
        case "sh" if words[1:2] == ["-c"] and len(words) > 2 and words[2].startswith(LOOK):
            facts = _script(session, FACTS_SCRIPT, root=root)
            return simlook.answer(session.host, facts, reference="".join(words[4:5]))
        case "sh" if words[1:2] == ["-c"] and len(words) == 5 and words[2].startswith(EVIDENCE):
            return simevidence.answer(session.host, words[4], gone=session.gone)
        case "sh" | "bash" if words[1:2] == ["-c"] and len(words) > 2:
            return _script(session, words[2], root=root)
        case "bootc":
            return simbootc.run(session.host, words[1:], root=root, gone=session.gone)
        case _:
            return _command(session, words, root=root)


def _script(session: Session, script: str, *, root: bool) -> Said:
    reader = shlex.shlex(script, posix=True, punctuation_chars=";&|")
    reader.whitespace_split = True
    try:
        tokens = list(reader)
    except ValueError as error:
        return Said("", f"sh: 1: Syntax error: {error}\n", 2)
    out, err, said = "", "", Said()
    command: list[str] = []
    joint = ";"
    for token in [*tokens, ";"]:
        if token not in _JOINTS:
            command.append(token)
            continue
        skip = (joint == "&&" and said.code != 0) or (joint == "||" and said.code == 0)
        if command and not skip:
            said = _words(session, command, root=root)
            out, err = out + said.stdout, err + said.stderr
            if said.cut or said.reboots:
                break
        joint, command = token, []
    return replace(said, stdout=out, stderr=err)


def _with_progress(session: Session, bootc: list[str], *, root: bool) -> Said:
    """bootc by the script that has its progress on standard output, and all else on the other."""
    words = [*bootc, "--progress-fd", "3"]
    said = simbootc.run(session.host, words, root=root, gone=session.gone, say=session.say)
    return replace(said, stdout="", stderr=said.stdout + said.stderr)


def _env(session: Session, words: list[str], *, root: bool) -> Said:
    """A command with variables, of which only one means something here."""
    variables = list(itertools.takewhile(lambda word: "=" in word, words))
    said = _words(session, words[len(variables) :], root=root)
    return replace(said, full=said.full or "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1" in variables)


def _sudo(session: Session, words: list[str]) -> Said:
    asks_stdin = False
    quiet = False
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        asks_stdin |= option == "-S"
        quiet |= option == "-n"
        if option == "-p" and rest:
            rest.pop(0)
    if session.host.has(Fault.SUDO_REFUSED):
        return Said("", "sudo: a password is required\n", 1)
    if session.sudo_password is not None and session.user != "root":
        if quiet or not asks_stdin:
            return Said("", "sudo: a password is required\n", 1)
        given = session.stdin.line().decode("utf-8", "replace")
        if given != session.sudo_password:
            return Said("", "sudo: 1 incorrect password attempt\n", 1)
    return _words(session, rest, root=True)


def _command(session: Session, words: list[str], *, root: bool) -> Said:
    host, name, arguments = session.host, words[0].rpartition("/")[2], words[1:]
    match name:
        case "true" | "sync" | "logger":
            return Said()
        case "false":
            return Said("", "", 1)
        case "echo":
            return Said(" ".join(arguments) + "\n")
        case "cat":
            return _cat(session, [word for word in arguments if word != "--"])
        case "grep" if arguments[:1] == ["-qxF"] and len(arguments) == 3:
            lines = (_file(host, arguments[2]) or "").splitlines()
            return Said("", "", 0 if arguments[1] in lines else 1)
        case "id":
            user = "root" if root else session.user
            return Said(
                {"-u": "0" if root else "1000", "-un": user}.get("".join(arguments), user) + "\n"
            )
        case "whoami":
            return Said(("root" if root else session.user) + "\n")
        case "hostname":
            return Said(f"{host.name}\n")
        case "uname":
            answer = {"-m": "x86_64", "-r": host.system.kernel}.get("".join(arguments), "Linux")
            return Said(answer + "\n")
        case "sleep":
            return _sleep(session, arguments)
        case "test" | "[":
            path = arguments[1] if len(arguments) > 1 else ""
            return Said("", "", 0 if _file(host, path) is not None else 1)
        case "df":
            return Said(
                "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/vda4 "
                + (
                    "9000000 9000000 0 100% /\n"
                    if host.has(Fault.DISK_FULL)
                    else "9000000 3000000 6000000 33% /\n"
                )
            )
        case "journalctl":
            failed = "".join(
                f"{unit}: Main process exited, status=1/FAILURE\n" for unit in host.failed_units
            )
            return Said(f"-- Boot {host.boot_id.replace('-', '')} --\n{failed}")
        case "mkdir" | "rm" | "rmdir":
            paths = [word for word in arguments if not word.startswith("-")]
            return simfiles.change(host, name, paths, force="-f" in arguments, root=root)
        case "ps":
            holder = host.lock_holder
            return Said(f"    812       02:13 {holder}\n" if holder else "", "", 0 if holder else 1)
        case "drain" if host.has(Fault.DRAIN_FAILS):
            return Said("", "drain: 3 connections are left\n", 1)
        case "drain" | "undrain":
            host.note(What.DRAINED if name == "drain" else What.UNDRAINED)
            return Said()
        case "systemctl" if simtimer.TIMER in arguments:
            verb, *options = [word for word in arguments if word != simtimer.TIMER] or [""]
            return simtimer.systemctl(host, verb, options, root=root)
        case "systemctl":
            return _systemctl(host, arguments, root=root)
        case _:
            return Said("", f"bash: line 1: {words[0]}: command not found\n", 127)


def _cat(session: Session, paths: list[str]) -> Said:
    if not paths:
        return Said(session.stdin.rest().decode("utf-8", "replace"))
    out, err = "", ""
    for path in paths:
        text = _file(session.host, path)
        out += text or ""
        if text is None:
            err += f"cat: {path}: No such file or directory\n"
    return Said(out, err, 1 if err else 0)


def _file(host: SimHost, path: str) -> str | None:
    """The few files that a host has, and what was written there."""
    if path in host.files:
        return host.files[path].decode("utf-8", "surrogateescape")
    version = host.system.os_version or host.booted.image.version or "0"
    return {
        "/proc/sys/kernel/random/boot_id": f"{host.boot_id}\n",
        "/proc/stat": f"cpu  1 2 3 4\nbtime {int(host.boot_time)}\nprocesses 42\n",
        "/proc/uptime": f"{max(0.0, time.time() - host.boot_time):.2f} 0.00\n",
        "/etc/hostname": f"{host.name}\n",
        "/etc/os-release": f'NAME="Lab Linux"\nID=lab\nVERSION_ID="{version}"\n',
    }.get(path)


def _sleep(session: Session, arguments: list[str]) -> Said:
    try:
        end = time.monotonic() + float(arguments[0])
    except (IndexError, ValueError):
        return Said("", "sleep: invalid time interval\n", 1)
    while time.monotonic() < end and not session.gone():
        time.sleep(min(0.1, max(0.0, end - time.monotonic())))
    return Said()


def _systemctl(host: SimHost, arguments: list[str], *, root: bool) -> Said:
    words = [word for word in arguments if not word.startswith("-")]
    bad = host.failed_units
    match words[:1]:
        case ["reboot" | "soft-reboot" as verb]:
            if not root:
                return Said("", "Call to Reboot failed: Interactive authentication required.\n", 1)
            return Said(reboots=True, soft=verb == "soft-reboot")
        case ["show"] if any("SoftRebootsCount" in word for word in arguments):
            return Said(f"Version=257 (257.9-1.lab)\nSoftRebootsCount={host.soft_reboots}\n")
        case ["show"] if GREENBOOT_UNITS[0] in words:
            return Said(_greenboot(host))
        case ["daemon-reload"]:
            return Said() if root else Said("", "Interactive authentication required.\n", 1)
        case ["is-system-running"] if host.starting:
            return Said("starting\n", "", 1)
        case ["is-system-running"]:
            return Said("degraded\n", "", 1) if bad else Said("running\n")
        case ["is-active" | "is-failed" as verb]:
            failed = any(
                unit.removesuffix(".service") in each for unit in words[1:] for each in bad
            )
            ok = failed is (verb == "is-failed")
            return Said("failed\n" if failed else "active\n", "", 0 if ok else 3)
        case ["list-units"] | []:
            if "--failed" in arguments:
                return Said("".join(f"{unit} loaded failed failed Demo web\n" for unit in bad))
            return Said("sshd.service loaded active running OpenSSH server daemon\n")
        case _:
            return Said("", f"Unknown command verb '{words[0]}'.\n", 1)


def _greenboot(host: SimHost) -> str:
    """What ``systemctl show`` says of greenboot's units, where it is installed."""
    there = host.system.greenboot or host.has(Fault.GREENBOOT_ROLLS_BACK)
    load, enabled = ("loaded", "enabled") if there else ("not-found", "")
    check, complete = ("activating", "inactive") if host.starting else ("active", "active")
    blocks = [
        f"Result=success\nId={unit}\nLoadState={load}\n"
        f"ActiveState={state if there else 'inactive'}\nUnitFileState={enabled}\n"
        for unit, state in zip(GREENBOOT_UNITS, (check, complete), strict=True)
    ]
    return "\n".join(blocks)
