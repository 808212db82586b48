"""What a rule is, what it finds, and what it sees of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, TypeVar

from bootcfleet.domain.containerfile import Containerfile, Instruction, Stage, parse
from bootcfleet.domain.containerfile_words import expand
from bootcfleet.domain.lint.placed import PlacedFile, place_files
from bootcfleet.domain.shell import Redirect, ShellCommand, parse_script
from bootcfleet.domain.template import ContextFile, RenderedImage

CONTAINERFILE = "Containerfile"

#: Words before a command that change nothing about what it does to the image.
_WRAPPERS = frozenset(
    {"sudo", "env", "exec", "command", "time", "nice", "nohup", "eatmydata", "xargs"}
)
#: Options of xargs(1) whose value is the next word.
_XARGS_VALUES = frozenset({"-n", "-I", "-P", "-d", "-L", "-s", "-a", "-E"})
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})


class Severity(StrEnum):
    """How bad a finding is: an error fails the lint, a warning with ``--strict``, info never."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Rule:
    """One rule: a stable id, what it looks for, why (with `source`), and what to do instead."""

    id: str
    severity: Severity
    title: str
    reason: str
    source: str
    remedy: str

    def to_json(self) -> dict[str, str]:
        """The rule as JSON-ready data."""
        return {**asdict(self), "severity": self.severity.value}


@dataclass(frozen=True)
class Finding:
    """One finding: the rule's id, the file (``Containerfile`` or a context path) and line."""

    rule: str
    severity: Severity
    message: str
    file: str
    line: int
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-ready data."""
        return {**asdict(self), "severity": self.severity.value}


@dataclass(frozen=True)
class At:
    """Something that a rule says about one place; the rule's own text is added by the engine."""

    line: int
    message: str
    file: str = CONTAINERFILE


@dataclass(frozen=True)
class Step:
    """One command of a RUN, on its line of the Containerfile."""

    instruction: Instruction
    command: ShellCommand
    line: int
    final: bool

    @property
    def name(self) -> str:
        """The program, without its folder."""
        return self.command.name


@dataclass(frozen=True)
class Subject:
    """All that rules know of one image: the rendered Containerfile and its context.

    `child` says that it is built on another image of the project, whose rules
    have been kept there; `build_args` are given to the build.
    """

    image: str
    rendered: RenderedImage
    build_args: Mapping[str, str] = field(default_factory=dict)
    child: bool = False

    @cached_property
    def containerfile(self) -> Containerfile:
        """The parsed Containerfile."""
        return parse(self.rendered.containerfile)

    @property
    def files(self) -> Mapping[str, ContextFile]:
        """The files of the build context, by path."""
        return self.rendered.files

    @cached_property
    def lineage(self) -> tuple[Stage, ...]:
        """The stages that are layers of the image, base first."""
        return self.containerfile.lineage()

    @cached_property
    def final(self) -> tuple[Instruction, ...]:
        """The instructions that make the image itself, without those of other stages."""
        return tuple(one for stage in self.lineage for one in stage.instructions)

    @property
    def last_from(self) -> int:
        """The line of the last FROM; findings about the image as a whole point there."""
        return self.lineage[-1].line if self.lineage else 1

    @cached_property
    def base(self) -> str:
        """What the image is FROM in the end, with known ARGs put in."""
        if not self.lineage:
            return ""
        return expand(self.lineage[0].base, self.containerfile.arguments(self.build_args))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Every command of every RUN, in the order of the file."""
        final = {one.line for one in self.final}
        found: list[Step] = []
        for one in self.containerfile.instructions:
            if one.keyword == "RUN":
                commands = _commands(one)
                found += [Step(one, c, line, one.line in final) for c, line in commands]
        return tuple(found)

    @cached_property
    def final_steps(self) -> tuple[Step, ...]:
        """The commands whose changes are in the image."""
        return tuple(step for step in self.steps if step.final)

    def same_run(self, step: Step) -> tuple[Step, ...]:
        """All commands of the same RUN."""
        return tuple(one for one in self.steps if one.instruction.line == step.instruction.line)

    @cached_property
    def placed(self) -> tuple[PlacedFile, ...]:
        """The context files that COPY and ADD put into the image, with their path there."""
        return place_files(self.final, self.files)

    def text(self, path: str) -> str | None:
        """A context file as text; None for one that is not UTF-8."""
        return decoded(self.files[path])


def decoded(file: ContextFile) -> str | None:
    """A file as text; None for one that is not UTF-8 or has NUL in it."""
    if b"\0" in file.data:
        return None
    try:
        return file.data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _commands(instruction: Instruction) -> list[tuple[ShellCommand, int]]:
    """The commands of a RUN with their lines of the Containerfile."""
    if instruction.exec_form is not None:
        command = ShellCommand(instruction.exec_form, 0)
        return [(one, instruction.line) for one in _unwrapped(command)]
    found = []
    script = parse_script(instruction.script)
    feeds = bool(instruction.heredocs) and instruction.text.startswith(("<<", "0<<"))
    if not feeds:
        for command in script.commands:
            line = instruction.script_line + command.line
            found += [(one, line) for one in _unwrapped(command)]
    for heredoc in instruction.heredocs:
        # `RUN <<EOF` and `RUN bash <<EOF`: the text is the script.
        words = instruction.text.split()
        shell = feeds or (words and words[0].rpartition("/")[2] in _SHELLS)
        first = heredoc.text.partition("\n")[0]
        if shell and not (first.startswith("#!") and "sh" not in first):
            for command in parse_script(heredoc.text).commands:
                line = heredoc.line + command.line
                found += [(one, line) for one in _unwrapped(command)]
    return found


def _unwrapped(command: ShellCommand) -> Iterator[ShellCommand]:
    """The command itself: without sudo and env before it, and what ``sh -c`` is given."""
    words = command.words
    while words and words[0].rpartition("/")[2] in _WRAPPERS:
        wrapper, words = words[0].rpartition("/")[2], words[1:]
        while words and (words[0].startswith("-") or "=" in words[0].partition("/")[0]):
            with_value = wrapper == "xargs" and words[0] in _XARGS_VALUES
            words = words[2 if with_value else 1 :]
    if words != command.words:
        command = replace(command, words=words)
    yield command
    if command.name in _SHELLS and "-c" in words[1:]:
        place = words.index("-c") + 1
        if place < len(words):
            for inner in parse_script(words[place]).commands:
                yield replace(inner, line=command.line)


def writes(step: Step) -> Iterator[str]:
    """The paths that a command of a RUN writes."""
    yield from written_paths(step.command)


def written_paths(command: ShellCommand) -> Iterator[str]:
    """The paths that a command writes: redirects, and what cp, mv, tee, … are told to make."""
    yield from (one.target for one in command.redirects if _is_write(one))
    operands = command.operands
    match command.name:
        case "tee" | "touch" | "mkdir" | "truncate" | "mknod" | "mkfifo":
            yield from without_values(command, {"-m", "-s", "--mode", "--size"})
        case "cp" | "mv" | "install" | "ln" | "rsync":
            target = command.value("-t", "--target-directory")
            if target:
                yield target
            elif "-d" in command.arguments:
                yield from without_values(command, {"-m", "-o", "-g"})
            elif len(operands) > 1:
                yield operands[-1]
        case "tar" | "unzip" | "bsdtar":
            target = command.value("-C", "--directory", "-d")
            if target:
                yield target
        case "curl":
            target = command.value("-o", "--output", "--output-dir")
            if target:
                yield target
        case "wget":
            target = command.value("-O", "--output-document", "-P", "--directory-prefix")
            if target:
                yield target
        case "git":
            if "clone" in operands and len(operands) > 2:
                yield operands[-1]
        case _:
            return


def _is_write(redirect: Redirect) -> bool:
    return redirect.operator in (">", ">>", "&>", "&>>", ">|") and redirect.target != "/dev/null"


def without_values(command: ShellCommand, options: Set[str]) -> Iterator[str]:
    """The operands, without the words that belong to an option before them."""
    before = ""
    for word in command.arguments:
        if not word.startswith("-") and before not in options:
            yield word
        before = word


#: Looks at an image and says where it breaks the rule.
Check = Callable[[Subject], Iterable[At]]

_Looked = TypeVar("_Looked")


@dataclass(frozen=True)
class Rules(Generic[_Looked]):
    """Rules with their checks, by theme; of images, and of kickstarts."""

    rules: dict[str, tuple[Rule, Callable[[_Looked], Iterable[At]]]] = field(default_factory=dict)

    def add(
        self, id: str, severity: Severity, title: str, *, reason: str, source: str, remedy: str
    ) -> Callable[[Callable[[_Looked], Iterable[At]]], Callable[[_Looked], Iterable[At]]]:
        """A decorator that makes a check a rule.  Ids are never used again for another rule."""

        def register(
            check: Callable[[_Looked], Iterable[At]],
        ) -> Callable[[_Looked], Iterable[At]]:
            if id in self.rules:
                raise ValueError(f"two rules have the id {id}")
            self.rules[id] = (Rule(id, severity, title, reason, source, remedy), check)
            return check

        return register


class RuleSet(Rules[Subject]):
    """Rules about an image."""
