"""The commands of a shell script, with their words and lines, read by tree-sitter's bash grammar.

Splitting at spaces and ``&&`` is wrong as soon as there are quotes, loops,
pipelines or heredocs; tree-sitter reads all of them, also where the script is
broken.  `tree_sitter` and `tree_sitter_bash` parse bytes and do nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import tree_sitter
import tree_sitter_bash

_BRACES = re.compile(r"(?<!\$)\{([^{}$'\" ]*,[^{}$'\" ]*)\}")
_MANY = 256
#: The bash grammar's scanner hands characters beyond ASCII to isalpha() and may crash (seen with
#: tree-sitter-bash 0.25.1): it gets a letter for each byte of them, and for control characters.
_MASK = bytes(byte if 32 <= byte < 127 or byte in b"\t\n\r" else ord("x") for byte in range(256))
_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


@dataclass(frozen=True)
class Redirect:
    """``>target`` and its like; `operator` is ``>``, ``>>``, ``<``, …"""

    operator: str
    target: str


@dataclass(frozen=True)
class ShellCommand:
    """One simple command.

    `words` are without quotes; what the shell would put in stays as written
    (``$kver``).  `line` counts from 0, the script's first line.  `pipe` is the
    place in its pipeline and `pipe_length` how long that is (1: none).
    `ignored` says that its failure is thrown away by ``|| true``.
    """

    words: tuple[str, ...]
    line: int
    redirects: tuple[Redirect, ...] = ()
    assignments: tuple[str, ...] = ()
    pipe: int = 0
    pipe_length: int = 1
    ignored: bool = False
    heredoc: str = ""

    @property
    def name(self) -> str:
        """The program, without its folder."""
        return self.words[0].rpartition("/")[2] if self.words else ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words after the program."""
        return self.words[1:]

    @property
    def operands(self) -> tuple[str, ...]:
        """The arguments that are no options."""
        return tuple(one for one in self.arguments if not one.startswith("-"))

    def has(self, *options: str) -> bool:
        """Whether one of these options is given; ``-y`` is in ``-qy``, and ``--x`` in ``--x=1``."""
        for word in self.arguments:
            for option in options:
                if word == option or word.startswith(f"{option}="):
                    return True
                short = len(option) == 2 and option[0] == "-"
                if short and word[:1] == "-" and word[1:2].isalpha() and option[1] in word[1:]:
                    return True
        return False

    def value(self, *options: str) -> str | None:
        """What stands behind an option: ``-u 5``, ``-u5``, ``--uid=5`` or ``--uid 5``."""
        for place, word in enumerate(self.arguments):
            for option in options:
                if word == option:
                    rest = self.arguments[place + 1 : place + 2]
                    return rest[0] if rest else ""
                if word.startswith(f"{option}=") and option.startswith("--"):
                    return word[len(option) + 1 :]
                if len(option) == 2 and word.startswith(option) and not word.startswith("--"):
                    return word[2:]
        return None


@dataclass(frozen=True)
class Script:
    """The commands of a script in their order, and whether all of it could be read."""

    commands: tuple[ShellCommand, ...]
    complete: bool = True


def parse_script(text: str) -> Script:
    """Read a shell script.  Never fails; what cannot be read is left out."""
    data = text.encode("utf-8", "surrogateescape")
    root = _PARSER.parse(data.translate(_MASK)).root_node
    return Script(tuple(_Reader(data).commands(root)), not root.has_error)


@dataclass(frozen=True)
class _Around:
    """What stands around a command: its place in a pipeline, the redirects of all of it, …"""

    pipe: int = 0
    length: int = 1
    redirects: tuple[Redirect, ...] = ()
    heredoc: str = ""
    ignored: bool = False


_NOTHING = _Around()
_SUCCEEDS = frozenset({"true", ":", "exit 0", "/bin/true"})


class _Reader:
    """Makes commands of the tree; the words come from the text itself, by their place in it.

    From the top down, with a list of what is left: to ask a node for its parent
    walks down from the root each time, and a chain of && is as deep as it is long.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def commands(self, root: tree_sitter.Node) -> Iterator[ShellCommand]:
        """Every command in the order of the text."""
        left = [(root, _NOTHING)]
        while left:
            node, around = left.pop()
            if node.type == "command":
                yield self._command(node, around)
            elif node.type == "redirected_statement" and not _one_command(node):
                yield ShellCommand((), node.start_point[0], tuple(self._redirects(node)))
            left += reversed(list(self._inside(node, around)))

    def _inside(
        self, node: tree_sitter.Node, around: _Around
    ) -> Iterator[tuple[tree_sitter.Node, _Around]]:
        children = node.children
        match node.type:
            case "list":
                alternative = any(one.type == "||" for one in children)
                for child in children:
                    ignored = around.ignored
                    if alternative and child is children[0]:
                        ignored = self._text(children[-1]).strip() in _SUCCEEDS
                    yield child, _Around(ignored=ignored)
            case "pipeline":
                members = [one for one in children if one.is_named]
                for number, member in enumerate(members):
                    last = number == len(members) - 1
                    # The redirects of a pipeline belong to its last command.
                    redirects = around.redirects if last else ()
                    heredoc = around.heredoc if last else ""
                    yield (
                        member,
                        _Around(number, len(members), redirects, heredoc, around.ignored),
                    )
            case "redirected_statement" if _one_command(node):
                redirects = (*around.redirects, *self._redirects(node))
                heredoc = self._heredoc(node) or around.heredoc
                inner = replace(around, redirects=redirects, heredoc=heredoc)
                body = node.child_by_field_name("body")
                for child in children:
                    yield child, inner if body is not None and child.id == body.id else _NOTHING
            case "negated_command":
                for child in children:
                    yield child, around
            case _:
                for child in children:
                    yield child, _NOTHING

    def _command(self, node: tree_sitter.Node, around: _Around) -> ShellCommand:
        words: list[str] = []
        assignments: list[str] = []
        for child in node.children:
            if child.type == "variable_assignment":
                assignments.append(self._text(child))
            elif child.type in ("file_redirect", "heredoc_redirect", "herestring_redirect"):
                continue
            elif child.type == "command_name":
                words += [self._word(child.children[0])] if child.children else []
            elif child.is_named:
                quoted = child.type in ("string", "raw_string", "ansi_c_string")
                words += [self._word(child)] if quoted else _braces(self._word(child))
        return ShellCommand(
            tuple(words),
            node.start_point[0],
            (*self._redirects(node), *around.redirects),
            tuple(assignments),
            around.pipe,
            around.length,
            around.ignored,
            around.heredoc,
        )

    def _redirects(self, node: tree_sitter.Node) -> Iterator[Redirect]:
        for child in node.children:
            if child.type == "file_redirect":
                target = child.child_by_field_name("destination")
                operator = next((one.type for one in child.children if not one.is_named), ">")
                yield Redirect(operator, self._word(target) if target is not None else "")
            elif child.type == "heredoc_redirect":
                yield from self._redirects(child)

    def _heredoc(self, node: tree_sitter.Node) -> str:
        for child in node.children:
            if child.type == "heredoc_redirect":
                body = next((one for one in child.children if one.type == "heredoc_body"), None)
                return self._text(body) if body is not None else ""
        return ""

    def _text(self, node: tree_sitter.Node) -> str:
        return self._data[node.start_byte : node.end_byte].decode("utf-8", "surrogateescape")

    def _word(self, node: tree_sitter.Node) -> str:
        """A word without its quotes; expansions as they are written."""
        text = self._text(node).replace("\\\n", "")
        if node.type == "raw_string":
            return text[1:-1]
        if node.type == "string":
            inside = text[1:-1]
            return "".join(_unescape(inside, '"\\$`'))
        if node.type == "concatenation":
            return "".join(self._word(child) for child in node.children)
        if node.type == "word":
            return "".join(_unescape(text, None))
        return text


def _one_command(node: tree_sitter.Node) -> bool:
    """Whether the redirects are those of a command; else of a group, or of nothing."""
    body = node.child_by_field_name("body")
    return body is not None and body.type in ("command", "pipeline", "negated_command")


def _braces(word: str) -> list[str]:
    """``/var/{log,cache}/*`` as the words that bash makes of it; very many stay one word."""
    words = [word]
    while (found := _BRACES.search(words[0])) and len(words) < _MANY:
        before = [one[: found.start()] for one in words]
        words = [
            start + part + one[found.end() :]
            for start, one in zip(before, words, strict=True)
            for part in found[1].split(",")
        ]
    return words if len(words) < _MANY else [word]


def _unescape(text: str, only: str | None) -> Iterator[str]:
    place = 0
    while place < len(text):
        following = text[place + 1 : place + 2]
        if text[place] == "\\" and following and (only is None or following in only):
            yield following
            place += 2
        else:
            yield text[place]
            place += 1
