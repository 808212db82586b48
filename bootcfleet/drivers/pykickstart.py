"""Anaconda's own parser of kickstarts, where it is installed (the extra ``kickstart``).

pykickstart is under the GPL and no part of this package: it is imported where somebody
has installed it, and without it a note says what was not looked at.
"""

from __future__ import annotations

import importlib
import re
import shlex
import threading
import warnings
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.kslint.engine import OUTDATED, SYNTAX
from bootcfleet.domain.lint.model import At, Rule
from bootcfleet.domain.release import Release

_MISSING = (
    "pykickstart is not installed, so the syntax was not checked: pip install bootcfleet[kickstart]"
)
#: Lines that would make the parser read other files, or fetch them.
_INCLUDE = re.compile(r"^\s*%(include|ksappend)\b.*$", re.MULTILINE)
_WHERE = re.compile(r"^The following problem occurred on line \d+ of the kickstart file:\s*")
#: catch_warnings is the process's, not the thread's.
_LOCK = threading.Lock()


@dataclass(frozen=True)
class SyntaxResult:
    """What pykickstart said; `note` where it could not be asked."""

    findings: tuple[tuple[Rule, At], ...] = ()
    note: str | None = None


def check_syntax(text: str, release: Release) -> SyntaxResult:
    """Parse a kickstart as the installer of a release does; nothing is fetched or included."""
    try:
        parser_module = importlib.import_module("pykickstart.parser")
        version = importlib.import_module("pykickstart.version")
        errors = importlib.import_module("pykickstart.errors")
    except ImportError:
        return SyntaxResult(note=_MISSING)
    try:
        handler = version.makeVersion(release.handler)
    except errors.KickstartVersionError:
        return SyntaxResult(
            note=f"the installed pykickstart does not know {release}, so the syntax was not "
            "checked: pip install --upgrade pykickstart"
        )
    plain = _INCLUDE.sub("# included", text)
    found: list[tuple[Rule, At]] = []
    with _LOCK, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        parser = parser_module.KickstartParser(handler, missingIncludeIsFatal=False)
        try:
            parser.readKickstartFromString(plain)
        except errors.KickstartError as error:
            found.append((SYNTAX, _at(error, text)))
        except ValueError as error:
            # Quotes that do not end come out of its parser as they are.
            found.append((SYNTAX, At(_unquoted(text), str(error))))
    for one in said:
        if issubclass(one.category, errors.KickstartWarning):
            message = _words(str(one.message))
            found.append((OUTDATED, At(_mentioned(message, text), message)))
    return SyntaxResult(tuple(found))


def _at(error: Any, text: str) -> At:
    lines = max(1, text.count("\n"))
    number = getattr(error, "lineno", None) or 1
    return At(
        min(max(1, int(number)), lines), _words(getattr(error, "message", None) or str(error))
    )


def _unquoted(text: str) -> int:
    """The first line whose quotes do not end."""
    for number, line in enumerate(text.split("\n"), 1):
        try:
            shlex.split(line, comments=True)
        except ValueError:
            return number
    return 1


def _mentioned(message: str, text: str) -> int:
    """The line of the option or command that a warning is about; it names no line."""
    line = re.search(r"line (\d+)", message)
    if line:
        return int(line[1])
    option = re.search(r"option (--[A-Za-z0-9-]+)", message)
    command = re.search(r"[Tt]he (\S+) command", message)
    pattern = ""
    if option:
        pattern = rf"\s{option[1]}\b"
    elif command:
        pattern = rf"^\s*{re.escape(command[1])}\b"
    for number, one in enumerate(text.split("\n"), 1):
        if pattern and re.search(pattern, one):
            return number
    return 1


def _words(message: str) -> str:
    return " ".join(_WHERE.sub("", message).split())
