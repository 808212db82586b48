"""Where COPY and ADD put the files of the build context."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bootcfleet.domain.containerfile import Instruction
from bootcfleet.domain.containerfile_words import unquote
from bootcfleet.domain.shell import parse_script
from bootcfleet.domain.template import ContextFile


@dataclass(frozen=True)
class PlacedFile:
    """A context file in the image: `path` there, `source` in the context.

    `mode` is what it has in the end: of the context, of ``--chmod``, or of a
    later chmod in a RUN; `line` is that of the COPY.
    """

    path: str
    source: str
    file: ContextFile
    mode: int
    owner: str
    line: int


def sources(instruction: Instruction) -> tuple[str, ...]:
    """What a COPY or ADD takes from the context, normalised; not heredocs and URLs."""
    if instruction.flag("from") is not None:
        return ()
    words = [unquote(word) for word in instruction.words[:-1]]
    return tuple(
        posixpath.normpath(word).lstrip("/") or "."
        for word in words
        if not word.startswith("<<") and not re.match(r"[a-z+]+://|git@", word)
    )


def matching(source: str, files: Iterable[str]) -> list[tuple[str, str]]:
    """(context path, path below the destination) of each file that a source stands for."""
    found = []
    for path in files:
        if source == ".":
            found.append((path, path))
        elif path == source:
            found.append((path, posixpath.basename(path)))
        elif path.startswith(f"{source}/"):
            found.append((path, path[len(source) + 1 :]))
        elif any(mark in source for mark in "*?["):
            found += _by_pattern(source, path)
    return found


def _by_pattern(pattern: str, path: str) -> list[tuple[str, str]]:
    """``files/*.conf``, or ``files/*``: a folder that matches is taken with what is in it."""
    wanted, parts = pattern.split("/"), path.split("/")
    if len(parts) < len(wanted):
        return []
    if not all(fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=False)):
        return []
    # The content of a folder is copied, not the folder itself.
    inside = parts[len(wanted) :]
    return [(path, "/".join(inside) if inside else parts[-1])]


def place_files(
    instructions: Iterable[Instruction], files: Mapping[str, ContextFile]
) -> tuple[PlacedFile, ...]:
    """Follow COPY, ADD, WORKDIR and chmod through an image's instructions."""
    placed: dict[str, PlacedFile] = {}
    folder = "/"
    for one in instructions:
        if one.keyword == "WORKDIR":
            folder = posixpath.join(folder, unquote(one.text))
        elif one.keyword in ("COPY", "ADD") and one.words:
            for file in _copy(one, files, folder):
                placed[file.path] = file
        elif one.keyword == "RUN":
            _chmod(one, placed)
    return tuple(placed[path] for path in sorted(placed))


def _copy(
    instruction: Instruction, files: Mapping[str, ContextFile], folder: str
) -> Iterable[PlacedFile]:
    target = unquote(instruction.words[-1])
    wanted = sources(instruction)
    mode = _octal(instruction.flag("chmod") or "")
    for source in wanted:
        for path, below in matching(source, files):
            into = target.endswith("/") or target in (".", "..") or len(wanted) > 1
            whole = path == source and not into
            there = posixpath.join(folder, target, "" if whole else below)
            yield PlacedFile(
                posixpath.normpath(there),
                path,
                files[path],
                files[path].mode if mode is None else mode,
                instruction.flag("chown") or "",
                instruction.line,
            )


def _chmod(instruction: Instruction, placed: dict[str, PlacedFile]) -> None:
    """``chmod MODE PATH…`` and ``chmod -R``; symbolic modes are not followed."""
    for command in parse_script(instruction.script).commands:
        if command.name != "chmod" or len(command.operands) < 2:
            continue
        mode = _octal(command.operands[0])
        if mode is None:
            continue
        for pattern in command.operands[1:]:
            for path, file in placed.items():
                deep = command.has("-R") and path.startswith(f"{pattern.rstrip('/')}/")
                if deep or fnmatchcase(path, pattern):
                    placed[path] = replace(file, mode=mode)


def _octal(text: str) -> int | None:
    return int(text, 8) if re.fullmatch(r"[0-7]{3,5}", text) else None
