"""A Containerfile as instructions: what podman's parser and BuildKit's see, with line numbers.

Understood: parser directives (``# escape=``), continuation lines with comments
and empty lines in between, flags, the JSON form, heredocs, stages, ARG.  The
grammar is that of BuildKit's ``frontend/dockerfile/parser`` (the tests compare
with it through the package `dockerfile`, which has no wheel but for x86_64 and
so is no dependency) and containers-common's Containerfile(5).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bootcfleet.domain.containerfile_words import expand, split_words, unquote

KEYWORDS = frozenset(
    {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"}
    | {"MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
_JSON_FORM = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})
_HEREDOC_FORM = frozenset({"ADD", "COPY", "RUN"})

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_COMMENT = re.compile(r"\s*#")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")


@dataclass(frozen=True)
class Heredoc:
    """One heredoc of an instruction: its name, its text, and the line that its text begins on."""

    name: str
    text: str
    line: int


@dataclass(frozen=True)
class Flag:
    """``--name=value`` of an instruction; without a value it is empty."""

    name: str
    value: str = ""

    def options(self) -> dict[str, str]:
        """``a=b,c=d`` as a mapping; a word without ``=`` has the value ``true``."""
        found = {}
        for part in self.value.split(","):
            key, equals, value = part.partition("=")
            found[key.strip().lower()] = value if equals else "true"
        return found


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    `line` to `end` are its lines (1-based), heredocs included.  `script` is what
    follows the keyword and flags with a backslash at the end of each line that
    goes on, so that its lines are those of the file from `script_line` on; `text`
    is the same on one line, as the builder reads it.  `exec_form` is the JSON array.
    """

    keyword: str
    line: int
    end: int
    script: str
    script_line: int
    flags: tuple[Flag, ...] = ()
    exec_form: tuple[str, ...] | None = None
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def text(self) -> str:
        """Everything after keyword and flags, on one line."""
        return self.script.replace("\\\n", "").strip()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of `text` as they are written, or those of the JSON form."""
        return self.exec_form if self.exec_form is not None else split_words(self.text)

    def flag(self, name: str) -> str | None:
        """The value of a flag; the last one wins, None without."""
        values = [one.value for one in self.flags if one.name == name]
        return values[-1] if values else None

    def mounts(self) -> tuple[dict[str, str], ...]:
        """The options of each ``--mount``."""
        return tuple(one.options() for one in self.flags if one.name == "mount")

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """LABEL, ENV and ARG as (name, value) without quotes; ``ENV name value`` is one pair."""
        words = split_words(self.text)
        if self.keyword in ("ENV", "LABEL") and words and "=" not in words[0]:
            return ((unquote(words[0]), self.text[len(words[0]) :].strip()),)
        found = []
        for word in words:
            name, _, value = word.partition("=")
            found.append((unquote(name), unquote(value)))
        return tuple(found)


@dataclass(frozen=True)
class Stage:
    """FROM and what follows; `base` is as written, `alias` its name for later stages."""

    index: int
    base: str
    alias: str | None
    instructions: tuple[Instruction, ...]

    @property
    def line(self) -> int:
        """The line of its FROM."""
        return self.instructions[0].line


@dataclass(frozen=True)
class Problem:
    """What cannot be understood, and where."""

    line: int
    message: str


@dataclass(frozen=True)
class Containerfile:
    """A parsed Containerfile; `problems` says what no builder would take."""

    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...] = ()
    comments: Mapping[int, str] = field(default_factory=dict)
    directives: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def preamble(self) -> tuple[Instruction, ...]:
        """The ARGs before the first FROM."""
        first = self.stages[0].line if self.stages else None
        return tuple(
            one
            for one in self.instructions
            if one.keyword == "ARG" and (first is None or one.line < first)
        )

    def lineage(self) -> tuple[Stage, ...]:
        """The stages whose layers are in the image, base first: the last, and those it is FROM."""
        found: list[Stage] = []
        stage = self.stages[-1] if self.stages else None
        while stage is not None:
            found.insert(0, stage)
            stage = self.stage(stage.base, before=stage.index)
        return tuple(found)

    def stage(self, name: str, *, before: int | None = None) -> Stage | None:
        """An earlier stage by its alias or number, as ``--from`` and FROM name it."""
        limit = len(self.stages) if before is None else before
        for one in reversed(self.stages[:limit]):
            if (one.alias and one.alias.lower() == name.lower()) or str(one.index) == name:
                return one
        return None

    def arguments(self, given: Mapping[str, str]) -> dict[str, str]:
        """The values that ARGs before the first FROM have there; `given` are build arguments."""
        found: dict[str, str] = {}
        for one in self.preamble:
            for word, (name, default) in zip(one.words, one.pairs(), strict=True):
                if name in given:
                    found[name] = given[name]
                elif "=" in word:
                    found[name] = expand(default, found)
        return found


def parse(text: str) -> Containerfile:
    """Parse a Containerfile.  Never fails: what is wrong is in `problems`."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.lines = [one.removesuffix("\r") for one in text.removeprefix("\ufeff").split("\n")]
        self.directives: dict[str, str] = {}
        self.comments: dict[int, str] = {}
        self.instructions: list[Instruction] = []
        self.problems: list[Problem] = []
        self.place = 0
        self.escape = "\\"

    def parse(self) -> Containerfile:
        self._directives()
        while self.place < len(self.lines):
            line = self.lines[self.place]
            if _COMMENT.match(line):
                self.comments[self.place + 1] = line.strip()
                self.place += 1
            elif not line.strip():
                self.place += 1
            else:
                self._instruction()
        return Containerfile(
            tuple(self.instructions),
            self._stages(),
            self.comments,
            self.directives,
            tuple(sorted(self.problems, key=lambda one: one.line)),
        )

    def _directives(self) -> None:
        """``# escape=`` and others: comments at the very top, each once, before anything else."""
        for number, line in enumerate(self.lines):
            found = _DIRECTIVE.fullmatch(line.strip())
            if found is None or found[1].lower() in self.directives:
                break
            if found[1].lower() not in ("escape", "syntax", "check"):
                break
            self.directives[found[1].lower()] = found[2]
            self.comments[number + 1] = line.strip()
            self.place = number + 1
        escape = self.directives.get("escape", "\\")
        if escape in ("\\", "`"):
            self.escape = escape
        else:
            self.problems.append(Problem(1, f"the escape character cannot be {escape!r}"))

    def _goes_on(self, line: str) -> str | None:
        """The line without its continuation mark, or None when it ends the instruction."""
        stripped = line.rstrip(" \t")
        if not stripped.endswith(self.escape):
            return None
        if len(stripped) > 1 and stripped[-2] in (self.escape, "\\", "`"):
            return None
        return stripped[:-1]

    def _instruction(self) -> None:
        first = self.place
        view: list[str] = []
        ended = False
        while self.place < len(self.lines) and not ended:
            line = self.lines[self.place]
            if self.place > first and (not line.strip() or _COMMENT.match(line)):
                if line.strip():
                    self.comments[self.place + 1] = line.strip()
                view.append("\\")
            else:
                start = self._goes_on(line)
                view.append(f"{start}\\" if start is not None else line)
                ended = start is None
            self.place += 1
        # A continuation at the end of the file joins nothing.
        while view and view[-1] == "\\":
            view.pop()
        if view and not ended:
            view[-1] = view[-1].removesuffix("\\")
        # The empty line behind the last newline is no line of the file.
        at_end = not ended and self.place == len(self.lines) and not self.lines[-1]
        self._read("\n".join(view), first + 1, self.place - at_end)

    def _read(self, view: str, line: int, end: int) -> None:
        at = len(view) - len(view.lstrip())
        found = re.compile(r"(?:\\\n|[^\s\\])+").match(view, at)
        keyword = found[0].replace("\\\n", "").upper() if found else ""
        at = found.end() if found else at
        flags, at = _flags(view, _skip(view, at))
        script, script_line = view[at:], line + view.count("\n", 0, at)
        text = script.replace("\\\n", "").strip()
        if keyword not in KEYWORDS:
            self.problems.append(Problem(line, f"{keyword or view} is not an instruction"))
            return
        if not text:
            self.problems.append(Problem(line, f"{keyword} has no arguments"))
        heredocs = self._heredocs(keyword, text, line)
        self.instructions.append(
            Instruction(
                keyword,
                line,
                self.place if heredocs else end,
                script,
                script_line,
                flags,
                _exec_form(text) if keyword in _JSON_FORM else None,
                heredocs,
            )
        )

    def _heredocs(self, keyword: str, text: str, line: int) -> tuple[Heredoc, ...]:
        if keyword not in _HEREDOC_FORM:
            return ()
        found = []
        for word in split_words(text):
            match = _HEREDOC.fullmatch(word)
            name = unquote(match[2]) if match else ""
            if match is None or not name:
                continue
            begin, body = self.place + 1, []
            while self.place < len(self.lines):
                inside = self.lines[self.place]
                self.place += 1
                inside = inside.lstrip("\t") if match[1] else inside
                if inside == name:
                    break
                body.append(f"{inside}\n")
            else:
                self.problems.append(Problem(line, f"the heredoc {name} has no end"))
            found.append(Heredoc(name, "".join(body), begin))
        return tuple(found)

    def _stages(self) -> tuple[Stage, ...]:
        groups: list[list[Instruction]] = []
        for one in self.instructions:
            if one.keyword == "FROM":
                groups.append([one])
            elif groups:
                groups[-1].append(one)
            elif one.keyword != "ARG":
                self.problems.append(Problem(one.line, f"{one.keyword} stands before any FROM"))
        if not groups and not self.problems:
            self.problems.append(Problem(1, "there is no FROM"))
        found = []
        for index, group in enumerate(groups):
            words = group[0].words
            alias = words[2] if len(words) == 3 and words[1].upper() == "AS" else None
            if len(words) != 1 and alias is None:
                self.problems.append(Problem(group[0].line, "FROM takes IMAGE or IMAGE AS NAME"))
            found.append(Stage(index, words[0] if words else "", alias, tuple(group)))
        return tuple(found)


def _skip(view: str, at: int) -> int:
    """Past white space and line ends that go on."""
    while at < len(view):
        if view[at].isspace():
            at += 1
        elif view.startswith("\\\n", at):
            at += 2
        else:
            break
    return at


def _flags(view: str, at: int) -> tuple[tuple[Flag, ...], int]:
    found: list[Flag] = []
    while view.startswith("--", at):
        end, quote = at, ""
        while end < len(view) and (quote or not _ends_word(view, end)):
            if view[end] in "\"'" and quote in ("", view[end]):
                quote = "" if quote else view[end]
            end += 1
        word = view[at:end]
        if word == "--":
            return tuple(found), _skip(view, end)
        name, _, value = word[2:].partition("=")
        found.append(Flag(name, unquote(value)))
        at = _skip(view, end)
    return tuple(found), at


def _ends_word(view: str, at: int) -> bool:
    return view[at].isspace() or view.startswith("\\\n", at)


def _exec_form(text: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    return None
