"""Make podman's layer cache see what it does not look at: bind mounts and secrets.

A file that reaches a RUN through a bind mount is not in the key of podman's cache,
nor is a secret: the RUN of yesterday is taken although the file is another
(buildah#5400, podman#22450; field note *image build*, 2.2 rule 5; seen with podman
4.3.1).  An ARG with a literal value in front of such a RUN is, so its value is a
hash over what is mounted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bootcfleet.domain.template import RenderedImage

#: The build argument that carries the hash.
ARGUMENT = "BOOTCFLEET_MOUNTS"
#: The one that tells platforms apart.
PLATFORM = "BOOTCFLEET_PLATFORM"

_RUN = re.compile(r"\s*RUN\s", re.IGNORECASE)
_FROM = re.compile(r"\s*FROM\s", re.IGNORECASE)
_MOUNT = re.compile(r"--mount=(\S+)")
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_HEREDOC = re.compile(r"<<(-?)[\"']?([A-Za-z_][A-Za-z0-9_]*)[\"']?")


@dataclass(frozen=True)
class _Instruction:
    """One instruction: its first line (0-based), the line after it, and its text in one piece."""

    line: int
    end: int
    text: str


def with_cache_keys(
    rendered: RenderedImage, secrets: Mapping[str, str], platform: str | None = None
) -> str:
    """The Containerfile with an ARG before each RUN that mounts files or secrets.

    `secrets` has the version of each secret; a secret without a version changes
    nothing. With `platform` there is an ARG after each FROM, too: podman's cache
    takes the layers of another platform where the bases' layers are the same.
    """
    lines = rendered.containerfile.splitlines(keepends=True)
    before: dict[int, str] = {}
    for instruction in _instructions(lines):
        if _RUN.match(instruction.text):
            key = _key(instruction.text, rendered, secrets)
            if key:
                before[instruction.line] = f"ARG {ARGUMENT}={key}\n"
        elif platform and _FROM.match(instruction.text):
            before[instruction.end] = f"ARG {PLATFORM}={platform}\n"
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    found = [before.get(number, "") + line for number, line in enumerate(lines)]
    return "".join([*found, before.get(len(lines), "")])


def _instructions(lines: list[str]) -> Iterator[_Instruction]:
    escape = "\\"
    if lines and (found := _ESCAPE.match(lines[0])):
        escape = found[1]
    number = 0
    while number < len(lines):
        start = number
        parts: list[str] = []
        while number < len(lines):
            text = lines[number].rstrip()
            number += 1
            comment = text.lstrip().startswith("#")
            if comment and not parts:
                break
            if not comment:
                parts.append(text.removesuffix(escape))
            # A comment or an empty line within a continued instruction does not end it.
            if not (comment or text.endswith(escape) or (parts[:-1] and not text)):
                break
        whole = " ".join(parts)
        if whole.strip():
            yield _Instruction(start, number, whole)
        for dash, word in _HEREDOC.findall(whole):
            while number < len(lines):
                text = lines[number].rstrip("\r\n")
                number += 1
                if (text.lstrip("\t") if dash else text) == word:
                    break


def _key(run: str, rendered: RenderedImage, secrets: Mapping[str, str]) -> str | None:
    """A hash over what a RUN mounts; None when there is nothing that could change."""
    found = []
    for options in _MOUNT.findall(run):
        pairs = dict(_pair(option) for option in options.split(","))
        kind = pairs.get("type", "bind")
        if kind == "bind":
            found.append(_bound(pairs, rendered))
        elif kind in ("secret", "ssh") and secrets.get(pairs.get("id", "")):
            found.append(f"{pairs['id']}={secrets[pairs['id']]}")
    return _sha256("\n".join(found).encode())[:32] if found else None


def _bound(options: Mapping[str, str], rendered: RenderedImage) -> str:
    source = options.get("source", options.get("src", ".")).strip("/")
    if "from" in options:
        # Another stage: whatever it is made of. An image by digest never changes.
        everything = _sha256(rendered.containerfile.encode())
        return everything + _tree(rendered, "")
    return _tree(rendered, "" if source == "." else source.removeprefix("./"))


def _tree(rendered: RenderedImage, under: str) -> str:
    """A hash over the files at or below a path of the context."""
    lines = [
        f"{path} {file.mode:o} {_sha256(file.data)}"
        for path, file in sorted(rendered.files.items())
        if not under or path == under or path.startswith(f"{under}/")
    ]
    return _sha256("\n".join(lines).encode())


def _pair(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return name.lower(), value.strip("\"'")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
