"""The commands of a shell script, with their words and lines, read by tree-sitter's bash grammar.

Splitting at spaces and ``&&`` is wrong as soon as there are quotes, loops,
pipelines or heredocs; tree-sitter reads all of them, also where the script is
broken.  `tree_sitter` and `tree_sitter_bash` parse bytes and do nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tree_sitter
import tree_sitter_bash

_BRACES = re.compile(r"(?<!\$)\{([^{}$'\" ]*,[^{}$'\" ]*)\}")
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
    root = _PARSER.parse(data).root_node
    return Script(tuple(_commands(root)), not root.has_error)


def _commands(node: tree_sitter.Node) -> Iterator[ShellCommand]:
    if node.type == "command":
        yield _command(node)
    elif node.type == "redirected_statement" and not _one_command(node):
        yield ShellCommand((), node.start_point[0], tuple(_redirects(node)))
    for child in node.children:
        yield from _commands(child)


def _one_command(node: tree_sitter.Node) -> bool:
    """Whether the redirects are those of a command; else of a group, or of nothing."""
    body = node.child_by_field_name("body")
    return body is not None and body.type in ("command", "pipeline", "negated_command")


def _command(node: tree_sitter.Node) -> ShellCommand:
    words: list[str] = []
    assignments: list[str] = []
    redirects = list(_redirects(node))
    for child in node.children:
        if child.type == "variable_assignment":
            assignments.append(_text(child))
        elif child.type in ("file_redirect", "heredoc_redirect", "herestring_redirect"):
            continue
        elif child.type == "command_name":
            words += [_word(child.children[0])] if child.children else []
        elif child.is_named:
            quoted = child.type in ("string", "raw_string", "ansi_c_string")
            words += [_word(child)] if quoted else _braces(_word(child))
    place, length, statement = 0, 1, node
    heredoc = ""
    above = node.parent
    while above is not None and above.type in (
        "redirected_statement",
        "pipeline",
        "negated_command",
    ):
        if above.type == "redirected_statement":
            # The redirects of a pipeline belong to its last command.
            if place == length - 1:
                redirects += _redirects(above)
                heredoc = heredoc or _heredoc(above)
        elif above.type == "pipeline":
            members = [one for one in above.children if one.is_named]
            length = len(members)
            place = next(n for n, one in enumerate(members) if one.id == statement.id)
        statement, above = above, above.parent
    return ShellCommand(
        tuple(words),
        node.start_point[0],
        tuple(redirects),
        tuple(assignments),
        place,
        length,
        _ignored(statement),
        heredoc,
    )


def _ignored(statement: tree_sitter.Node) -> bool:
    """``command || true`` (or ``|| :``), also for the whole of an ``&&`` list."""
    above = statement.parent
    while above is not None and above.type == "list":
        parts: Sequence[tree_sitter.Node] = above.children
        operators = [one.type for one in parts if not one.is_named]
        if operators[:1] == ["||"] and parts[0].id == statement.id:
            return _text(parts[-1]).strip() in ("true", ":", "exit 0", "/bin/true")
        statement, above = above, above.parent
    return False


def _redirects(node: tree_sitter.Node) -> Iterator[Redirect]:
    for child in node.children:
        if child.type == "file_redirect":
            target = child.child_by_field_name("destination")
            operator = next((one.type for one in child.children if not one.is_named), ">")
            yield Redirect(operator, _word(target) if target is not None else "")
        elif child.type == "heredoc_redirect":
            yield from _redirects(child)


def _heredoc(node: tree_sitter.Node) -> str:
    for child in node.children:
        if child.type == "heredoc_redirect":
            body = next((one for one in child.children if one.type == "heredoc_body"), None)
            return _text(body) if body is not None else ""
    return ""


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "surrogateescape")


def _word(node: tree_sitter.Node) -> str:
    """A word without its quotes; expansions as they are written."""
    text = _text(node).replace("\\\n", "")
    if node.type == "raw_string":
        return text[1:-1]
    if node.type == "string":
        inside = text[1:-1]
        return "".join(_unescape(inside, '"\\$`'))
    if node.type == "concatenation":
        return "".join(_word(child) for child in node.children)
    if node.type == "word":
        return "".join(_unescape(text, None))
    return text


def _braces(word: str) -> list[str]:
    """``/var/{log,cache}/*`` as the words that bash makes of it."""
    found = _BRACES.search(word)
    if found is None:
        return [word]
    before, after = word[: found.start()], word[found.end() :]
    return [one for part in found[1].split(",") for one in _braces(before + part + after)]


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
