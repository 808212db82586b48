"""Files and texts against what a check expects of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bootcfleet.domain.check import bounded
from bootcfleet.domain.checkfacts import Facts, Verb
from bootcfleet.domain.checkkinds import FileCheck, FileType
from bootcfleet.domain.checksystem import Problem

#: stat(1)'s words (`%F` in the C locale) for the types that a check can ask for.
_TYPES = {
    "regular file": FileType.FILE,
    "regular empty file": FileType.FILE,
    "directory": FileType.DIRECTORY,
    "symbolic link": FileType.SYMLINK,
}


def file_problems(spec: FileCheck, path: str, facts: Facts) -> list[Problem]:
    """What is wrong with a file.

    A link is followed, unless the check is about the link itself (`type:
    symlink`, or `target`).
    """
    answer = facts.get(Verb.FILE, path)
    itself, through = answer.text("itself"), answer.text("through")
    if spec.absent:
        return [] if itself is None else [Problem("not there", f"a {itself.split('|')[0]}")]
    if itself is None:
        return [Problem("there", "not there")]
    link = answer.text("link")
    about_link = spec.type is FileType.SYMLINK or spec.target is not None
    if through is None and not about_link:
        return [Problem("there", f"a link that leads nowhere ({link})")]
    fields = (itself if about_link else through or itself).split("|")
    if len(fields) != 6 or not re.fullmatch("[0-7]+", fields[1]):
        return [Problem("what stat says", fields[0])]
    kind, mode, uid, user, gid, group = fields
    problems = []
    if spec.type is not None and _TYPES.get(kind) is not spec.type:
        problems.append(Problem(f"a {spec.type}", f"a {kind}"))
    if spec.target is not None and link != spec.target:
        problems.append(Problem(f"a link to {spec.target}", f"a link to {link}" if link else kind))
    if spec.owner is not None and str(spec.owner) not in (uid, user):
        problems.append(Problem(f"owner {spec.owner}", f"owner {user} ({uid})"))
    if spec.group is not None and str(spec.group) not in (gid, group):
        problems.append(Problem(f"group {spec.group}", f"group {group} ({gid})"))
    if spec.mode is not None and int(mode, 8) != int(spec.mode, 8):
        problems.append(Problem(f"mode {int(spec.mode, 8):04o}", f"mode {int(mode, 8):04o}"))
    return problems + _content_problems(spec, path, facts)


def _content_problems(spec: FileCheck, path: str, facts: Facts) -> list[Problem]:
    problems = []
    if spec.sha256 is not None:
        found = facts.get(Verb.SHA256, path).text("sha256") or "no content"
        if found != spec.sha256:
            problems.append(Problem(f"sha256 {spec.sha256}", f"sha256 {found}"))
    if spec.contains or spec.lacks or spec.matches:
        content = facts.get(Verb.CONTENT, path).all("content")
        if not content:
            return [*problems, Problem("a file that can be read", "none")]
        text = content[0].decode("utf-8", "backslashreplace")
        problems += text_problems(text, spec.contains, spec.lacks, spec.matches, "the file")
    return problems


def text_problems(
    text: str, contains: Sequence[str], lacks: Sequence[str], matches: Sequence[str], what: str
) -> list[Problem]:
    """What a text lacks, or has and should not."""
    start = bounded(text.strip(), 120)
    shown = f"{what} with {start!r}" if start else f"{what} empty"
    problems = [Problem(f"{one!r} in {what}", shown) for one in contains if one not in text]
    problems += [Problem(f"no {one!r} in {what}", "it is there") for one in lacks if one in text]
    problems += [
        Problem(f"a match of {one!r} in {what}", shown)
        for one in matches
        if not re.search(one, text, re.MULTILINE)
    ]
    return problems
