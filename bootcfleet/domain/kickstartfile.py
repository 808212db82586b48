"""A kickstart as commands and sections, each with its line; without asking whether they are valid.

Source: pykickstart's documentation (one command a line, words as a shell splits them, ``#``
begins a comment, ``%section`` to ``%end``, ``%include`` and ``%ksappend`` anywhere).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from bootcfleet.domain.shell import Script, ShellCommand, parse_script

_SECTION = re.compile(r"%[a-z]")
_INCLUDES = ("%include", "%ksappend")
_SHELLS = ("sh", "bash", "dash", "ksh")


@dataclass(frozen=True)
class KickstartLine:
    """A command or the head of a section: its name and words, on its line (1-based)."""

    name: str
    words: tuple[str, ...]
    line: int

    def value(self, option: str) -> str | None:
        """What an option is given, as ``--url=x`` or ``--url x``; None without the option."""
        for place, word in enumerate(self.words):
            if word == option:
                return self.words[place + 1] if place + 1 < len(self.words) else ""
            if word.startswith(f"{option}="):
                return word.partition("=")[2]
        return None

    def has(self, *options: str) -> bool:
        """Whether one of these options is there."""
        return any(self.value(option) is not None for option in options)

    @property
    def operand(self) -> str | None:
        """The first word, if it is no option: a mount point, a language."""
        return next((word for word in self.words[:1] if not word.startswith("-")), None)


@dataclass(frozen=True)
class KickstartSection:
    """A section: its head, its lines, and the line of its ``%end`` (None where it is missing)."""

    head: KickstartLine
    body: tuple[str, ...]
    end: int | None

    @property
    def name(self) -> str:
        """``%pre``, ``%post``, ``%packages``, …"""
        return self.head.name

    @property
    def last(self) -> int:
        """The last line that belongs to it."""
        return self.end or self.head.line + len(self.body)

    @property
    def is_script(self) -> bool:
        """Whether a program is run with its lines."""
        return self.name in ("%pre", "%pre-install", "%post", "%onerror", "%traceback")

    @property
    def chrooted(self) -> bool:
        """Whether it runs inside of the installed system."""
        return self.name == "%post" and not self.head.has("--nochroot")

    @property
    def is_shell(self) -> bool:
        """Whether its interpreter reads shell."""
        interpreter = self.head.value("--interpreter") or "/bin/sh"
        return self.is_script and interpreter.split(" ")[0].rpartition("/")[2] in _SHELLS

    @cached_property
    def script(self) -> Script:
        """Its commands, whose lines count from 0; empty for what is no shell."""
        return parse_script("\n".join(self.body)) if self.is_shell else Script(())

    def line_of(self, command: ShellCommand) -> int:
        """The line of one of its commands in the kickstart."""
        return self.head.line + 1 + command.line


@dataclass(frozen=True)
class Kickstart:
    """A whole kickstart.  `comments` are all comments outside of words, by line."""

    text: str
    commands: tuple[KickstartLine, ...] = ()
    sections: tuple[KickstartSection, ...] = ()
    includes: tuple[KickstartLine, ...] = ()
    comments: dict[int, str] = field(default_factory=dict)

    def all(self, *names: str) -> tuple[KickstartLine, ...]:
        """The commands of these names, in their order."""
        return tuple(one for one in self.commands if one.name in names)

    @property
    def last_line(self) -> int:
        """The number of lines, at least 1: where what is missing is reported."""
        return max(1, len(self.text.rstrip("\n").split("\n")))

    @cached_property
    def shells(self) -> tuple[KickstartSection, ...]:
        """The scripts that are shell."""
        return tuple(one for one in self.sections if one.is_shell)


def parse_kickstart(text: str) -> Kickstart:
    """Read a kickstart.  Never fails: what is not valid is for pykickstart to say."""
    commands: list[KickstartLine] = []
    sections: list[KickstartSection] = []
    includes: list[KickstartLine] = []
    comments: dict[int, str] = {}
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    at = 0
    while at < len(lines):
        raw, number = lines[at], at + 1
        stripped = raw.strip()
        at += 1
        if stripped.startswith("#"):
            comments[number] = stripped
        elif stripped and stripped.split()[0] in _INCLUDES:
            includes.append(_line(stripped, number))
        elif _SECTION.match(stripped) and stripped.split()[0] != "%end":
            body, end = _body(lines, at)
            comments |= dict(_comments(body, number))
            sections.append(KickstartSection(_line(stripped, number), body, end))
            at += len(body) + (end is not None)
        elif stripped:
            commands.append(_line(stripped, number))
            if " #" in raw:
                comments[number] = raw[raw.index(" #") + 1 :]
    return Kickstart(text, tuple(commands), tuple(sections), tuple(includes), comments)


def _body(lines: list[str], start: int) -> tuple[tuple[str, ...], int | None]:
    """The lines up to ``%end``, and the line that it is on."""
    for at in range(start, len(lines)):
        if lines[at].strip().split("#")[0].strip() == "%end":
            return tuple(lines[start:at]), at + 1
    return tuple(lines[start:]), None


def _comments(body: tuple[str, ...], above: int) -> Iterator[tuple[int, str]]:
    for offset, raw in enumerate(body, 1):
        if "#" in raw:
            yield above + offset, raw[raw.index("#") :]


def _line(text: str, number: int) -> KickstartLine:
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        words = text.split()
    words = words or text.split()
    return KickstartLine(words[0], tuple(words[1:]), number)
