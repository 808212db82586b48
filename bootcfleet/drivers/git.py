"""What git knows of the project: commit, and whether the tree differs from it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, Executor
from bootcfleet.errors import ToolMissingError


@dataclass(frozen=True)
class GitFacts:
    """Commit (40 hex digits) and its first twelve, None outside of git; `url` of the origin.

    `problem` says why there is no commit where one was to be expected, and what to run.
    """

    commit: str | None = None
    short: str | None = None
    dirty: bool = False
    url: str | None = None
    problem: str | None = None

    @property
    def revision(self) -> str | None:
        """The commit, marked when the tree has changes that are not in it; as on the images."""
        return f"{self.commit}-dirty" if self.commit and self.dirty else self.commit


#: In git's hooks and aliases these point at the repository that called; ours is where the project
#: is.  Messages are read, so they are asked for in English.
_GIT = (
    "env",
    *(
        word
        for name in ("DIR", "WORK_TREE", "INDEX_FILE", "COMMON_DIR", "OBJECT_DIRECTORY", "PREFIX")
        for word in ("-u", f"GIT_{name}")
    ),
    "LC_ALL=C",
    "git",
)


class GitRepo:
    """A directory that may be in a git repository."""

    def __init__(self, executor: Executor, root: Path) -> None:
        self._executor = executor
        self._root = root

    def facts(self) -> GitFacts:
        """Commit, dirtiness and origin; empty facts outside of git, or without git or commits."""
        try:
            found = self._run("rev-parse", "--verify", "HEAD")
            if "dubious ownership" in found.stderr:
                return GitFacts(problem=_not_ours(self._root))
            # A repository around it that ignores the project (a home directory's) is not its own.
            if not found.ok or self._run("check-ignore", "-q", "--", "bootcfleet.yaml").ok:
                return GitFacts()
            commit = found.stdout.strip()
            # The state directory is ours and never part of what is built.
            changed = self._git(
                "--no-optional-locks", "status", "--porcelain", "--", ".", ":(exclude).bootcfleet"
            )
            url = self._git("config", "--get", "remote.origin.url")
        except (ToolMissingError, CommandTimeoutError):
            return GitFacts()
        # What git cannot compare is not called the commit's own content.
        return GitFacts(commit, commit[:12], changed != "", _without_credentials(url))

    def _git(self, *arguments: str) -> str | None:
        result = self._run(*arguments)
        return result.stdout.strip() if result.ok else None

    def _run(self, *arguments: str) -> CommandResult:
        return self._executor.run([*_GIT, "-C", str(self._root), *arguments], timeout=60)


def _not_ours(root: Path) -> str:
    trust = f"git config --global --add safe.directory {shlex.quote(str(root))}"
    return (
        f"git does not tell the commit of {root}, because it belongs to another user; if you trust "
        f"what is in it: {trust}"
    )


def _without_credentials(url: str | None) -> str | None:
    """The URL without user, password and parameters: it goes into labels that everybody reads.

    None for what is no URL: where its password ends cannot be told.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if not parts.netloc:
        # A path, or git@host:path, which has no place for a password.
        return url
    # Some forges take a token as a parameter.
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
