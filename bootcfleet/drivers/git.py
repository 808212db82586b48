"""What git knows of the project: commit, and whether the tree differs from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bootcfleet.drivers.command import CommandTimeoutError, Executor
from bootcfleet.errors import ToolMissingError


@dataclass(frozen=True)
class GitFacts:
    """Commit (40 hex digits) and its first twelve, None outside of git; `url` of the origin."""

    commit: str | None = None
    short: str | None = None
    dirty: bool = False
    url: str | None = None


class GitRepo:
    """A directory that may be in a git repository."""

    def __init__(self, executor: Executor, root: Path) -> None:
        self._executor = executor
        self._root = root

    def facts(self) -> GitFacts:
        """Commit, dirtiness and origin; empty facts outside of git, or without git or commits."""
        try:
            commit = self._git("rev-parse", "--verify", "HEAD")
            if commit is None:
                return GitFacts()
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
        result = self._executor.run(["git", "-C", str(self._root), *arguments], timeout=60)
        return result.stdout.strip() if result.ok else None


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
