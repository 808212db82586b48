"""``ssh_config`` files as ssh itself reads them: Host, Match, Include, first value wins.

Source: ssh_config(5).  paramiko's own reader is not used: it has no Include, and
putting included lines in place of it gives them to every host when the Include
stands in a Host block; it also keeps only one CertificateFile.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from bootcfleet.errors import ConfigError

#: ssh's own limit for files that include files.
_MAX_DEPTH = 16

#: Keywords that may be given several times; every value counts.
_LISTS = frozenset({"identityfile", "certificatefile"})

#: Keywords whose value is the rest of the line, quotes and all.
_VERBATIM = frozenset({"proxycommand", "localcommand", "remotecommand", "knownhostscommand"})

#: Criteria of Match that stand alone.
_BARE = frozenset({"all", "canonical", "final"})

_WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|\\.|[^\s"'\\])+""")
_KEYWORD = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)(?:\s*=\s*|\s+|$)(.*)", re.DOTALL)


@dataclass(frozen=True)
class _Setting:
    keyword: str
    values: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class _Host:
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class _Match:
    """Criteria as (negated, name, argument)."""

    criteria: tuple[tuple[bool, str, str], ...]
    where: str


@dataclass(frozen=True)
class _Include:
    files: tuple[tuple[_Entry, ...], ...]


_Entry: TypeAlias = _Setting | _Host | _Match | _Include


@dataclass
class Options:
    """What the configuration says of one host: keyword in lower case → values."""

    found: dict[str, tuple[str, ...]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def first(self, keyword: str) -> str | None:
        """The value of a keyword that takes one."""
        values = self.found.get(keyword, ())
        return values[0] if values else None

    def all(self, keyword: str) -> tuple[str, ...]:
        """All values of a keyword."""
        return self.found.get(keyword, ())

    def flag(self, keyword: str) -> bool:
        """Whether a keyword says yes."""
        return (self.first(keyword) or "").lower() in {"yes", "true"}

    def number(self, keyword: str, default: float) -> float:
        """A value that must be a number, not below zero.  Raises `ConfigError`."""
        value = self.first(keyword)
        if value is None or value.lower() == "none":
            return default
        if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            place = self.places.get(keyword)
            raise ConfigError(f"{keyword} {value!r} is not a number", file=place)
        return float(value)

    def take(self, setting: _Setting) -> None:
        """Take a setting in, unless an earlier one decides."""
        key = setting.keyword
        if key in _LISTS:
            kept = self.found.get(key, ())
            self.found[key] = kept + tuple(v for v in setting.values if v not in kept)
        else:
            self.found.setdefault(key, setting.values)
        self.places.setdefault(key, setting.where)


@dataclass(frozen=True)
class _Question:
    """What is looked up, and in which pass."""

    host: str
    final: bool
    execute: Callable[[str], bool]


@dataclass(frozen=True)
class SshConfig:
    """One or more files, in the order in which they are asked."""

    files: tuple[tuple[_Entry, ...], ...] = ()

    def lookup(
        self,
        host: str,
        given: Mapping[str, str] | None = None,
        *,
        execute: Callable[[str], bool] = lambda _command: False,
    ) -> Options:
        """The options for `host`.

        `given` are options that stand before the files, as on ssh's command
        line.  `execute` runs the command of a ``Match exec`` and says whether it
        succeeded.  Raises `ConfigError` for a Match that is not understood.
        """
        options = Options({key: (value,) for key, value in (given or {}).items()})
        # Match final asks for a second reading; what the first one found stays.
        passes = (False, True) if any(_asks_final(entries) for entries in self.files) else (False,)
        for final in passes:
            question = _Question(host, final, execute)
            for entries in self.files:
                _walk(entries, question, options)
        return options


def read_config(
    path: Path, *, folder: Path, required: bool = False, private: bool = False
) -> tuple[_Entry, ...]:
    """Read a file with all that it includes; relative includes stand in `folder`.

    `private` refuses a file that somebody else may write, as ssh does with the
    user's own: it can name commands.  Raises `ConfigError` for a line that is
    wrong (with file and line), includes that go round in a circle, and a
    `required` file that cannot be read.
    """
    return tuple(_read(path, folder, 0, required, private))


def parse_config(text: str, file: str = "ssh_config", folder: Path | None = None) -> SshConfig:
    """The same from text, for one file."""
    return SshConfig((tuple(_parse(text, file, folder or Path("/"), 0, False)),))


def _read(path: Path, folder: Path, depth: int, required: bool, private: bool) -> list[_Entry]:
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            text = stream.read().decode("utf-8", "replace")
    except OSError as error:
        if required:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
        return []
    if private and (status.st_mode & 0o022 or status.st_uid not in (0, os.getuid())):
        raise ConfigError(
            "may be written by others, and it can name commands; ssh refuses it as well",
            file=str(path),
            hint=f"chmod go-w {shlex.quote(str(path))}",
        )
    return _parse(text, str(path), folder, depth, private)


def _parse(text: str, file: str, folder: Path, depth: int, private: bool) -> list[_Entry]:
    entries: list[_Entry] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _KEYWORD.fullmatch(line.rstrip())
        if match is None:
            raise ConfigError(f"cannot be read: {line.strip()!r}", file=file, line=number)
        keyword, rest = match.group(1).lower(), match.group(2)
        if keyword in _VERBATIM:
            words = [rest.strip()] if rest.strip() else []
        else:
            words = _words(rest, file, number)
        if not words:
            raise ConfigError(f"{match.group(1)} has no value", file=file, line=number)
        where = f"{file}:{number}"
        if keyword == "host":
            entries.append(_Host(tuple(words)))
        elif keyword == "match":
            entries.append(_Match(_criteria(words, file, number), where))
        elif keyword == "include":
            entries.append(_Include(tuple(_included(words, folder, depth, private, file, number))))
        else:
            entries.append(_Setting(keyword, tuple(words), where))
    return entries


def _words(rest: str, file: str, number: int) -> list[str]:
    """The arguments of a line: quotes as in a shell, ``#`` begins a comment."""
    words: list[str] = []
    position = 0
    for match in _WORD.finditer(rest):
        if rest[position : match.start()].strip():
            break
        position = match.end()
        if match.group().startswith("#"):
            return words
        words += shlex.split(match.group())
    if rest[position:].strip():
        raise ConfigError(f"the quotes do not match: {rest.strip()!r}", file=file, line=number)
    return words


def _included(
    patterns: list[str], folder: Path, depth: int, private: bool, file: str, number: int
) -> list[tuple[_Entry, ...]]:
    if depth >= _MAX_DEPTH:
        raise ConfigError("includes itself, or too many files in a row", file=file, line=number)
    files = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if not path.is_absolute():
            path = folder / path
        for name in sorted(glob.glob(str(path))):  # noqa: PTH207 - ssh uses glob(3)
            files.append(tuple(_read(Path(name), folder, depth + 1, False, private)))
    return files


def _criteria(words: list[str], file: str, number: int) -> tuple[tuple[bool, str, str], ...]:
    found = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        negated = word.startswith("!")
        name, equals, argument = word.lstrip("!").partition("=")
        name = name.lower()
        if name not in _BARE and not equals:
            if not rest:
                raise ConfigError(f"Match {name} needs a value", file=file, line=number)
            argument = rest.pop(0)
        found.append((negated, name, argument))
    return tuple(found)


def _asks_final(entries: tuple[_Entry, ...]) -> bool:
    for entry in entries:
        if isinstance(entry, _Match) and any(name == "final" for _, name, _ in entry.criteria):
            return True
        if isinstance(entry, _Include) and any(_asks_final(inner) for inner in entry.files):
            return True
    return False


def _walk(entries: tuple[_Entry, ...], question: _Question, options: Options) -> None:
    """Take in the settings that apply.

    A file counts only where the block that includes it does, and its own blocks
    end with it.
    """
    active = True
    for entry in entries:
        if isinstance(entry, _Host):
            active = matches_any(question.host, entry.patterns)
        elif isinstance(entry, _Match):
            active = _applies(entry, question, options)
        elif isinstance(entry, _Include):
            if active:
                for inner in entry.files:
                    _walk(inner, question, options)
        elif active:
            options.take(entry)


def _applies(entry: _Match, question: _Question, options: Options) -> bool:
    local = local_user()
    for negated, name, argument in entry.criteria:
        patterns = tuple(argument.split(","))
        if name == "all":
            said = True
        elif name == "final":
            said = question.final
        elif name == "canonical":
            said = False
        elif name == "originalhost":
            said = matches_any(question.host, patterns)
        elif name == "host":
            said = matches_any(_hostname(question.host, options), patterns)
        elif name == "user":
            said = matches_any(options.first("user") or local, patterns)
        elif name == "localuser":
            said = matches_any(local, patterns)
        elif name == "exec":
            said = question.execute(expand(argument, tokens(question.host, options)))
        else:
            raise ConfigError(
                f"Match {name} is not understood", file=entry.where, hint="use Host, or Match host"
            )
        # The criteria stand in order: what follows one that fails is not asked, exec above all.
        if said == negated:
            return False
    return True


def matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern list takes `name`; a negated pattern that matches decides at once.

    Patterns know ``*`` and ``?`` only (ssh_config(5), PATTERNS).
    """
    hit = False
    for pattern in patterns:
        plain = pattern.removeprefix("!")
        if matches(name, plain):
            if plain != pattern:
                return False
            hit = True
    return hit


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern with ``*`` and ``?`` takes the whole of `name`."""
    if "*" not in pattern and "?" not in pattern:
        return name == pattern
    squeezed = re.sub(r"\*+", "*", pattern)
    wanted = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in squeezed)
    return re.fullmatch(wanted, name, re.DOTALL) is not None


def _hostname(host: str, options: Options) -> str:
    named = options.first("hostname")
    return host if named is None else expand(named, {"h": host})


def local_user() -> str:
    """Who runs this: a name, or the number of a user who has none (in many containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def tokens(host: str, options: Options) -> dict[str, str]:
    """What the percent signs stand for (ssh_config(5), TOKENS)."""
    local = os.uname().nodename
    return {
        "d": str(Path.home()),
        "h": _hostname(host, options),
        "i": str(os.getuid()),
        "k": options.first("hostkeyalias") or host,
        "L": local.split(".")[0],
        "l": local,
        "n": host,
        "p": options.first("port") or "22",
        "r": options.first("user") or local_user(),
        "u": local_user(),
    }


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replace percent tokens.  Raises `ConfigError` for one that is not known."""

    def one(match: re.Match[str]) -> str:
        letter = match.group(1)
        if letter == "%":
            return "%"
        if letter not in known:
            raise ConfigError(f"%{letter} in {text!r} is not supported")
        return known[letter]

    return re.sub(r"%(.?)", one, text, flags=re.DOTALL)
